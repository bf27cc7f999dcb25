//! tinc 1.0, which has no AEAD: AES-128-CBC and SHA-1 are the fastest of the ciphers in CBC mode that its manual asks for
//! and of the digests that OpenSSL has, with or without instructions of the processor for them.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Peer, output, start_and_dress, words};
use crate::lab::{Lab, PORT, Side};
use crate::launch::Daemon;
use crate::report::{Kind, Subject};
use crate::wait::until;

pub(super) const PEER: Peer = Peer {
    subject: Subject {
        name: "tinc",
        kind: Kind::Encrypting,
        configuration: "`Mode = router`, `Cipher = aes-128-cbc`, `Digest = sha1`, \
                        `PingInterval = 25`, MTU 1420",
    },
    program: Some("tincd"),
    version: &["--version"],
    start: |lab, program| {
        for side in Side::BOTH {
            make_key(lab, side)?;
        }
        let daemons = start_and_dress(lab, program, |side| {
            write_config(lab, side)?;
            let directory = lab.path(side, "tinc");
            let pid = lab.path(side, "tinc.pid");
            Ok(words(&format!("-D -c {} --pidfile {}", directory.display(), pid.display())))
        })?;
        wait_for_udp(&daemons)?;
        Ok(daemons)
    },
};

fn make_key(lab: &Lab, side: Side) -> Result<()> {
    let directory = lab.path(side, "tinc");
    fs::create_dir_all(directory.join("hosts")).context("cannot make a directory")?;
    let key = directory.join("rsa_key.priv");
    output("openssl", &format!("genrsa -out {} 2048", key.display())).map(drop)
}

/// The files of one end: its own configuration, and what both ends know of each host.
fn write_config(lab: &Lab, side: Side) -> Result<()> {
    let other = side.other();
    let own = format!(
        "Name = {}\nConnectTo = {}\nAddressFamily = ipv4\nBindToAddress = {} {PORT}\n\
         DeviceType = tun\nDevice = /dev/net/tun\nInterface = {}\nMode = router\nPingInterval = 25\n",
        side.letter(),
        other.letter(),
        side.outer(),
        lab.device(side),
    );
    lab.write(side, "tinc/tinc.conf", &own)?;
    // The lab configures the device.
    for host in Side::BOTH {
        let key = lab.path(host, "tinc").join("rsa_key.priv");
        let public = output("openssl", &format!("rsa -in {} -pubout", key.display()))?;
        let known = format!(
            "Address = {} {PORT}\nPort = {PORT}\nSubnet = {}/32\nCipher = aes-128-cbc\nDigest = sha1\n{public}",
            host.outer(),
            host.inner(),
        );
        lab.write(side, &format!("tinc/hosts/{}", host.letter()), &known)?;
    }
    Ok(())
}

/// Until it has found the path's MTU, tinc sends large packets over TCP. It tells what it found in its log, when asked.
fn wait_for_udp(daemons: &[Daemon; 2]) -> Result<()> {
    let known = |line: &str| {
        let number = |name| line.split(name).nth(1)?.split([' ', ')']).next()?.parse::<u32>().ok();
        // The daemon's own line says nothing of a path.
        number("(min ").zip(number(" max ")).is_some_and(|(min, max)| min > 1400 && min == max)
    };
    for daemon in daemons {
        let pid = Pid::from_raw(i32::try_from(daemon.pid())?);
        until("tinc finds the path's MTU", || {
            kill(pid, Signal::SIGUSR2).context("tincd is gone")?;
            Ok(daemon.log().lines().any(known).then_some(()))
        })?;
    }
    Ok(())
}
