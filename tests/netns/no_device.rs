//! Machines without `/dev/net/tun`, as containers often are.

use std::process::Command;

use super::config::ends;
use super::lab::{Host, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process};

/// The daemon where there is no `/dev/net/tun` and no `modprobe`, run with the help of `wrapper`.
fn without_node(lab: &Lab, wrapper: &str) -> Command {
    let inner = lab.daemon_command(Host::A, &ends(direct_v4)[0]);
    let script = format!(
        "mount -t tmpfs none /dev/net && test ! -e /dev/net/tun && exec {wrapper} env PATH=/nowhere \"$@\""
    );
    let mut command = lab.command(Host::A, "unshare -m sh -c");
    command.arg(script).arg("sh");
    // What follows `ip netns exec NAME`.
    command.args(inner.get_args().skip(3));
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_missing_device_node_that_cannot_be_made_is_an_error_that_says_what_to_do() {
    needs!("setpriv", "unshare", "sh", "mount", "env");
    let lab = Lab::direct();
    let before = lab.network(Host::A);
    let command = without_node(&lab, "setpriv --bounding-set -mknod");
    let mut daemon = Process::start("daemon without node", command);
    let status = daemon.end(BOUND);
    assert_eq!(status.code(), Some(1), "{}", daemon.said());
    let error = daemon.wait_for("tun0");
    for words in ["/dev/net/tun is missing", "run `modprobe tun`", "--device /dev/net/tun"] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(lab.network(Host::A), before);
}

#[test]
fn a_missing_device_node_is_made_if_the_kernel_has_the_driver() {
    needs!("unshare", "sh", "mount", "env");
    let lab = Lab::direct();
    let before = lab.network(Host::A);
    let daemon = Process::start("daemon that makes the node", without_node(&lab, ""));
    daemon.wait_for(STARTED);
    assert!(lab.network(Host::A).contains("10.77.0.1/30"));
    stop(daemon);
    assert_eq!(lab.network(Host::A), before);
}
