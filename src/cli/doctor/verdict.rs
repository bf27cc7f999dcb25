//! What the facts mean for the link: a verdict on each, and the command that mends what is bad.

use super::facts::{Caller, DeviceFact, Driver, Facts, Host, Link, Node, Running};
use super::finding::Finding;
use super::permissions::{CAP_MKNOD, CAP_NET_ADMIN};
use super::{ethernet, network, permissions};
use crate::config::shell_word;
use crate::daemon::clock;
use crate::tun::NODE;
use crate::wire::Layer;

/// Judges all of it.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Facts { host, link } = facts;
    let mut findings = vec![match link {
        Ok(_) => Finding::ok("configuration", "is right"),
        Err(error) => Finding::bad("configuration", error),
    }];
    let notes = link.iter().flat_map(|link| link.config.notes());
    findings.extend(notes.map(|note| Finding::warning("configuration", note)));
    findings.extend(link.iter().flat_map(|link| files(link)));
    findings.push(driver(&host.driver));
    findings.push(node(&host.node, &host.driver, &host.caller));
    match link {
        Ok(link) => {
            findings.push(device(link, host));
            findings.extend(ethernet::judge(link, host));
            findings.extend(permissions::judge(link, host));
            findings.push(offload(link, host));
            network::judge(link, host, &mut findings);
        }
        Err(_) => findings.extend(host.trial.as_ref().err().map(|why| Finding::bad("device", why))),
    }
    findings.extend(clock(host, link.as_ref().ok().and_then(|link| link.newest)));
    findings
}

fn driver(Driver { registered, module, installed, release }: &Driver) -> Finding {
    let check = "driver";
    match (registered, module, installed) {
        (true, true, _) => Finding::ok(check, "tun/tap is a module of the kernel, and loaded"),
        (true, false, _) => Finding::ok(check, "tun/tap is built into the kernel"),
        (false, _, true) => {
            Finding::warning(check, "tun/tap is a module of the kernel, and not loaded yet")
                .mended_by("modprobe tun")
        }
        (false, _, false) => Finding::bad(
            check,
            format!(
                "the kernel {release} has no tun/tap, nor a module of it: it was built without (CONFIG_TUN), or its modules \
                 are not installed"
            ),
        )
        .mended_by("reboot, if the kernel was updated; otherwise modprobe tun says more"),
    }
}

fn node(node: &Node, driver: &Driver, caller: &Caller) -> Finding {
    let check = "device node";
    let make = format!("mkdir -p /dev/net && mknod -m 666 {NODE} c 10 200");
    match node {
        Node::There { mode, owner, opened: Ok(()) } => {
            Finding::ok(check, format!("{NODE} can be opened (mode {mode:04o}, owner {owner})"))
        }
        Node::There { mode, owner, opened: Err(error) } => Finding::bad(
            check,
            format!("{NODE} cannot be opened (mode {mode:04o}, owner {owner}): {error}"),
        )
        .mended_by(format!("chmod 666 {NODE}; in a container, allow the device: --device {NODE}")),
        Node::Other => Finding::bad(check, format!("{NODE} is no device"))
            .mended_by(format!("rm -r {NODE} && {make}")),
        Node::Missing if driver.registered && caller.may(CAP_MKNOD) => Finding::warning(
            check,
            format!("{NODE} is missing; tunneld makes it if it runs as now"),
        )
        .mended_by(make),
        Node::Missing => Finding::bad(check, format!("{NODE} is missing"))
            .mended_by(format!("{make}; in a container, pass it in: --device {NODE}")),
    }
}

/// Whether the device is to be had.
fn device(link: &Link, host: &Host) -> Finding {
    let check = "device";
    let name = &link.config.interface.name;
    let remove = format!("ip link delete {name}, or choose another [interface] name");
    let wanted = link.config.interface.layer();
    let tap = if wanted == Layer::Ethernet { " --tap" } else { "" };
    let make = format!("tunneld device add {name}{tap} --user {}", host.caller.uid);
    match (&link.device, link.running) {
        (_, Running::This) => {
            Finding::ok(check, format!("{name} is in use by the tunneld that runs this link"))
        }
        (_, Running::Another) => {
            Finding::bad(check, format!("another tunneld runs the interface {name}"))
                .mended_by("stop it, or choose another [interface] name")
        }
        (DeviceFact::Other, _) => {
            Finding::bad(check, format!("{name} is neither a tun nor a tap device"))
                .mended_by(remove)
        }
        (DeviceFact::Driver(device), _) if device.kind != wanted => Finding::bad(
            check,
            format!("{name} is of the other kind, and a {} device is wanted", wanted.name()),
        )
        .mended_by(remove),
        (DeviceFact::Driver(device), _) if device.held => {
            Finding::bad(check, format!("another program uses {name}"))
                .mended_by("stop it, or choose another [interface] name")
        }
        (DeviceFact::Driver(device), _) if host.caller.may_use(device) => {
            Finding::ok(check, format!("{name} is there, and may be used"))
        }
        (DeviceFact::Driver(_), _) => {
            Finding::bad(check, format!("{name} belongs to another user or group"))
                .mended_by(format!("tunneld device del {name} && {make}"))
        }
        // It is made together with its node.
        (DeviceFact::None, _) if host.trial.is_ok() => {
            Finding::ok(check, format!("{name} can be made"))
        }
        (DeviceFact::None, _)
            if host.caller.may(CAP_NET_ADMIN)
                && host.caller.may(CAP_MKNOD)
                && matches!(host.node, Node::Missing) =>
        {
            Finding::unknown(check, format!("whether {name} can be made: there is no {NODE}"))
        }
        (DeviceFact::None, _) => {
            let why = host.trial.as_ref().err().map_or("", String::as_str);
            Finding::bad(check, format!("{name} cannot be made: {why}"))
                .mended_by(format!("run tunneld as root, or as root: {make}"))
        }
    }
}

/// Files that the service could not read.
fn files(link: &Link) -> Vec<Finding> {
    let finding = |path: &std::path::PathBuf| {
        let text =
            format!("the user tunneld, as whom the service runs, cannot read {}", path.display());
        let word = shell_word(path);
        Finding::warning("key files", text)
            .mended_by(format!("chown root:tunneld {word} && chmod 640 {word}"))
    };
    let findings: Vec<_> = link.unreadable.iter().map(finding).collect();
    if findings.is_empty() {
        vec![Finding::ok("key files", "are readable, and private")]
    } else {
        findings
    }
}

fn offload(link: &Link, host: &Host) -> Finding {
    let check = "offload";
    match (&host.trial, &link.port) {
        (Ok(device), Ok(sockets)) => {
            let text = format!(
                "device: {device}; UDP GSO: {}, UDP GRO: {}",
                if sockets.gso { "yes" } else { "no" },
                if sockets.gro { "yes" } else { "no" }
            );
            if device.tso && device.uso && sockets.gso && sockets.gro {
                Finding::ok(check, text)
            } else {
                Finding::warning(
                    check,
                    format!("{text}; all of it needs Linux 6.2, and makes large transfers faster"),
                )
            }
        }
        (Ok(device), Err(_)) => Finding::ok(check, format!("device: {device}")),
        (Err(_), _) => Finding::unknown(check, "only a device can tell"),
    }
}

fn clock(host: &Host, newest: Option<std::time::Duration>) -> Option<Finding> {
    let check = "clock";
    let set = "timedatectl set-ntp true, or set it by hand: timedatectl set-time";
    if clock::is_behind(host.unix, newest) {
        let text = format!(
            "the clock is behind: it reads {} s since 1970; the peer may refuse what is older than it has seen",
            host.unix.as_secs()
        );
        return Some(Finding::bad(check, text).mended_by(set));
    }
    Some(match host.synchronised {
        Some(true) => Finding::ok(check, "is synchronised"),
        Some(false) => Finding::warning(
            check,
            "nobody keeps the clock right; set back by a restart, it would lock this end out",
        )
        .mended_by(set),
        None => Finding::unknown(check, "the kernel does not tell whether it is synchronised"),
    })
}
