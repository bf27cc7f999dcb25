//! OpenVPN 2.6, point to point over TLS; both ends know each other's certificate by its fingerprint.

use anyhow::{Context as _, Result};

use super::{Peer, output, start_and_dress, words};
use crate::lab::{INNER_MTU, Lab, PORT, Side};
use crate::report::{Kind, Subject};

pub(super) const PEER: Peer = Peer {
    subject: Subject {
        name: "openvpn",
        kind: Kind::Encrypting,
        configuration: "UDP, TLS, `data-ciphers CHACHA20-POLY1305`, `disable-dco`, `fast-io`, \
                        `sndbuf 0`, `rcvbuf 0`, `txqueuelen 1000`, `tun-mtu 1420`, `mssfix 0`, \
                        `keepalive 25 120`",
    },
    program: Some("openvpn"),
    version: &["--version"],
    start: |lab, program| {
        let fingerprints = [certify(lab, Side::A)?, certify(lab, Side::B)?];
        start_and_dress(lab, program, |side| {
            let config = config(lab, side, &fingerprints[side.other() as usize]);
            let file = lab.write(side, "openvpn.conf", &config)?;
            Ok(words(&format!("--config {}", file.display())))
        })
    },
};

/// Makes the certificate of a host, and gives its fingerprint.
fn certify(lab: &Lab, side: Side) -> Result<String> {
    let (key, certificate) = (lab.path(side, "key.pem"), lab.path(side, "certificate.pem"));
    output(
        "openssl",
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN={} -keyout {} -out {}",
            side.letter(),
            key.display(),
            certificate.display()
        ),
    )?;
    let said = output(
        "openssl",
        &format!("x509 -noout -fingerprint -sha256 -in {}", certificate.display()),
    )?;
    let (_, fingerprint) =
        said.trim().split_once('=').context("a certificate has no fingerprint")?;
    Ok(fingerprint.to_owned())
}

fn config(lab: &Lab, side: Side, fingerprint: &str) -> String {
    let role = match side {
        Side::A => "tls-server\ndh none",
        Side::B => "tls-client",
    };
    // In bytes.
    let shaper = lab.limit(side).map_or_else(String::new, |bits| format!("shaper {}\n", bits / 8));
    format!(
        "{shaper}dev {}\ndev-type tun\nproto udp4\nport {PORT}\nlocal {}\nremote {} {PORT}\n\
         {role}\nkey {}\ncert {}\npeer-fingerprint {fingerprint}\n\
         data-ciphers CHACHA20-POLY1305\ndisable-dco\nallow-compression no\n\
         fast-io\nsndbuf 0\nrcvbuf 0\ntxqueuelen 1000\n\
         tun-mtu {INNER_MTU}\nmssfix 0\nkeepalive 25 120\nverb 1\n",
        lab.device(side),
        side.outer(),
        side.other().outer(),
        lab.path(side, "key.pem").display(),
        lab.path(side, "certificate.pem").display(),
    )
}
