//! The subjects: what is measured, each in its recommended fast configuration.

mod fastd;
mod openvpn;
mod tinc;
mod tunneld;
mod vtun;
mod wireguard;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use ::tunneld::crypto::PrivateKey;
use anyhow::{Context as _, Result, bail};

use crate::lab::{Lab, Side};
use crate::launch::{Daemon, command};
use crate::report::{Kind, Subject};
use crate::traffic::first_answer;
use crate::usage::Usage;
use crate::wait::until;

/// How a subject is run.
pub(crate) struct Peer {
    pub(crate) subject: Subject,
    /// Its program; `None` if there is nothing to run.
    program: Option<&'static str>,
    /// What makes the program tell its version.
    version: &'static [&'static str],
    /// Starts a daemon on both hosts, with the program's path; their devices are up afterwards.
    start: fn(&Lab, &str) -> Result<[Daemon; 2]>,
}

/// All of them, in the order of the tables.
pub(crate) const ALL: [&Peer; 11] = [
    &NO_TUNNEL,
    &tunneld::PEER,
    &tunneld::AES,
    &tunneld::TAP,
    &wireguard::WIREGUARD_GO,
    &wireguard::GOTATUN,
    &wireguard::BORINGTUN,
    &openvpn::PEER,
    &fastd::PEER,
    &tinc::PEER,
    &vtun::PEER,
];

const NO_TUNNEL: Peer = Peer {
    subject: Subject {
        name: "none",
        kind: Kind::NoTunnel,
        configuration: "no tunnel: the veth pair itself, MTU 1500",
    },
    program: None,
    version: &[],
    start: |_, _| bail!("there is nothing to start"),
};

impl Peer {
    /// The path of its program; an error if it is not installed.
    pub(crate) fn program(&self) -> Result<Option<String>> {
        let Some(program) = self.program else { return Ok(None) };
        find(program).map(Some).with_context(|| format!("not installed: no `{program}` in PATH"))
    }

    /// The version its program says it has.
    pub(crate) fn version(&self) -> Result<String> {
        let Some(program) = self.program()? else { return Ok(String::new()) };
        let output = Command::new(program).args(self.version).output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
        // The name and the number are enough.
        let words = line.unwrap_or_default().split_whitespace().take_while(|w| !w.starts_with('['));
        Ok(words.collect::<Vec<_>>().join(" "))
    }

    /// Links the hosts of a lab.
    pub(crate) fn link(&self, lab: &Lab) -> Result<Link> {
        let Some(program) = self.program()? else {
            return Ok(Link { daemons: None, addresses: Side::BOTH.map(Side::outer) });
        };
        let mut daemons = (self.start)(lab, &program)?;
        first_answer(lab, Side::B.inner()).with_context(|| {
            let said = daemons.each_ref().map(Daemon::last_words);
            format!("the link does not come up; a: {}; b: {}", said[0], said[1])
        })?;
        for daemon in &mut daemons {
            daemon.expect_running()?;
        }
        Ok(Link { daemons: Some(daemons), addresses: Side::BOTH.map(Side::inner) })
    }
}

/// Two hosts that reach each other.
pub(crate) struct Link {
    /// `None` without a tunnel.
    daemons: Option<[Daemon; 2]>,
    addresses: [Ipv4Addr; 2],
}

impl Link {
    /// The address at which a host is reached.
    pub(crate) fn address(&self, side: Side) -> Ipv4Addr {
        self.addresses[side as usize]
    }

    /// The daemon's process on a host; `None` without a tunnel.
    pub(crate) fn pid(&self, side: Side) -> Option<u32> {
        Some(self.daemons.as_ref()?[side as usize].pid())
    }

    /// What both daemons use; `None` without a tunnel.
    pub(crate) fn usage(&self) -> Result<Option<[Usage; 2]>> {
        let [Some(a), Some(b)] = Side::BOTH.map(|side| self.pid(side)) else { return Ok(None) };
        Ok(Some([Usage::of(a)?, Usage::of(b)?]))
    }
}

/// The key of a host whose tunnel is WireGuard. Any will do where nobody listens.
pub(crate) fn private_key(side: Side) -> PrivateKey {
    PrivateKey::clamped([side as u8 + 1; 32])
}

/// Starts a daemon on both hosts, waits for the devices they make, and gives these their addresses.
fn start_and_dress(
    lab: &Lab,
    program: &str,
    arguments: impl Fn(Side) -> Result<Vec<String>>,
) -> Result<[Daemon; 2]> {
    let mut daemons = start(lab, program, arguments)?;
    dress(lab, &mut daemons)?;
    Ok(daemons)
}

/// Starts a daemon on both hosts.
fn start(
    lab: &Lab,
    program: &str,
    arguments: impl Fn(Side) -> Result<Vec<String>>,
) -> Result<[Daemon; 2]> {
    let on = |side| -> Result<Daemon> {
        let mut command = command(lab, side, program)?;
        command.args(arguments(side)?);
        Daemon::start(lab, side, command)
    };
    Ok([on(Side::A)?, on(Side::B)?])
}

/// Waits for the devices that daemons make, and gives these their addresses and their MTU.
fn dress(lab: &Lab, daemons: &mut [Daemon; 2]) -> Result<()> {
    for side in Side::BOTH {
        until("the device is there", || {
            daemons[side as usize].expect_running()?;
            Ok(lab.has_device(side).then_some(()))
        })?;
        lab.dress_device(side)?;
    }
    Ok(())
}

/// The words of a command line.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program to its end, and gives what it printed.
fn output(program: &str, line: &str) -> Result<String> {
    let output = Command::new(program)
        .args(words(line))
        .output()
        .with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!("`{program} {line}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is; the directories of daemons are searched even if PATH lacks them.
fn find(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(daemons)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .map(|file| file.to_string_lossy().into_owned())
}
