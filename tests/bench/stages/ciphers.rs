//! Sealing and opening alone: no headers, no replay window.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use tunneld::crypto::{TAG, TransportKey};

use crate::shapes::{Shape, with_each_cipher};

/// All segments in place, each under a counter of its own. What is sealed is the last round's ciphertext: the
/// cipher does not care.
pub(crate) fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for (shape, cipher) in with_each_cipher() {
        let id = shape.enter_with(cipher, &mut group);
        let key = TransportKey::new(cipher, &KEY);
        let mut slots = slots(shape);
        let mut counters = 0..;
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                for (slot, counter) in slots.chunks_mut(shape.size + TAG).zip(&mut counters) {
                    key.seal(counter, slot);
                }
            });
        });
    }
}

/// All segments in place. Opening destroys the ciphertext, so each round gets a copy, made before.
pub(crate) fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for (shape, cipher) in with_each_cipher() {
        let id = shape.enter_with(cipher, &mut group);
        let key = TransportKey::new(cipher, &KEY);
        let stride = shape.size + TAG;
        let mut sealed = slots(shape);
        for (counter, slot) in (0..).zip(sealed.chunks_mut(stride)) {
            key.seal(counter, slot);
        }
        group.bench_function(id, |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |sealed| {
                    for (counter, slot) in (0..).zip(sealed.chunks_mut(stride)) {
                        black_box(key.open(counter, slot)).expect("it is authentic");
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
}

/// The segments back to back, each with room for its tag.
fn slots(shape: Shape) -> Vec<u8> {
    vec![0xa5; shape.segments * (shape.size + TAG)]
}

const KEY: [u8; 32] = [7; 32];
