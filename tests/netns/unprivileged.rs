//! A device that an administrator made for a user, and the daemon that runs as that user, with no capability at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use super::config::{End, ends};
use super::lab::{Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, expect_success, stop};
use super::needs::needs;
use super::process::{BOUND, Process};
use super::transfer::Transfer;

/// A user who owns nothing else.
pub(crate) const NOBODY: u32 = 65534;

/// How to become that user for good.
pub(crate) const AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all \
     --no-new-privs";

/// `tunneld` with these words, as root on host a.
fn tunneld(lab: &Lab, words: &str) {
    expect_success(&lab.run(Host::A, &format!("{} {words}", env!("CARGO_BIN_EXE_tunneld"))));
}

/// Gives the directory of host a to nobody, with the program and the configuration in it; both paths.
pub(crate) fn hand_over(lab: &Lab, end: &End) -> [String; 2] {
    // Also writes the file of the configuration.
    drop(lab.daemon_command(Host::A, end));
    let home = lab.directory_of(Host::A);
    let (binary, file) = (home.join("tunneld"), home.join(format!("{}.toml", end.name)));
    fs::copy(env!("CARGO_BIN_EXE_tunneld"), &binary).unwrap();
    fs::set_permissions(home.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&home, &binary, &file] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    [binary, file].map(|path| path.display().to_string())
}

/// The daemon of host a without any capability.
pub(crate) fn start(lab: &Lab, [binary, file]: &[String; 2]) -> Process {
    let words = format!("{AS_NOBODY} {binary} run -c {file}");
    let mut command: Command = lab.command(Host::A, &words);
    for place in ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"] {
        command.env(place, lab.directory_of(Host::A));
    }
    command.env("NO_COLOR", "1").env("TUNNELD_LOG", "debug").env_remove("NOTIFY_SOCKET");
    Process::start("daemon without capabilities", command)
}

/// What root is asked to do, in the words of a daemon that has ended.
fn asked_for(mut daemon: Process) -> String {
    assert_eq!(daemon.end(BOUND).code(), Some(1), "{}", daemon.said());
    let line = daemon.wait_for("have root do it: `");
    let (_, command) = line.split_once("have root do it: `").unwrap();
    command.split('`').next().unwrap().to_owned()
}

/// The capabilities that a running program has, of each kind.
fn capabilities(process: &Process) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let lines = status.lines().filter(|line| line.starts_with("Cap"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
}

#[test]
fn a_daemon_without_any_capability_links_once_root_did_what_it_asked_for() {
    needs!("ping", "setpriv");
    for queues in ["", "--multi-queue"] {
        let lab = Lab::direct();
        let [mut a, b] = ends(direct_v4);
        a.mtu = Some(1400);
        a.allowed_ips = Some(vec!["10.77.0.0/30", "fd77::/64", "192.168.7.0/24"]);
        let files = hand_over(&lab, &a);
        tunneld(&lab, &format!("device add tun0 --user {NOBODY} {queues}"));
        lab.ip(Host::A, "link set tun0 addrgenmode none");
        let asked: Vec<String> = [
            "ip address add 10.77.0.1/30 dev tun0",
            "ip address add fd77::1/64 dev tun0 nodad",
            "ip link set dev tun0 mtu 1400",
            "ip link set dev tun0 up",
            "ip route add 192.168.7.0/24 dev tun0",
        ]
        .map(str::to_owned)
        .into();
        for expected in &asked {
            let command = asked_for(start(&lab, &files));
            assert_eq!(command, *expected);
            expect_success(&lab.run(Host::A, &command));
        }
        let before = lab.network(Host::A);
        let daemon = start(&lab, &files);
        daemon.wait_for(STARTED);
        assert_eq!(capabilities(&daemon), ["0000000000000000"; 5]);
        let _b = lab.start(Host::B, &b);
        for inner in 0..2 {
            assert!(lab.pings(Host::A, INNER_B[inner]));
            assert!(lab.pings(Host::B, INNER_A[inner]));
        }
        Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 8_000_000).finish();
        Transfer::begin(&lab, Host::B, Host::A, INNER_A[1], 8_000_000).finish();
        let status = lab
            .command(Host::A, &format!("{AS_NOBODY} {} status -i tun0", files[0]))
            .env("RUNTIME_DIRECTORY", lab.directory_of(Host::A))
            .output();
        expect_success(&status.unwrap());
        let said = stop(daemon);
        assert!(!said.contains("WARN"), "{said}");
        assert_eq!(lab.network(Host::A), before, "nothing was changed");
    }
}

#[test]
fn a_device_that_may_not_be_changed_keeps_its_mtu_where_the_file_says_none() {
    needs!("ping", "setpriv");
    let lab = Lab::direct();
    let [a, b] = ends(direct_v4);
    let files = hand_over(&lab, &a);
    tunneld(&lab, &format!("device add tun0 --user {NOBODY} --mtu 1350"));
    for words in [
        "address add 10.77.0.1/30 dev tun0",
        "address add fd77::1/64 dev tun0 nodad",
        "link set tun0 up",
    ] {
        lab.ip(Host::A, words);
    }
    let daemon = start(&lab, &files);
    let warning = daemon.wait_for("the MTU stays 1350");
    assert!(warning.contains("ip link set dev tun0 mtu 1420"), "{warning}");
    let _b = lab.start(Host::B, &b);
    assert!(lab.pings(Host::A, INNER_B[0]));
    assert!(stop(daemon).matches("the MTU stays").count() == 1);
    assert!(lab.ip(Host::A, "link show tun0").contains("mtu 1350"));
}

#[test]
fn the_device_of_another_user_is_refused_with_what_helps() {
    needs!("setpriv");
    let lab = Lab::direct();
    let files = hand_over(&lab, &ends(direct_v4)[0]);
    tunneld(&lab, "device add tun0");
    let mut daemon = start(&lab, &files);
    assert_eq!(daemon.end(BOUND).code(), Some(1), "{}", daemon.said());
    daemon.wait_for("`tunneld device add tun0 --user USER`");
}
