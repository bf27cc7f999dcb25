//! Two machines with the package, linked.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::machine::Machine;
use super::package::package;
use crate::netns::lab::{Host, INNER_A, INNER_B, Lab, underlay};
use crate::netns::transfer::Transfer;
use crate::shown::must_not_be_shown;

/// Bytes of a transfer: more than what is done in its midst takes.
const LENGTH: u64 = 1 << 30;

/// The machines, dropped before their network.
pub(crate) struct Site {
    pub(crate) a: Machine,
    pub(crate) b: Machine,
    pub(crate) lab: Lab,
}

impl Site {
    /// Boots both.
    pub(crate) fn boot() -> Self {
        let lab = Lab::direct();
        let (a, b) = (Machine::boot(&lab, Host::A), Machine::boot(&lab, Host::B));
        Self { a, b, lab }
    }

    /// Boots both with the package, configures and starts it, and waits until they are linked.
    pub(crate) fn linked() -> Self {
        let site = Self::boot();
        for machine in [&site.a, &site.b] {
            install(machine, &package(1));
        }
        site.configure();
        for machine in [&site.a, &site.b] {
            machine.must("systemctl enable --now tunneld");
        }
        assert!(site.lab.pings(Host::A, INNER_B[0]), "the link is up");
        site
    }

    /// Writes the configurations of both, as `tunneld pair` makes them.
    pub(crate) fn configure(&self) {
        let [a, b] = [Host::A, Host::B].map(|host| underlay(host)[0]);
        let made = tempfile::tempdir().unwrap();
        let mut pair = Command::new(env!("CARGO_BIN_EXE_tunneld"));
        pair.args([
            "pair",
            "--a",
            a,
            "--b",
            b,
            "--net",
            "10.77.0.0/30",
            "--net",
            "fd77::/64",
            "-o",
        ]);
        let output = pair.arg(made.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        for (machine, name) in [(&self.a, "host-a.toml"), (&self.b, "host-b.toml")] {
            let text = fs::read_to_string(made.path().join(name)).unwrap();
            keys(&text).for_each(must_not_be_shown);
            machine.write("/root/new.toml", text.as_bytes());
            machine.must("install -o root -g tunneld -m 640 /root/new.toml /etc/tunneld.toml");
        }
    }

    /// Does all of `events` in the midst of one transfer from a to b, which must arrive as it was sent.
    pub(crate) fn in_a_transfer(&self, events: &[&dyn Fn()]) {
        let transfer = Transfer::begin(&self.lab, Host::A, Host::B, INNER_B[0], LENGTH);
        for event in events {
            transfer.goes_on(16 << 20);
            event();
        }
        assert!(transfer.left() > 0, "it was under way all the time");
        transfer.finish();
        assert!(self.lab.pings(Host::B, INNER_A[1]));
    }
}

/// The secrets that stand in a configuration.
fn keys(text: &str) -> impl Iterator<Item = [u8; 32]> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(" = ")?;
        let secret = ["private_key", "preshared_key"].contains(&name);
        let bytes = BASE64_STANDARD.decode(value.trim_matches('"')).ok()?;
        secret.then(|| bytes.try_into().ok()).flatten()
    })
}

/// Installs a package, or upgrades to it.
pub(crate) fn install(machine: &Machine, package: &Path) {
    machine.write("/root/tunneld.deb", &fs::read(package).unwrap());
    machine.must("dpkg -i /root/tunneld.deb");
}
