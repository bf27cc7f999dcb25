//! What the figures mean.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::Serialize;

use super::{LARGE, ROUNDS, SIZES};
use crate::crypto::Cipher;

/// One cipher with packets of one size: medians, in nanoseconds for each packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) cipher: Cipher,
    pub(super) packet_bytes: usize,
    pub(super) seal_ns: f64,
    pub(super) open_ns: f64,
}

/// All that was found out.
pub(super) struct Report {
    /// Whether the processor has instructions for AES; `None` if there is no telling.
    pub(super) aes_instructions: Option<bool>,
    /// One for each cipher and size.
    pub(super) figures: Vec<Figure>,
}

/// A cipher that takes less time than the others by this factor is worth a change on both hosts.
const WORTHWHILE: f64 = 1.1;

/// The form of `--json`.
#[derive(Serialize)]
pub(super) struct Json {
    aes_instructions: Option<bool>,
    figures: Vec<JsonFigure>,
    /// The faster cipher with large packets, and the time of the other one as a multiple of its time.
    faster: &'static str,
    factor: f64,
    /// What to write under `[peer]`, if it is faster on the other host too.
    profile: &'static str,
    cipher: &'static str,
}

#[derive(Serialize)]
struct JsonFigure {
    cipher: &'static str,
    packet_bytes: usize,
    seal_ns: f64,
    open_ns: f64,
}

impl Report {
    pub(super) fn json(&self) -> Json {
        let (faster, factor) = self.faster(LARGE);
        let advised = self.advised();
        Json {
            aes_instructions: self.aes_instructions,
            figures: self.figures.iter().map(JsonFigure::of).collect(),
            faster: faster.name(),
            factor,
            profile: if advised == Cipher::default() { "wireguard" } else { "tunneld" },
            cipher: advised.name(),
        }
    }

    /// The cipher to choose.
    fn advised(&self) -> Cipher {
        let (faster, factor) = self.faster(LARGE);
        if factor >= WORTHWHILE { faster } else { Cipher::default() }
    }

    /// The cipher that takes less time to seal and open packets of this size, and how many times as long the other one takes.
    fn faster(&self, size: usize) -> (Cipher, f64) {
        let [chacha, aes] = Cipher::ALL.map(|cipher| self.time(cipher, size));
        if aes < chacha {
            (Cipher::Aes256Gcm, chacha / aes)
        } else {
            (Cipher::default(), aes / chacha)
        }
    }

    /// A packet of this size is sealed at one end and opened at the other.
    fn time(&self, cipher: Cipher, size: usize) -> f64 {
        let of = |figure: &&Figure| figure.cipher == cipher && figure.packet_bytes == size;
        self.figures.iter().filter(of).map(|figure| figure.seal_ns + figure.open_ns).sum()
    }
}

impl JsonFigure {
    fn of(figure: &Figure) -> Self {
        let Figure { cipher, packet_bytes, seal_ns, open_ns } = *figure;
        Self { cipher: cipher.name(), packet_bytes, seal_ns, open_ns }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Each cipher alone on one processor, medians over {ROUNDS} rounds in turn:\n")?;
        writeln!(f, "  {:<12} {:<18} {:>20} {:>20}", "packet", "cipher", "seal", "open")?;
        for figure in &self.figures {
            let Figure { cipher, packet_bytes, seal_ns, open_ns } = figure;
            let [seal, open] = [seal_ns, open_ns].map(|ns| speed(*packet_bytes, *ns));
            let packet = format!("{packet_bytes} bytes");
            writeln!(f, "  {packet:<12} {cipher:<18} {seal:>20} {open:>20}")?;
        }
        writeln!(f)?;
        if self.aes_instructions == Some(false) {
            writeln!(f, "This processor has no instructions for AES.")?;
        }
        for size in SIZES {
            let (faster, factor) = self.faster(size);
            writeln!(
                f,
                "Packets of {size} bytes: {faster} is {factor:.2} times as fast as the other."
            )?;
        }
        f.write_str(match self.advised() {
            Cipher::Aes256Gcm => ADVICE,
            Cipher::ChaCha20Poly1305 => NO_ADVICE,
        })
    }
}

const ADVICE: &str = "\
If `tunneld bench` on the other host says the same, write under [peer] on both hosts:
  profile = \"tunneld\"
  cipher = \"aes-256-gcm\"
";

const NO_ADVICE: &str = "\
chacha20-poly1305 is what both hosts use if nothing is written.
";

fn speed(bytes: usize, ns: f64) -> String {
    format!("{ns:.0} ns {:>5.1} Gb/s", bytes as f64 * 8.0 / ns)
}

/// The middle one, or of an even number the longer of the two there.
pub(super) fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sealing takes these nanoseconds, opening half as long: with large packets, then with small ones.
    fn report(chacha: [f64; 2], aes: [f64; 2]) -> Report {
        let figure = |cipher, packet_bytes, seal_ns| Figure {
            cipher,
            packet_bytes,
            seal_ns,
            open_ns: seal_ns / 2.0,
        };
        let figures = (0..2).flat_map(|at| {
            [
                figure(Cipher::ChaCha20Poly1305, SIZES[at], chacha[at]),
                figure(Cipher::Aes256Gcm, SIZES[at], aes[at]),
            ]
        });
        Report { aes_instructions: Some(true), figures: figures.collect() }
    }

    #[test]
    fn the_median_is_the_middle_one_whatever_the_order() {
        let median = |samples: &[u64]| {
            median(samples.iter().copied().map(Duration::from_secs).collect()).as_secs()
        };
        assert_eq!(median(&[9, 1, 2]), 2);
        assert_eq!(median(&[7]), 7);
        assert_eq!(median(&[3, 9, 5, 4]), 5);
    }

    #[test]
    fn a_cipher_that_is_faster_by_a_tenth_with_large_packets_is_advised() {
        for (chacha, aes, faster, factor, advised) in [
            (900.0, 450.0, "aes-256-gcm", 2.0, ("tunneld", "aes-256-gcm")),
            (900.0, 850.0, "aes-256-gcm", 900.0 / 850.0, ("wireguard", "chacha20-poly1305")),
            (900.0, 900.0, "chacha20-poly1305", 1.0, ("wireguard", "chacha20-poly1305")),
            (900.0, 3600.0, "chacha20-poly1305", 4.0, ("wireguard", "chacha20-poly1305")),
        ] {
            // Small packets say the opposite.
            let json = report([chacha, aes], [aes, chacha]).json();
            assert_eq!((json.faster, json.factor), (faster, factor));
            assert_eq!((json.profile, json.cipher), advised);
        }
    }

    #[test]
    fn the_report_reads_as_a_table_with_what_follows_from_it() {
        let text = report([880.0, 200.0], [440.0, 250.0]).to_string();
        let expected = "Each cipher alone on one processor, medians over 15 rounds in turn:

  packet       cipher                             seal                 open
  1420 bytes   chacha20-poly1305     880 ns  12.9 Gb/s    440 ns  25.8 Gb/s
  1420 bytes   aes-256-gcm           440 ns  25.8 Gb/s    220 ns  51.6 Gb/s
  64 bytes     chacha20-poly1305     200 ns   2.6 Gb/s    100 ns   5.1 Gb/s
  64 bytes     aes-256-gcm           250 ns   2.0 Gb/s    125 ns   4.1 Gb/s

Packets of 1420 bytes: aes-256-gcm is 2.00 times as fast as the other.
Packets of 64 bytes: chacha20-poly1305 is 1.25 times as fast as the other.
If `tunneld bench` on the other host says the same, write under [peer] on both hosts:
  profile = \"tunneld\"
  cipher = \"aes-256-gcm\"
";
        assert_eq!(text, expected);
        let without = Report { aes_instructions: Some(false), ..report([1.0; 2], [9.0; 2]) };
        let text = without.to_string();
        assert!(text.contains("This processor has no instructions for AES."), "{text}");
        assert!(text.ends_with(NO_ADVICE), "{text}");
    }
}
