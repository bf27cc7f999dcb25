//! Hooks of a real daemon: what they see, when they run, and what they cannot do to the link.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tunneld::crypto::PrivateKey;

use super::config::{End, ends};
use super::lab::{Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// Ends of which only b calls, so that a hears where b is.
fn called_by_b() -> [End; 2] {
    let mut ends = ends(direct_v4);
    ends[0].endpoint = None;
    ends
}

/// A hook that adds to the file what it sees: its environment, its arguments, its descriptors.
fn spy(lab: &Lab, event: &str) -> (String, PathBuf) {
    const SEES: &str = "exec >> \\\"$0\\\"; tr '\\\\0' '\\\\n' < /proc/$$/environ; printf '<%s>' \\\"$@\\\"; \
                        echo; ls /proc/$$/fd; echo end";
    let file = lab.directory_of(Host::A).join("seen");
    let words = r#""a;touch x", "$(touch x)", "`touch x`", "two\nlines""#;
    let hook = format!("{event} = [\"/bin/sh\", \"-c\", \"{SEES}\", {file:?}, {words}]\n");
    (hook, file)
}

#[test]
fn hooks_see_checked_values_and_their_own_arguments_and_nothing_else() {
    needs!("ping", "sh", "ls", "tr");
    let lab = Lab::direct();
    let mut ends = called_by_b();
    ends[0].name = "t;$(id)`id`".to_owned();
    ends[0].preshared_key = Some(super::config::SOME_KEY.to_owned());
    ends[1].preshared_key = ends[0].preshared_key.clone();
    let events = ["up", "peer_up", "endpoint_changed", "peer_down", "down"];
    let (hooks, files): (Vec<_>, Vec<_>) = events.map(|event| spy(&lab, event)).into_iter().unzip();
    ends[0].hooks = hooks.concat();
    let [a, b] = lab.link_called_by_b(&ends);
    a.wait_for_nth(2, "hook done");
    stop(b);
    ends[1].listen_port = Some(7000);
    let _b = lab.start(Host::B, &ends[1]);
    a.wait_for_nth(3, "hook done");
    stop(a);

    let seen = fs::read_to_string(&files[0]).unwrap();
    // What any program has here: whoever started this test may have left it some.
    let mut bare = lab.command(Host::A, "sh -c");
    let descriptors =
        bare.stdin(Stdio::null()).arg("ls /proc/$$/fd; exit").output().unwrap().stdout;
    let descriptors = String::from_utf8(descriptors).unwrap();
    let expected = [None, Some(51820), Some(7000), Some(7000), None];
    let expected = events.into_iter().zip(expected).map(|(event, port)| {
        let mut lines = vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "TUNNELD_ADDRESSES=10.77.0.1/30 fd77::1/64".to_owned(),
        ];
        lines.extend(port.map(|port| format!("TUNNELD_ENDPOINT=192.0.2.2:{port}")));
        lines.push(format!("TUNNELD_EVENT={event}"));
        lines.push("TUNNELD_INTERFACE=t;$(id)`id`".to_owned());
        lines.push(format!("TUNNELD_PEER={}", PrivateKey::clamped([2; 32]).public_key()));
        lines.push(format!("<a;touch x><$(touch x)><`touch x`><two\nlines>\n{descriptors}"));
        lines.join("\n")
    });
    // The order of the environment is nobody's promise.
    let seen = seen.split_terminator("end\n").map(|part| {
        let (environment, rest) = part.split_at(part.find('<').unwrap_or_default());
        let mut lines: Vec<_> = environment.lines().collect();
        lines.sort_unstable();
        lines.push(rest);
        lines.join("\n")
    });
    assert_eq!(seen.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// The processes on a host.
fn processes(lab: &Lab, host: Host) -> usize {
    let output = Command::new("ip").args(["netns", "pids", &lab.namespace(host)]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().lines().count()
}

#[test]
fn a_hook_that_hangs_and_forks_holds_nobody_up_and_is_killed_with_all_it_started() {
    needs!("ping", "sh", "sleep");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    let hangs = "trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & sleep 1000; wait";
    ends[0].hooks =
        format!("up = [\"/bin/sh\", \"-c\", \"{hangs}\"]\npeer_up = [\"/bin/false\"]\n");
    let [a, _b] = lab.link(&ends);
    assert!(lab.pings(Host::B, INNER_A[1]));
    assert!(wait_until(BOUND, || processes(&lab, Host::A) > 2), "the hook and its child run");
    assert_eq!(a.count("hook"), 0, "{}", a.said());
    let told = a.wait_for("hook failed");
    assert!(told.contains("event=\"up\"") && told.contains("its time was up: killed"), "{told}");
    assert!(wait_until(BOUND, || processes(&lab, Host::A) == 1), "only the daemon is left");
    // The next one has its turn, and a failure of it changes nothing.
    let told = a.wait_for_nth(2, "hook failed");
    assert!(told.contains("event=\"peer_up\"") && told.contains("exit status: 1"), "{told}");
    assert!(lab.pings(Host::A, INNER_B[1]));
    stop(a);
}

#[test]
fn the_first_and_the_last_hook_find_the_device_with_its_addresses() {
    needs!("sh");
    let lab = Lab::direct();
    lab.ip(Host::A, "tuntap add tun0 mode tun");
    let before = lab.network(Host::A);
    let file = lab.directory_of(Host::A).join("seen");
    let mut ends = ends(direct_v4);
    for event in ["up", "down"] {
        let script = format!("exec >> \\\"$0\\\"; echo {event}; ip -o address show dev tun0");
        ends[0].hooks += &format!("{event} = [\"/bin/sh\", \"-c\", \"{script}\", {file:?}]\n");
    }
    let a: Process = lab.start(Host::A, &ends[0]);
    a.wait_for(STARTED);
    a.wait_for("hook done");
    stop(a);
    let seen = fs::read_to_string(file).unwrap();
    let (up, down) = seen.split_once("down\n").unwrap();
    for part in [up, down] {
        assert!(part.contains("10.77.0.1/30") && part.contains("fd77::1/64"), "{seen}");
    }
    assert_eq!(lab.network(Host::A), before);
}
