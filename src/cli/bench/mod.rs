//! `tunneld bench`: which cipher is the faster one on this processor, by how much, and what to write for it.

mod report;

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Args;

use crate::crypto::{Cipher, TAG, TransportKey};
use report::{Figure, Report};

/// What `tunneld bench` may be told.
#[derive(Args, Debug)]
pub struct Options {
    /// Print all of it as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Bytes of the packets: what a transfer consists of, and what its acknowledgements do.
const SIZES: [usize; 2] = [LARGE, 64];
const LARGE: usize = 1420;
/// Packets in a run: about those of a superpacket.
const RUN: usize = 44;
/// How often each is measured, the ciphers in turn: what else the processor does meets both.
const ROUNDS: usize = 15;
/// How long one measurement takes.
const MOMENT: Duration = Duration::from_millis(20);

/// Measures both ciphers, and prints what that means.
///
/// # Errors
/// Standard output takes no more.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let report = Report { aes_instructions: aes_instructions(), figures: measure() };
    let text = if options.json { super::json(&report.json())? } else { report.to_string() };
    Ok(super::print(&text)?)
}

fn measure() -> Vec<Figure> {
    let mut samples: Vec<Samples> = SIZES
        .into_iter()
        .flat_map(|size| Cipher::ALL.map(|cipher| Samples::new(cipher, size)))
        .collect();
    for _ in 0..ROUNDS {
        samples.iter_mut().for_each(Samples::add);
    }
    samples.into_iter().map(Samples::median).collect()
}

/// What was measured of one cipher with packets of one size: what each run took.
struct Samples {
    cipher: Cipher,
    size: usize,
    seal: Vec<Duration>,
    open: Vec<Duration>,
}

impl Samples {
    fn new(cipher: Cipher, size: usize) -> Self {
        Self { cipher, size, seal: Vec::new(), open: Vec::new() }
    }

    fn add(&mut self) {
        let key = TransportKey::new(self.cipher, &[7; 32]);
        let stride = self.size.saturating_add(TAG);
        let mut slots = vec![0xa5; stride.saturating_mul(RUN)];
        let seal = |slots: &mut [u8]| {
            for (counter, slot) in (0..).zip(slots.chunks_mut(stride)) {
                key.seal(counter, slot);
            }
        };
        let open = |slots: &mut [u8]| {
            for (counter, slot) in (0..).zip(slots.chunks_mut(stride)) {
                black_box(key.open(counter, slot).is_some());
            }
        };
        // What is sealed is the last run's ciphertext: the cipher does not care.
        time(&mut self.seal, || seal(black_box(&mut slots)), || ());
        seal(&mut slots);
        let sealed = slots.clone();
        let slots = RefCell::new(slots);
        // Opening destroys what was sealed.
        let restore = || slots.borrow_mut().copy_from_slice(&sealed);
        time(&mut self.open, || open(black_box(&mut slots.borrow_mut())), restore);
    }

    fn median(self) -> Figure {
        // The median leaves out the runs during which something else had the processor.
        let packet = |runs| report::median(runs).as_secs_f64() * 1e9 / RUN as f64;
        Figure {
            cipher: self.cipher,
            packet_bytes: self.size,
            seal_ns: packet(self.seal),
            open_ns: packet(self.open),
        }
    }
}

/// Does `run` again and again for a moment, and `between` after each; adds what each run took.
fn time(runs: &mut Vec<Duration>, mut run: impl FnMut(), between: impl Fn()) {
    let start = now();
    while start.elapsed() < MOMENT {
        let begun = now();
        run();
        runs.push(begun.elapsed());
        between();
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

/// Whether the processor has instructions for AES-GCM; `None` if there is no telling.
fn aes_instructions() -> Option<bool> {
    #[cfg(target_arch = "x86_64")]
    return Some(
        std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq"),
    );
    #[cfg(target_arch = "aarch64")]
    return Some(std::arch::is_aarch64_feature_detected!("aes"));
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    None
}
