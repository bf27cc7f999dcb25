//! The other user-space WireGuards. They are told their configuration through a control socket, in the form of
//! <https://www.wireguard.com/xplatform/#configuration-protocol>.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Peer, private_key, start_and_dress, words};
use crate::lab::{Lab, PORT, Side};
use crate::launch::Daemon;
use crate::report::{Kind, Subject};
use crate::wait::{BOUND, until};

pub(super) const WIREGUARD_GO: Peer = Peer {
    subject: Subject {
        name: "wireguard-go",
        kind: Kind::Encrypting,
        configuration: "defaults; ChaCha20-Poly1305",
    },
    program: Some("wireguard-go"),
    version: &["--version"],
    start: |lab, program| begin(lab, program, |device, _| format!("--foreground {device}")),
};

pub(super) const GOTATUN: Peer = Peer {
    subject: Subject {
        name: "gotatun",
        kind: Kind::Encrypting,
        configuration: "`--disable-drop-privileges`, log level error; ChaCha20-Poly1305",
    },
    program: Some("gotatun"),
    version: &["--version"],
    start: |lab, program| begin(lab, program, rust_arguments),
};

pub(super) const BORINGTUN: Peer = Peer {
    subject: Subject {
        name: "boringtun",
        kind: Kind::Encrypting,
        configuration: "`--disable-drop-privileges`, 4 threads (its default); ChaCha20-Poly1305",
    },
    program: Some("boringtun-cli"),
    version: &["--version"],
    start: |lab, program| begin(lab, program, rust_arguments),
};

/// Of boringtun, and of gotatun, which descends from it.
fn rust_arguments(device: &str, log: &str) -> String {
    format!("--foreground --disable-drop-privileges --verbosity error --log {log} {device}")
}

fn begin(
    lab: &Lab,
    program: &str,
    arguments: impl Fn(&str, &str) -> String,
) -> Result<[Daemon; 2]> {
    let daemons = start_and_dress(lab, program, |side| {
        let log = lab.path(side, "own-log");
        Ok(words(&arguments(&lab.device(side), &log.to_string_lossy())))
    })?;
    for side in Side::BOTH {
        configure(lab, side)?;
    }
    Ok(daemons)
}

/// Tells a daemon its keys and its peer.
fn configure(lab: &Lab, side: Side) -> Result<()> {
    let path = lab.control_socket(side);
    let mut socket = until("the control socket is there", || Ok(UnixStream::connect(&path).ok()))?;
    socket.set_read_timeout(Some(BOUND))?;
    let other = side.other();
    write!(
        socket,
        "set=1\nprivate_key={}\nlisten_port={PORT}\nreplace_peers=true\npublic_key={}\n\
         endpoint={}:{PORT}\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
         allowed_ip={}/32\n\n",
        hex(&private_key(side).to_base64())?,
        hex(&private_key(other).public_key().to_string())?,
        other.outer(),
        other.inner(),
    )
    .context("cannot configure the daemon")?;
    let mut answer = String::new();
    let mut bytes = [0; 256];
    while !answer.contains("\n\n") {
        match socket.read(&mut bytes).context("the daemon does not answer")? {
            0 => break,
            read => answer += &String::from_utf8_lossy(&bytes[..read]),
        }
    }
    // The daemon may have closed its end already.
    let _ = socket.shutdown(Shutdown::Both);
    if !answer.contains("errno=0") {
        bail!("the daemon refuses its configuration: {}", answer.trim());
    }
    Ok(())
}

/// A key as the control protocol wants it.
fn hex(base64: &str) -> Result<String> {
    let bytes = STANDARD.decode(base64).context("a key is not base64")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
