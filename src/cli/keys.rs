//! `genkey`, `genpsk` and `pubkey`: keys on standard input and output, in the form that `wg` uses.

use std::io::{self, Read, Write};

use anyhow::Context;
use nix::sys::stat::{SFlag, fstat};
use zeroize::Zeroizing;

use crate::crypto::{PresharedKey, PrivateKey};
use crate::daemon::entropy::entropy;

/// Prints a new private key.
///
/// # Errors
/// No randomness, or standard output.
pub fn genkey() -> anyhow::Result<()> {
    let key = PrivateKey::clamped(*entropy()?);
    print_secret(&line(&key.to_base64()))
}

/// Prints a new preshared key.
///
/// # Errors
/// No randomness, or standard output.
pub fn genpsk() -> anyhow::Result<()> {
    let key = PresharedKey::from(*entropy()?);
    print_secret(&line(&key.to_base64()))
}

/// Prints the public key of the private key on standard input.
///
/// # Errors
/// Standard input holds no key, or standard output.
pub fn pubkey() -> anyhow::Result<()> {
    // More than a key and some white space is no key; the buffer never grows, which would leave copies behind.
    const ROOM: usize = 257;
    let mut input = Zeroizing::new(Vec::with_capacity(ROOM));
    io::stdin()
        .lock()
        .take(ROOM as u64)
        .read_to_end(&mut input)
        .context("cannot read standard input")?;
    let text = str::from_utf8(&input).map(str::trim_ascii).unwrap_or("?");
    let key: PrivateKey = text.parse().context(
        "standard input is no private key; accepted: one line as made by tunneld genkey",
    )?;
    Ok(super::print(&format!("{}\n", key.public_key()))?)
}

/// Prints what holds a secret, and warns if it goes to a file that others may read.
pub(super) fn print_secret(text: &str) -> anyhow::Result<()> {
    if stdout_is_open_to_others() {
        // A warning that cannot be written is no reason not to print the key.
        let _ = writeln!(
            io::stderr(),
            "tunneld: warning: a secret is written to a file that others can read; mend it: chmod 600 FILE"
        );
    }
    Ok(super::print(text)?)
}

fn line(key: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{key}\n"))
}

fn stdout_is_open_to_others() -> bool {
    fstat(io::stdout()).is_ok_and(|about| {
        let regular = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        regular && about.st_mode & 0o007 != 0
    })
}
