//! tunneld itself, as Cargo built it for this benchmark.

use super::{Peer, private_key, start, words};
use crate::lab::{INNER_MTU, Lab, PORT, Side};
use crate::report::{Kind, Subject};

pub(super) const PEER: Peer = Peer {
    subject: Subject {
        name: "tunneld",
        kind: Kind::Tunneld,
        configuration: "defaults, `mtu = 1420`; ChaCha20-Poly1305",
    },
    program: Some(env!("CARGO_BIN_EXE_tunneld")),
    version: &["--version"],
    start: |lab, program| {
        start(lab, program, |side| {
            let config = lab.write(side, "tunneld.toml", &config(lab, side))?;
            Ok(words(&format!("run -c {}", config.display())))
        })
    },
};

fn config(lab: &Lab, side: Side) -> String {
    let limit = lab.limit(side).map_or_else(String::new, |bits| format!("rate_limit_out = {bits}"));
    format!(
        r#"[interface]
name = "{}"
addresses = ["{}/30"]
private_key = "{}"
listen_port = {PORT}
mtu = {INNER_MTU}
{limit}

[peer]
public_key = "{}"
endpoint = "{}:{PORT}"
"#,
        lab.device(side),
        side.inner(),
        *private_key(side).to_base64(),
        private_key(side.other()).public_key(),
        side.other().outer(),
    )
}
