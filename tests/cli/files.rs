//! The files that go with the binary: both example configurations and the systemd unit.

use std::fs;
use std::path::Path;
use std::process::Command;

use tunneld::config::Config;

use crate::common::require;
use crate::host::{Host, PROGRAM, check, key};

/// An example with its key file replaced by the one of `host`.
fn example(host: &Host, name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = fs::read_to_string(path).unwrap();
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
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/tunneld.service");
    let text = fs::read_to_string(unit).unwrap();
    let installed = "/usr/local/bin/tunneld";
    assert_eq!(text.matches(installed).count(), 1);
    let host = Host::new();
    let path = host.write("tunneld.service", &text.replace(installed, PROGRAM), 0o644);
    let output = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("tunneld.service"), "{said}");
}
