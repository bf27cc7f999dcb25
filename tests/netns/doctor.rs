//! `tunneld doctor` on hosts that are good, and on hosts that were broken on purpose.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use serde_json::Value;

use super::config::{End, ends};
use super::lab::{CABLE, Host, Lab, PORT, STARTED, direct_v4, expect_success, stop};
use super::needs::needs;
use super::process::{BOUND, wait_until};
use super::unprivileged::{self, AS_NOBODY, NOBODY, hand_over};

/// What it said: its exit code, and all that was not ok.
struct Report {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Report {
    /// The verdict on `check`, the worst if there are several.
    fn verdict(&self, check: &str) -> &str {
        let verdicts = self.findings.iter().filter(|finding| finding["check"] == check);
        let verdicts: Vec<_> =
            verdicts.map(|finding| finding["verdict"].as_str().unwrap()).collect();
        let of = |verdict: &&str| verdicts.contains(verdict);
        ["bad", "warning", "unknown", "ok"].into_iter().find(of).unwrap_or("missing")
    }

    /// The commands that mend what has this verdict.
    fn commands(&self, verdict: &str) -> Vec<&str> {
        let those = self.findings.iter().filter(|finding| finding["verdict"] == verdict);
        those.filter_map(|finding| finding["command"].as_str()).collect()
    }

    /// Runs the first command that mends `check`, without what may be done instead.
    fn mend(&self, lab: &Lab, check: &str) {
        let those = self.findings.iter().filter(|finding| finding["check"] == check);
        let command = those.into_iter().find_map(|finding| finding["command"].as_str()).unwrap();
        let command = command.split(", or").next().unwrap();
        let mut shell = lab.command(Host::A, "");
        expect_success(&shell.args(["sh", "-c", command]).output().unwrap());
    }

    /// The link cannot start, and `check` is why, and nothing but that and `others`.
    fn is_bad(&self, check: &str, others: &[&str]) {
        assert_eq!((self.code, self.verdict(check)), (Some(1), "bad"), "{:#?}", self.findings);
        for finding in self.findings.iter().filter(|finding| finding["verdict"] == "bad") {
            let name = finding["check"].as_str().unwrap();
            assert!(name == check || others.contains(&name), "{finding:#?}");
        }
    }

    /// The link can start, and `check` has this verdict.
    fn starts(&self, check: &str, verdict: &str) {
        assert_eq!((self.code, self.verdict(check)), (Some(0), verdict), "{:#?}", self.findings);
    }
}

/// Runs it on host a, with the help of `wrapper`.
fn examine(lab: &Lab, wrapper: &str, binary: &str, file: &str) -> Report {
    let mut command = lab.command(Host::A, "");
    // The wrapper may need a shell.
    let script = format!("{wrapper} {binary} doctor --json -c {file}");
    command.args(["unshare", "-m", "sh", "-c", &script]);
    report(lab, command)
}

fn report(lab: &Lab, mut command: Command) -> Report {
    for place in ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"] {
        command.env(place, lab.directory_of(Host::A));
    }
    let output = command.env_remove("TUNNELD_LOG").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    let findings = report["findings"].as_array().unwrap().clone();
    assert_eq!(report["ok"], output.status.success());
    Report { code: output.status.code(), findings }
}

/// As root, with this configuration.
fn doctor(lab: &Lab, end: &End) -> Report {
    examine_with(lab, "exec", end)
}

fn examine_with(lab: &Lab, wrapper: &str, end: &End) -> Report {
    let file = lab.write_file(Host::A, &end.name, &end.to_toml());
    examine(lab, wrapper, env!("CARGO_BIN_EXE_tunneld"), file.to_str().unwrap())
}

#[test]
fn a_good_host_is_ok_and_stays_as_it_is_before_and_while_the_link_runs() {
    needs!("ping", "unshare");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let before = lab.network(Host::A);
    let good = doctor(&lab, &ends[0]);
    for check in [
        "configuration",
        "device node",
        "device",
        "permissions",
        "port",
        "addresses",
        "routes",
        "endpoint",
        "mtu",
    ] {
        good.starts(check, "ok");
    }
    assert_eq!(lab.network(Host::A), before);
    let _daemons = lab.link(&ends);
    let running = doctor(&lab, &ends[0]);
    for check in ["device", "port", "addresses", "routes", "endpoint"] {
        running.starts(check, "ok");
    }
    let other = End { private_key: [9; 32], ..ends[0].clone() };
    doctor(&lab, &other).is_bad("device", &["port"]);
}

#[test]
fn a_missing_or_closed_device_node_is_bad_unless_tunneld_makes_it() {
    needs!("setpriv", "unshare", "mount", "mknod");
    let lab = Lab::direct();
    let end = &ends(direct_v4)[0];
    let hidden = "mount -t tmpfs none /dev/net &&";
    examine_with(&lab, &format!("{hidden} exec"), end).starts("device node", "warning");
    let without = format!("{hidden} exec setpriv --bounding-set -mknod");
    examine_with(&lab, &without, end).is_bad("device node", &["device"]);
    let files = hand_over(&lab, end);
    let closed = format!("{hidden} mknod -m 600 /dev/net/tun c 10 200 && exec {AS_NOBODY}");
    examine(&lab, &closed, &files[0], &files[1]).is_bad("device node", &["device", "permissions"]);
}

#[test]
fn who_may_not_make_devices_is_told_how_root_can_help_and_that_is_enough() {
    needs!("setpriv", "unshare");
    let lab = Lab::direct();
    let mut end = ends(direct_v4)[0].clone();
    end.mtu = Some(1400);
    let [binary, file] = hand_over(&lab, &end);
    let as_nobody = || examine(&lab, &format!("exec {AS_NOBODY}"), &binary, &file);
    let report = as_nobody();
    report.is_bad("device", &["permissions"]);
    // The device on trial has a name that nobody asked for.
    assert!(!format!("{:?}", report.findings).contains('%'), "{:?}", report.findings);
    let make = format!("tunneld device add tun0 --user {NOBODY}");
    assert!(report.commands("bad").iter().any(|command| command.contains(&make)));
    expect_success(&lab.run(Host::A, &make.replace("tunneld", env!("CARGO_BIN_EXE_tunneld"))));
    let report = as_nobody();
    report.is_bad("permissions", &[]);
    let commands = report.commands("bad");
    assert_eq!(commands.len(), 4, "{commands:?}");
    for command in commands {
        expect_success(&lab.run(Host::A, command));
    }
    as_nobody().starts("permissions", "ok");
}

#[test]
fn a_taken_port_is_bad() {
    needs!("unshare");
    let lab = Lab::direct();
    let taken = lab.inside(Host::A, || UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
    let _taken = taken.join().unwrap();
    doctor(&lab, &ends(direct_v4)[0]).is_bad("port", &[]);
}

#[test]
fn an_address_that_another_device_has_is_bad_until_its_command_is_run() {
    needs!("unshare");
    let lab = Lab::direct();
    let end = &ends(direct_v4)[0];
    lab.add_address(Host::A, CABLE, "10.77.0.1");
    let report = doctor(&lab, end);
    report.is_bad("addresses", &[]);
    report.mend(&lab, "addresses");
    doctor(&lab, end).starts("addresses", "ok");
}

#[test]
fn an_underlay_without_a_way_or_with_too_small_an_mtu_is_told() {
    needs!("unshare");
    let lab = Lab::direct();
    let mut end = ends(direct_v4)[0].clone();
    end.mtu = Some(1400);
    lab.ip(Host::A, &format!("link set {CABLE} mtu 1400"));
    let report = doctor(&lab, &end);
    report.starts("mtu", "warning");
    assert!(report.commands("warning").contains(&"set mtu = 1340 in [interface] at both ends"));
    end.mtu = Some(1340);
    doctor(&lab, &end).starts("mtu", "ok");
    end.mtu = None;
    lab.ip(Host::A, &format!("link set {CABLE} mtu 1330"));
    doctor(&lab, &end).starts("mtu", "warning");
    lab.ip(Host::A, &format!("link set {CABLE} down"));
    doctor(&lab, &end).is_bad("endpoint", &[]);
}

#[test]
fn a_clock_that_reads_less_than_in_an_earlier_run_is_bad() {
    needs!("ping", "unshare");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let timestamps = || {
        let entries = fs::read_dir(lab.directory_of(Host::A)).unwrap().flatten();
        let mut paths = entries.map(|entry| entry.path());
        paths.find(|path| path.extension().is_some_and(|end| end == "timestamp"))
    };
    let daemons = lab.link(&ends);
    assert!(wait_until(BOUND, || timestamps().is_some()));
    drop(daemons);
    assert_ne!(doctor(&lab, &ends[0]).verdict("clock"), "bad");
    // In 2100.
    fs::write(timestamps().unwrap(), "4102444800.000000000\n").unwrap();
    doctor(&lab, &ends[0]).is_bad("clock", &[]);
}

#[test]
fn a_firewall_that_discards_the_port_is_told_with_the_rule_that_lets_it_in() {
    needs!("nft", "unshare");
    let lab = Lab::direct();
    let end = &ends(direct_v4)[0];
    doctor(&lab, end).starts("firewall", "ok");
    for words in [
        "add table inet f",
        "add chain inet f in { type filter hook input priority 0 ; policy drop ; }",
    ] {
        expect_success(&lab.run(Host::A, &format!("nft {words}")));
    }
    let report = doctor(&lab, end);
    report.starts("firewall", "warning");
    report.mend(&lab, "firewall");
    doctor(&lab, end).starts("firewall", "ok");
}

const BRIDGED: &str = "mode = \"tap\"\nbridge = \"br0\"";

/// Host a's end of a link that carries frames, with these lines of `[interface]`.
fn end_of_frames(more: &'static str) -> End {
    let [end, _] = ends(direct_v4);
    let more_peer = "profile = \"tunneld\"";
    End { name: "tap0".to_owned(), addresses: Vec::new(), more, more_peer, ..end }
}

#[test]
fn a_bridge_that_is_missing_or_down_is_bad_until_its_command_is_run_and_what_is_none_stays_bad() {
    needs!("unshare");
    let lab = Lab::direct();
    let end = end_of_frames(BRIDGED);
    let no_bridge = || {
        let report = doctor(&lab, &end);
        report.is_bad("bridge", &[]);
        let mut daemon = lab.start(Host::A, &end);
        assert_eq!(daemon.end(BOUND).code(), Some(1), "{}", daemon.said());
        report
    };
    lab.ip(Host::A, "link add br0 type veth peer name other");
    no_bridge();
    lab.ip(Host::A, "link delete br0");
    no_bridge().mend(&lab, "bridge");
    doctor(&lab, &end).starts("bridge", "ok");
    lab.ip(Host::A, "link set br0 down");
    let down = doctor(&lab, &end);
    down.is_bad("bridge", &[]);
    down.mend(&lab, "bridge");
    let daemon = lab.start(Host::A, &end);
    daemon.wait_for(STARTED);
    for check in ["device", "bridge", "mac", "mtu"] {
        doctor(&lab, &end).starts(check, "ok");
    }
}

#[test]
fn a_port_of_another_bridge_another_mtu_and_an_address_in_use_are_warnings() {
    needs!("unshare");
    let lab = Lab::direct();
    let end = end_of_frames(BRIDGED);
    for bridge in ["br0", "br1"] {
        lab.ip(Host::A, &format!("link add {bridge} up type bridge"));
    }
    lab.ip(Host::A, "tuntap add tap0 mode tap");
    let put_into_br1 = || {
        lab.ip(Host::A, "link set tap0 master br1");
        let report = doctor(&lab, &end);
        report.starts("bridge", "warning");
        // A bridge has the address of its port.
        report.starts("mac", "ok");
        report
    };
    put_into_br1();
    let daemon = lab.start(Host::A, &end);
    daemon.wait_for(STARTED);
    assert!(lab.ip(Host::A, "link show tap0").contains("master br0"), "as the warning said");
    stop(daemon);
    put_into_br1().mend(&lab, "bridge");
    doctor(&lab, &end).starts("bridge", "ok");
    lab.ip(Host::A, "link set br0 mtu 9000");
    let report = doctor(&lab, &end);
    report.starts("bridge", "warning");
    report.mend(&lab, "bridge");
    doctor(&lab, &end).starts("bridge", "ok");
    let end = end_of_frames("mode = \"tap\"\nmac = \"02:00:5e:10:00:01\"");
    doctor(&lab, &end).starts("mac", "ok");
    lab.ip(Host::A, &format!("link set {CABLE} address 02:00:5e:10:00:01"));
    doctor(&lab, &end).starts("mac", "warning");
}

#[test]
fn without_capabilities_root_is_told_how_the_device_gets_its_address_mode_and_bridge() {
    needs!("setpriv", "unshare");
    let lab = Lab::direct();
    let end = end_of_frames(
        "mode = \"tap\"\nbridge = \"br0\"\nmac = \"02:00:5e:10:00:01\"\npromisc = true",
    );
    let files = hand_over(&lab, &end);
    let as_nobody = || examine(&lab, &format!("exec {AS_NOBODY}"), &files[0], &files[1]);
    let report = as_nobody();
    report.is_bad("device", &["bridge", "permissions"]);
    report.mend(&lab, "bridge");
    let make = format!("device add tap0 --tap --user {NOBODY}");
    assert!(report.commands("bad").iter().any(|command| command.contains(&make)));
    expect_success(&lab.run(Host::A, &format!("{} {make}", env!("CARGO_BIN_EXE_tunneld"))));
    let report = as_nobody();
    report.is_bad("permissions", &[]);
    let expected = ["address 02:00:5e:10:00:01", "promisc on", "master br0", "up"];
    let expected = expected.map(|words| format!("ip link set dev tap0 {words}"));
    assert_eq!(report.commands("bad"), expected);
    for command in expected {
        let mut daemon = unprivileged::start(&lab, &files);
        assert_eq!(daemon.end(BOUND).code(), Some(1), "{}", daemon.said());
        daemon.wait_for(&format!("have root do it: `{command}`"));
        expect_success(&lab.run(Host::A, &command));
    }
    let report = as_nobody();
    for check in ["bridge", "mac", "promisc", "permissions"] {
        report.starts(check, "ok");
    }
    unprivileged::start(&lab, &files).wait_for(STARTED);
}
