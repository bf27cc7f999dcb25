//! fastd, with the method its manual recommends for speed.

use anyhow::{Context as _, Result};

use super::{Peer, output, start_and_dress, words};
use crate::lab::{INNER_MTU, Lab, PORT, Side};
use crate::report::{Kind, Subject};

pub(super) const PEER: Peer = Peer {
    subject: Subject {
        name: "fastd",
        kind: Kind::Encrypting,
        configuration: "`mode tun`, `method \"salsa2012+umac\"`, `mtu 1420`",
    },
    program: Some("fastd"),
    version: &["--version"],
    start: |lab, program| {
        let keys = [generate(program)?, generate(program)?];
        start_and_dress(lab, program, |side| {
            let config = config(lab, side, &keys[side as usize], &keys[side.other() as usize]);
            let file = lab.write(side, "fastd.conf", &config)?;
            Ok(words(&format!("--config {}", file.display())))
        })
    },
};

/// The keys of one end, in hexadecimal.
struct Keys {
    secret: String,
    public: String,
}

fn generate(program: &str) -> Result<Keys> {
    let said = output(program, "--generate-key")?;
    let key = |name: &str| {
        let key = said.lines().find_map(|line| line.strip_prefix(name));
        key.map(|key| key.trim().to_owned()).context("fastd made no key")
    };
    Ok(Keys { secret: key("Secret:")?, public: key("Public:")? })
}

fn config(lab: &Lab, side: Side, own: &Keys, theirs: &Keys) -> String {
    format!(
        "mode tun;\ninterface \"{}\";\nmtu {INNER_MTU};\nmethod \"salsa2012+umac\";\n\
         log level warn;\nbind {}:{PORT};\nsecret \"{}\";\n\
         peer \"other\" {{ key \"{}\"; remote {}:{PORT}; }}\n",
        lab.device(side),
        side.outer(),
        own.secret,
        theirs.public,
        side.other().outer(),
    )
}
