//! Splitting and coalescing held against each other, and the device against the running kernel.

mod device;
pub(super) mod packets;
mod properties;
mod relay;

use std::path::Path;

use crate::testing::{in_own_network, skip};

/// Runs `body` in a network of its own where devices can be made; elsewhere the test is skipped.
pub(super) fn in_namespace<T: Send>(test: &str, body: impl FnOnce() -> T + Send) -> Option<T> {
    if !Path::new("/dev/net/tun").exists() {
        skip(test, "/dev/net/tun");
        return None;
    }
    in_own_network(test, body)
}
