//! What is done for each packet beside the ciphers.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use tunneld::proto::ReplayWindow;
use tunneld::wire::checksum::Sum;

/// The sum of a buffer, folded.
pub(crate) fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for len in [64_usize, 1420, 65_535] {
        group.throughput(Throughput::Bytes(len as u64));
        let bytes = vec![0xa5; len];
        group.bench_function(BenchmarkId::from_parameter(format!("{len} B")), |bencher| {
            bencher.iter(|| Sum::default().bytes(black_box(&bytes)).checksum());
        });
    }
}

/// Counters as they come on a good path, and on one where each two neighbours change places.
pub(crate) fn replay_window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay window");
    group.throughput(Throughput::Elements(1));
    for (name, swap) in [("in order", 0), ("swapped", 1)] {
        let mut window = ReplayWindow::default();
        let mut counter = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let accepted = window.accept(counter ^ swap);
                counter += 1;
                assert!(accepted, "each counter is new");
            });
        });
    }
}
