//! The link's name servers, told to a `resolvectl` that writes down what it is told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::config::{End, ends};
use super::lab::{Host, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// What a daemon says whose name servers are not used.
const NOT_USED: &str = "the link's name servers are not used";

fn end() -> End {
    let [mut end, _] = ends(direct_v4);
    end.more = "dns = ['10.77.0.2', 'fd77::2']\nsearch = 'example.net'";
    end
}

/// Runs a daemon to its end where `resolvectl` is a program of these lines; gives what both said.
fn run(lab: &Lab, program: &str) -> (String, String) {
    let bin = lab.directory_of(Host::A).join("bin");
    fs::create_dir(&bin).unwrap();
    let resolvectl = bin.join("resolvectl");
    let told = lab.directory_of(Host::A).join("told");
    fs::write(&resolvectl, format!("#!/bin/sh\necho \"$@\" >> {}\n{program}\n", told.display()))
        .unwrap();
    fs::set_permissions(&resolvectl, Permissions::from_mode(0o755)).unwrap();
    let mut command = lab.daemon_command(Host::A, &end());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display()));
    let daemon = Process::start("daemon A", command);
    daemon.wait_for(STARTED);
    let so_far = || fs::read_to_string(&told).unwrap_or_default();
    // It is told beside everything else.
    let done = || so_far().contains("default-route") || daemon.count(NOT_USED) > 0;
    assert!(wait_until(BOUND, done), "{}", so_far());
    let said = stop(daemon);
    (said, so_far())
}

#[test]
fn name_servers_and_domains_are_told_and_end_with_the_device() {
    needs!();
    let (said, told) = run(&Lab::direct(), "");
    let lines: Vec<_> =
        told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let index = lines[0][1];
    assert_eq!(
        lines,
        [
            vec!["dns", index, "10.77.0.2", "fd77::2"],
            vec!["domain", index, "example.net"],
            vec!["default-route", index, "no"],
        ]
    );
    assert!(!said.contains(NOT_USED), "{said}");
}

#[test]
fn on_a_device_that_stays_they_are_taken_back() {
    needs!();
    let lab = Lab::direct();
    lab.ip(Host::A, "tuntap add tun0 mode tun");
    let (_, told) = run(&lab, "");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("revert "), "{told}");
}

#[test]
fn a_link_without_systemd_resolved_works_and_says_so_once() {
    needs!();
    let (said, told) = run(&Lab::direct(), "echo 'no such service' >&2; exit 1");
    assert_eq!(said.matches(NOT_USED).count(), 1, "{said}");
    assert!(said.contains("no such service"), "{said}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
