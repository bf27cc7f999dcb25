//! What each stage of a packet's way costs, without sockets, devices or namespaces: `cargo bench --bench stages`.
//!
//! Every figure is of one [`Shape`](shapes::Shape): a packet, or a superpacket with all its segments. What a
//! measured piece includes is said beside it; making its input is never included.

mod ciphers;
mod device;
mod ends;
mod paths;
mod shapes;
mod small;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    stages,
    ciphers::seal,
    ciphers::open,
    device::split,
    device::coalesce,
    small::checksum,
    small::replay_window,
    paths::outbound,
    paths::inbound,
);
criterion_main!(stages);
