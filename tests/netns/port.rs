//! A port of a bridge that the test itself is: a TAP device, whose frames it writes and reads with their tags.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use nix::libc::IFF_TAP;

use super::lab::{Host, Lab};
use super::process::{BOUND, wait_until};
use crate::raw_device;

pub(crate) struct Port(File);

impl Port {
    /// Plugs it into this bridge of a host.
    pub(crate) fn plug(lab: &Lab, host: Host, bridge: &str) -> Self {
        let file = raw_device::open(&lab.namespace(host), "port", IFF_TAP);
        lab.ip(host, &format!("link set port mtu 9000 master {bridge} up"));
        Self(file.expect("root may make it"))
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        (&self.0).write_all(frame).expect("it is up");
    }

    /// Waits for this very frame, while it is sent again and again at the other end; others that come are none of ours.
    pub(crate) fn expect(&self, frame: &[u8], from: &Self) {
        let mut room = vec![0; 70_000];
        let came = wait_until(BOUND, || {
            from.send(frame);
            loop {
                match (&self.0).read(&mut room) {
                    Ok(len) if room[..len] == *frame => return true,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert!(came, "the frame comes as it was sent");
    }
}
