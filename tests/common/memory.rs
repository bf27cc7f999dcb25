//! What another process holds in its memory: searched for secrets that a test knows.
//!
//! Only writable memory counts: nothing is ever written elsewhere. A secret counts as found where any 16 bytes of it stand
//! that begin at a multiple of eight.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

/// The writable memory of a process at one moment.
pub(crate) struct Memory(Vec<Mapping>);

struct Mapping {
    name: String,
    bytes: Vec<u8>,
}

/// A secret that was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    secret: String,
    place: String,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.secret, self.place)
    }
}

/// Bytes of a secret that are enough to recognise it.
const PART: usize = 16;

impl Memory {
    /// Copies the memory of a process; this needs root, or to be its parent.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let mappings = maps.lines().filter_map(|line| Mapping::read(&memory, line));
        Ok(Self(mappings.collect()))
    }

    /// Where each of `secrets` stands.
    pub(crate) fn find<S: AsRef<[u8]>>(&self, secrets: &[(String, S)]) -> Vec<Found> {
        let mut parts = vec![Vec::new(); 1 << 16];
        for (name, secret) in secrets {
            let secret = secret.as_ref();
            assert!(secret.len() >= PART, "{name} is too short to be looked for");
            for start in (0..=secret.len() - PART).step_by(8) {
                let part = &secret[start..start + PART];
                parts[first_two(part)].push((name, start, part));
            }
        }
        let mut found = Vec::new();
        for mapping in &self.0 {
            for (offset, window) in mapping.windows::<PART>() {
                for (name, start, part) in &parts[first_two(window)] {
                    if window[..] == **part {
                        let place = format!("{}+{:#x}", mapping.name, offset.wrapping_sub(*start));
                        found.push(Found { secret: name.to_string(), place });
                    }
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Where private keys stand that belong to one of `publics`. All that could be one is tried: what lies at a multiple of
    /// eight bytes, and what is clamped, wherever it lies.
    pub(crate) fn find_private_keys(&self, publics: &[[u8; 32]]) -> Vec<Found> {
        let mut found = Vec::new();
        for mapping in &self.0 {
            for (offset, key) in mapping.windows::<32>() {
                let clamped = key[0] & 7 == 0 && key[31] & 0xc0 == 0x40;
                let possible = (clamped || offset % 8 == 0) && looks_random(key);
                if possible && publics.contains(&public_key(key)) {
                    let place = format!("{}+{offset:#x}", mapping.name);
                    found.push(Found { secret: "a private key".to_owned(), place });
                }
            }
        }
        found
    }
}

impl Mapping {
    /// What a line of proc_pid_maps(5) describes, if it is writable and can be read.
    fn read(memory: &File, line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        if !words.next()?.starts_with("rw") {
            return None;
        }
        let name = words.nth(3).unwrap_or("anonymous").to_owned();
        let mut bytes = vec![0; usize::try_from(end - start).ok()?];
        memory.read_exact_at(&mut bytes, start).ok()?;
        Some(Self { name, bytes })
    }

    /// All runs of `N` bytes and where each begins, but for those in the pages, most of them, that hold nothing at all.
    fn windows<const N: usize>(&self) -> impl Iterator<Item = (usize, &[u8; N])> {
        let pages = (0..self.bytes.len()).step_by(PAGE);
        let used = pages.filter(|start| self.bytes[*start..*start + PAGE] != [0; PAGE]);
        used.flat_map(|start| {
            let end = self.bytes.len().min(start + PAGE + N - 1);
            let start = start.saturating_sub(N - 1);
            let windows = self.bytes[start..end].windows(N).enumerate();
            windows.map(move |(i, window)| (start + i, window.try_into().expect("it has N bytes")))
        })
    }
}

/// The size of a page, or a part of it.
const PAGE: usize = 4096;

fn first_two(part: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([part[0], part[1]]))
}

/// Whether 32 bytes could have come from a generator: pointers, texts and tables have bytes that are there more often.
fn looks_random(bytes: &[u8; 32]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().filter(|byte| !std::mem::replace(&mut seen[usize::from(**byte)], true)).count()
        > 22
}

fn public_key(private: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::x25519(*private, x25519_dalek::X25519_BASEPOINT_BYTES)
}
