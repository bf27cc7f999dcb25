//! Splitting and coalescing held against each other, and the device against the running kernel.

mod device;
pub(super) mod namespace;
pub(super) mod packets;
mod properties;
mod relay;
