//! Starts that cannot succeed: exit code 1, and a message that names what is in the way.

use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::{fs, process::Command};

use super::config::ends;
use super::lab::{Host, INNER_B, Lab, PORT, direct_v4};
use super::needs::needs;
use super::process::{BOUND, Process};

/// Runs to the end; it must be refused, in these words among others.
fn is_refused(command: Command, words: &[&str]) {
    let mut daemon = Process::start("refused daemon", command);
    let status = daemon.end(BOUND);
    assert_eq!(status.code(), Some(1), "{}", daemon.said());
    for word in words {
        daemon.wait_for(word);
    }
}

#[test]
fn a_second_daemon_for_the_same_device_is_refused_while_the_first_goes_on() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let _daemons = lab.link(&ends);
    let mut second = ends[0].clone();
    second.listen_port = None;
    is_refused(lab.daemon_command(Host::A, &second), &["tun0"]);
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn a_port_in_use_is_named() {
    needs!();
    let lab = Lab::direct();
    let taken = lab.inside(Host::A, || UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
    let _taken = taken.join().unwrap();
    is_refused(lab.daemon_command(Host::A, &ends(direct_v4)[0]), &["51820"]);
    assert!(!lab.network(Host::A).contains("tun0"));
}

#[test]
fn a_device_of_another_kind_with_that_name_is_named_and_left_alone() {
    needs!();
    let lab = Lab::direct();
    lab.ip(Host::A, "link add tun0 type veth peer name other");
    let before = lab.network(Host::A);
    is_refused(lab.daemon_command(Host::A, &ends(direct_v4)[0]), &["tun0"]);
    assert_eq!(lab.network(Host::A), before);
}

#[test]
fn a_daemon_without_permission_says_so() {
    needs!("setpriv");
    let lab = Lab::direct();
    let end = &ends(direct_v4)[0];
    // Also writes the file of the configuration.
    drop(lab.daemon_command(Host::A, end));
    let home = lab.directory_of(Host::A);
    let binary = home.join("tunneld");
    fs::copy(env!("CARGO_BIN_EXE_tunneld"), &binary).unwrap();
    fs::set_permissions(home.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&home, &binary, &home.join("tun0.toml")] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    let mut command = lab.command(Host::A, "setpriv --reuid=65534 --regid=65534 --clear-groups");
    command
        .arg(binary)
        .args(["run", "-c"])
        .arg(home.join("tun0.toml"))
        .env("RUNTIME_DIRECTORY", &home)
        .env("STATE_DIRECTORY", &home)
        .env("NO_COLOR", "1");
    is_refused(command, &["permi"]);
}
