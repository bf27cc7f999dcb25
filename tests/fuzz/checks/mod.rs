//! What must hold of any bytes; one room for each target of the fuzzer.

mod ecn;
mod incomplete;
mod input;
mod sums;

pub mod coalesce;
pub mod config;
pub mod datagram;
pub mod frames;
pub mod inner;
pub mod machine;
pub mod parsers;
pub mod pieces;
pub mod segments;
