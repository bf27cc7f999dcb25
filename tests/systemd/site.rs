//! Two machines with the package, linked.

use std::path::Path;

use super::machine::Machine;
use super::package::package;
use crate::netns::config::ends;
use crate::netns::lab::{Host, INNER_A, INNER_B, Lab, direct_v4};
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

    /// Writes the configurations of both.
    pub(crate) fn configure(&self) {
        for (machine, end) in [&self.a, &self.b].into_iter().zip(ends(direct_v4)) {
            end.secrets().for_each(must_not_be_shown);
            machine.write("/etc/tunneld.toml", end.to_toml().as_bytes());
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

/// Installs a package, or upgrades to it.
pub(crate) fn install(machine: &Machine, package: &Path) {
    machine.write("/root/tunneld.deb", &std::fs::read(package).unwrap());
    machine.must("dpkg -i /root/tunneld.deb");
}
