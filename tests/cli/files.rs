//! The files that go with the binary: both example configurations and the systemd unit.

use std::fs;
use std::path::Path;
use std::process::Command;

use tunneld::config::Config;

use crate::common::require;
use crate::host::{Host, PROGRAM, check, key};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// An example with its key file replaced by the one of `host`.
fn example(host: &Host, name: &str) -> Config {
    let text = file(&format!("config/{name}"));
    let key_file = r#""/etc/tunneld/private.key""#;
    assert_eq!(text.matches(key_file).count(), 1);
    let path = host.write(name, &text.replace(key_file, "\"private.key\""), 0o644);
    let answer = check(&path);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!answer.stdout.contains("note:"), "{answer:?}");
    Config::load(&path).unwrap()
}

#[test]
fn the_examples_are_two_ends_of_one_link() {
    let host = Host::new();
    let (a, b) = (example(&host, "host-a.toml"), example(&host, "host-b.toml"));
    assert_eq!(a.interface.private_key, key(1));
    assert_ne!(a.peer.public_key, b.peer.public_key);
    for (ours, theirs) in a.interface.addresses.iter().zip(&b.interface.addresses) {
        assert_eq!(ours.trunc(), theirs.trunc());
        assert_ne!(ours.addr(), theirs.addr());
    }
    for (here, there) in [(&a, &b), (&b, &a)] {
        for address in &there.interface.addresses {
            assert!(here.peer.allowed_ips.iter().any(|net| net.contains(&address.addr())));
        }
    }
    assert_eq!(b.peer.endpoints[0].port, a.interface.listen_port);
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    if !require("systemd-analyze") {
        return;
    }
    let text = file("systemd/tunneld.service");
    let installed = "/usr/bin/tunneld";
    let others = file("systemd/tunneld@.service");
    let of_one = others
        .replace("(tunneld, %i)", "(tunneld)")
        .replace("/etc/tunneld/%i.toml", "/etc/tunneld.toml");
    assert_eq!(of_one, text, "the unit for several links differs in its file alone");
    assert_eq!(text.matches(installed).count(), 2);
    let host = Host::new();
    let path = host.write("tunneld.service", &text.replace(installed, PROGRAM), 0o644);
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("tunneld.service"), "{said}");
}

#[test]
fn the_unit_for_devices_is_one_that_systemd_understands() {
    if !require("systemd-analyze") {
        return;
    }
    let text = file("systemd/tunneld-device@.service");
    let installed = "/usr/bin/tunneld";
    assert_eq!(text.matches(installed).count(), 2);
    let host = Host::new();
    let text = text.replace(installed, PROGRAM);
    let path = host.write("tunneld-device@tun0.service", &text, 0o644);
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("tunneld-device"), "{said}");
}

/// A thread that panics takes the others with it: a tunnel with one thread less would look alive and be dead.
#[test]
fn a_panic_ends_the_daemon_and_systemd_starts_it_again_whatever_happened_before() {
    let manifest: toml::Table = file("Cargo.toml").parse().unwrap();
    let release = &manifest["profile"]["release"];
    assert_eq!(release["panic"].as_str(), Some("abort"));
    assert_eq!(release["overflow-checks"].as_bool(), Some(true));

    let unit = file("systemd/tunneld.service");
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name));
    assert_eq!(setting("Restart="), Some("on-failure"), "SIGABRT is one");
    assert_eq!(setting("StartLimitIntervalSec="), Some("0"), "however often");
    assert_eq!(setting("RestartPreventExitStatus="), Some("2"), "but not a mistake of its author");
}
