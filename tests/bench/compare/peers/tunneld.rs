//! tunneld itself, as Cargo built it for this benchmark.

use anyhow::Result;

use super::{Peer, private_key, start, words};
use crate::lab::{INNER_MTU, Lab, PORT, Side};
use crate::launch::Daemon;
use crate::report::{Kind, Subject};

pub(super) const PEER: Peer = Peer {
    subject: Subject {
        name: "tunneld",
        kind: Kind::Tunneld,
        configuration: "defaults, `mtu = 1420`; ChaCha20-Poly1305",
    },
    program: Some(env!("CARGO_BIN_EXE_tunneld")),
    version: &["--version"],
    start: |lab, program| run(lab, program, "", ""),
};

/// With another cipher.
pub(super) const AES: Peer = Peer {
    subject: Subject {
        name: "tunneld-aes",
        kind: Kind::Variant,
        configuration: "as tunneld, with `profile = \"tunneld\"`, `cipher = \"aes-256-gcm\"`",
    },
    start: |lab, program| run(lab, program, "", "profile = \"tunneld\"\ncipher = \"aes-256-gcm\""),
    ..PEER
};

/// With Ethernet frames, longer than the path carries whole.
pub(super) const TAP: Peer = Peer {
    subject: Subject {
        name: "tunneld-tap",
        kind: Kind::Variant,
        configuration: "as tunneld, with `mode = \"tap\"`, `mtu = 1500`, `profile = \"tunneld\"`",
    },
    start: |lab, program| run(lab, program, "mode = \"tap\"\nmtu = 1500", "profile = \"tunneld\""),
    ..PEER
};

/// Runs it on both hosts with these lines more, or instead of the MTU.
fn run(lab: &Lab, program: &str, interface: &str, peer: &str) -> Result<[Daemon; 2]> {
    start(lab, program, |side| {
        let config = lab.write(side, "tunneld.toml", &config(lab, side, interface, peer))?;
        Ok(words(&format!("run -c {}", config.display())))
    })
}

fn config(lab: &Lab, side: Side, interface: &str, peer: &str) -> String {
    let mtu = if interface.contains("mtu") { String::new() } else { format!("mtu = {INNER_MTU}") };
    let limit = lab.limit(side).map_or_else(String::new, |bits| format!("rate_limit_out = {bits}"));
    format!(
        r#"[interface]
name = "{}"
addresses = ["{}/30"]
private_key = "{}"
listen_port = {PORT}
{mtu}
{limit}
{interface}

[peer]
public_key = "{}"
endpoint = "{}:{PORT}"
{peer}
"#,
        lab.device(side),
        side.inner(),
        *private_key(side).to_base64(),
        private_key(side.other()).public_key(),
        side.other().outer(),
    )
}
