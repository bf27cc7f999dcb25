//! What an administrator does with the package and its service.

use std::io::Write as _;

use super::image::image;
use super::leaks::nothing_leaves_past_a_default_route;
use super::machine::Machine;
use super::package::package;
use super::site::{Site, install};
use crate::common::skip;
use crate::netns::lab::{Host, INNER_A, INNER_B};
use crate::netns::needs::needs;
use crate::netns::process::{BOUND, Process, wait_until};

/// Returns from a test that needs what is not here.
macro_rules! needs_machines {
    () => {
        needs!(
            "apt-get",
            "cargo-deb",
            "debootstrap",
            "dpkg-deb",
            "go-md2man",
            "nsenter",
            "ping",
            "script",
            "systemd-nspawn",
            "unshare"
        );
        if let Err(missing) = image() {
            skip(&missing);
            return;
        }
    };
}

/// What `systemctl show` says of the service.
pub(crate) fn shows(machine: &Machine, property: &str) -> String {
    machine.must(&format!("systemctl show --value -p {property} tunneld"))
}

#[test]
fn the_package_installs_upgrades_removes_and_purges_what_is_its_own() {
    needs_machines!();
    let site = Site::boot();
    let machine = &site.a;
    // The other one too, as it gets a configuration that its user reads.
    for machine in [machine, &site.b] {
        install(machine, &package(1));
    }
    // There is no configuration yet: nothing runs, and who starts it is told what is missing.
    assert_eq!(shows(machine, "ActiveState"), "inactive");
    assert_eq!(machine.run("systemctl is-enabled tunneld").stdout, b"disabled\n");
    assert!(!machine.run("systemctl start tunneld").status.success());
    assert_eq!(shows(machine, "ExecMainStatus"), "2");
    let log = machine.must("journalctl -u tunneld -o cat");
    assert!(log.contains("tunneld: error: /etc/tunneld.toml: cannot be read"), "{log}");
    assert!(machine.must("getent group tunneld").ends_with(":tunneld"), "it may read the keys");
    assert!(machine.must("getent group tunneld-admin").ends_with(':'), "nobody may ask yet");
    let files = machine.must("dpkg -L tunneld");
    for file in [
        "/usr/bin/tunneld",
        "/usr/lib/systemd/system/tunneld.service",
        "/usr/share/man/man8/tunneld.8.gz",
        "/usr/share/man/man5/tunneld.toml.5.gz",
        "/usr/share/bash-completion/completions/tunneld",
        "/usr/share/zsh/vendor-completions/_tunneld",
        "/usr/share/fish/vendor_completions.d/tunneld.fish",
        "/usr/share/doc/tunneld/examples/host-a.toml",
        "/usr/share/polkit-1/rules.d/tunneld-dns.rules",
        "/usr/share/doc/tunneld/copyright",
    ] {
        assert!(files.lines().any(|line| line == file), "{file}\n{files}");
    }
    assert!(!files.contains("/etc"), "{files}");

    site.configure();
    let configuration = machine.must("sha256sum /etc/tunneld.toml");
    machine.must("systemctl reset-failed tunneld; systemctl enable --now tunneld");
    install(machine, &package(2));
    assert_eq!(shows(machine, "ActiveState"), "active");
    assert_eq!(machine.must("dpkg-query -f '${Version}' -W tunneld").split('-').nth(1), Some("2"));
    assert_eq!(machine.must("sha256sum /etc/tunneld.toml"), configuration);

    machine.must("dpkg -r tunneld");
    assert!(!machine.run("ip link show tun0").status.success(), "it was stopped");
    assert_eq!(machine.must("sha256sum /etc/tunneld.toml"), configuration);
    machine.must("test -d /var/lib/tunneld");
    install(machine, &package(2));
    assert_eq!(machine.run("systemctl is-enabled tunneld").stdout, b"enabled\n", "as before");
    machine.must("systemctl start tunneld");

    machine.must("dpkg -P tunneld");
    assert_eq!(machine.must("sha256sum /etc/tunneld.toml"), configuration);
    let left =
        machine.must("find / -xdev -name '*tunneld*' -not -path '/proc/*' -not -path '/sys/*'");
    let left: Vec<_> = left.lines().filter(|path| !path.starts_with("/root/")).collect();
    assert_eq!(left, ["/etc/tunneld.toml"]);
}

/// What a daemon says that goes on with the sessions of the one before.
fn took_over(machine: &Machine) -> usize {
    let log = machine.must("journalctl -o cat -u tunneld");
    log.matches("the sessions of the process before go on").count()
}

/// Does `event`, which ends one daemon and starts the next, to `machine`: the next goes on with the sessions.
fn loses_no_session(machine: &Machine, event: impl FnOnce()) {
    let before = took_over(machine);
    event();
    assert!(wait_until(BOUND, || took_over(machine) > before), "no session is lost");
}

#[test]
fn a_transfer_survives_a_reload_a_restart_a_kill_and_an_upgrade_of_either_end() {
    needs_machines!();
    let site = Site::linked();
    let upgrade = package(2);
    for machine in [&site.a, &site.b] {
        let reload = || {
            let process = shows(machine, "MainPID");
            machine.must("sed -i 's/^\\[peer\\]/mtu = 1380\\n[peer]/' /etc/tunneld.toml; systemctl reload tunneld");
            assert_eq!(shows(machine, "MainPID"), process);
            assert!(machine.must("ip link show tun0").contains("mtu 1380"));
            machine.must("cp -p /etc/tunneld.toml /root/good; echo nonsense >> /etc/tunneld.toml");
            assert!(!machine.run("systemctl reload tunneld").status.success());
            machine.must("cat /root/good > /etc/tunneld.toml");
        };
        let restart =
            || loses_no_session(machine, || drop(machine.must("systemctl restart tunneld")));
        let kill = || {
            let process = shows(machine, "MainPID");
            machine.must(&format!("kill -KILL {process}"));
            let again = || !["0", &process].contains(&shows(machine, "MainPID").as_str());
            assert!(wait_until(BOUND, again), "systemd starts it again");
        };
        let upgrade = || {
            let before = shows(machine, "MainPID");
            loses_no_session(machine, || install(machine, &upgrade));
            assert_ne!(shows(machine, "MainPID"), before, "the upgrade runs");
        };
        site.in_a_transfer(&[&reload, &restart, &upgrade, &kill]);
    }
}

#[test]
fn a_restart_stops_traffic_for_less_than_a_second_and_nothing_leaves_past_a_default_route() {
    needs_machines!();
    let site = Site::linked();
    // What a ping that was sent meanwhile waits for its answer, in milliseconds; none of them is lost.
    let longest = || {
        let words = format!("ping -n -i 0.02 -c 250 -q {}", INNER_B[0]);
        let ping = Process::start("ping", site.lab.command(Host::A, &words));
        site.b.must("systemctl restart tunneld");
        let summary = ping.wait_for("packets transmitted");
        let times = ping.wait_for("rtt min/avg/max");
        let longest = times.split('/').nth(5).and_then(|time| time.parse::<f32>().ok());
        summary.contains(" 0% packet loss").then(|| longest.unwrap())
    };
    // Of three times once, as this machine may stand still while other tests run beside.
    let stopped: Vec<_> = std::iter::repeat_with(longest).take(3).collect();
    let _ = writeln!(std::io::stderr(), "a restart stops traffic for {stopped:?} ms");
    let less = |longest: &Option<f32>| longest.is_some_and(|milliseconds| milliseconds < 1000.0);
    assert!(stopped.iter().any(less), "{stopped:?}");
    nothing_leaves_past_a_default_route(&site);
}

#[test]
fn a_transfer_survives_a_reboot_of_an_end() {
    needs_machines!();
    let site = Site::linked();
    let reboot = || {
        let leader = site.b.leader();
        site.b.must("systemctl --no-block reboot");
        assert!(wait_until(BOUND, || ![None, leader].contains(&site.b.leader())), "it reboots");
        site.b.wait_until_booted();
    };
    site.in_a_transfer(&[&reboot]);
    assert!(site.lab.pings(Host::A, INNER_B[0]));
    assert!(site.lab.pings(Host::B, INNER_A[0]));
}

#[test]
fn a_member_of_the_group_may_look_and_neither_change_anything_nor_read_the_keys() {
    needs_machines!();
    let site = Site::linked();
    let machine = &site.a;
    let socket = machine.must("stat -c '%A %U %G' /run/tunneld/tun0.sock");
    assert_eq!(socket, "srw-rw---- tunneld tunneld-admin");
    machine.must("useradd -G tunneld-admin member; useradd stranger");
    machine.must("runuser -u member -- tunneld status | grep 'state  *up'");
    for (user, words, reason) in [
        ("member", "tunneld reload", "only root and the user that tunneld runs as"),
        ("member", "cat /etc/tunneld.toml", "Permission denied"),
        ("stranger", "tunneld status", "Permission denied"),
    ] {
        let refused = machine.run(&format!("runuser -u {user} -- {words}"));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(reason), "{user}: {words}: {said}");
    }
    machine.must("systemctl reload tunneld && runuser -u tunneld -- tunneld reload");
}

#[test]
fn the_journal_has_a_field_for_each_value_and_the_unit_has_a_good_score() {
    needs_machines!();
    let site = Site::linked();
    let log = site.a.must("journalctl -o cat TUNNELD_DEVICE=tun0 PRIORITY=6");
    assert!(log.contains("started device=\"tun0\" port=51820"), "{log}");
    let unit = site.a.must("journalctl -o cat -u tunneld SYSLOG_IDENTIFIER=tunneld");
    assert!(unit.contains("handshake completed"), "{unit}");

    let report = site.a.must("systemd-analyze security --no-pager tunneld");
    let verdict = report.lines().last().unwrap();
    // Past the harness: it is to be read.
    let _ = writeln!(std::io::stderr(), "systemd-analyze security: {verdict}");
    let score = verdict.split_whitespace().filter_map(|word| word.parse::<f32>().ok()).next();
    assert!(score.unwrap() <= 1.8, "{report}");
}
