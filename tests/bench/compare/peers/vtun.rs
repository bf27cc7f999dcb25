//! VTun as a bare pipe over UDP, without encryption: what a user-space tunnel costs that does nothing else.

use super::{Peer, start_and_dress, words};
use crate::lab::{Lab, PORT, Side};
use crate::report::{Kind, Subject};

pub(super) const PEER: Peer = Peer {
    subject: Subject {
        name: "vtun",
        kind: Kind::Plain,
        configuration: "`type tun`, `proto udp`, **`encrypt no`**, `compress no`, `keepalive yes`, \
                        MTU 1420",
    },
    program: Some("vtund"),
    version: &["-h"],
    start: |lab, program| {
        start_and_dress(lab, program, |side| {
            let file = lab.write(side, "vtund.conf", &config(lab, side))?;
            let role = match side {
                Side::A => format!("-s -P {PORT}"),
                Side::B => format!("-P {PORT} {} {}", lab.link(), Side::A.outer()),
            };
            Ok(words(&format!("-n -f {} {role}", file.display())))
        })
    },
};

/// The server has no link, and so no device, before the client comes; each end says `device` for itself.
fn config(lab: &Lab, side: Side) -> String {
    format!(
        "options {{ port {PORT}; }}\n\
         {} {{ passwd none; type tun; device {}; proto udp; encrypt no; compress no; \
         keepalive yes; stat no; speed 0; multi yes; }}\n",
        lab.link(),
        lab.device(side),
    )
}
