//! Verdicts on what only a device of frames has: the bridge that it is a port of, its MAC address, promiscuous mode.

use super::facts::{Host, Link};
use super::finding::Finding;
use super::permissions::{CAP_NET_ADMIN, has};
use crate::daemon::network::settings;
use crate::tun::{EthernetSettings, Stacked, Wish};

/// Judges what the configuration says of frames; nothing if packets cross.
pub(super) fn judge(link: &Link, host: &Host) -> Vec<Finding> {
    let Some(ethernet) = settings(&link.config).ethernet else { return Vec::new() };
    let mut findings: Vec<_> =
        ethernet.bridge.iter().flat_map(|bridge| self::bridge(link, bridge)).collect();
    findings.push(mac(link, &ethernet));
    findings.extend(ethernet.promisc.then(|| promisc(link, host)).flatten());
    findings
}

/// Whether the device can be a port of this bridge, and frames pass there.
fn bridge(link: &Link, bridge: &str) -> Vec<Finding> {
    let check = "bridge";
    let survey = &link.survey;
    let up = format!("ip link set dev {bridge} up");
    let Some((index, state)) = survey.device(bridge) else {
        let finding = Finding::bad(check, format!("there is no {bridge}"));
        return vec![finding.mended_by(format!("ip link add {bridge} type bridge && {up}"))];
    };
    if survey.stacked.get(&index) != Some(&Stacked::Bridge) {
        return vec![
            Finding::bad(check, format!("{bridge} is no bridge"))
                .mended_by("name another [interface] bridge: ip link show type bridge lists them"),
        ];
    }
    let mut findings = Vec::new();
    if !state.up {
        let finding = Finding::bad(check, format!("{bridge} is down: no frame passes"));
        findings.push(finding.mended_by(up));
    }
    findings.extend(other_bridge(link, index));
    findings.extend(mtu(link, index));
    if findings.is_empty() {
        findings.push(Finding::ok(check, format!("{bridge} is there, and up")));
    }
    findings
}

/// A port has one bridge only.
fn other_bridge(link: &Link, bridge: u32) -> Option<Finding> {
    let name = &link.config.interface.name;
    let (_, state) = link.survey.device(name)?;
    let other = link.survey.name(state.bridge.filter(|other| *other != bridge)?);
    let text = format!("{name} is a port of {other}, and tunneld would take it from there");
    let command = format!("ip link set dev {name} nomaster, or name {other} as [interface] bridge");
    Some(Finding::warning("bridge", text).mended_by(command))
}

/// The bridge and its ports are to have one MTU; the first device that has another.
fn mtu(link: &Link, bridge: u32) -> Option<Finding> {
    let (name, mtu) = (&link.config.interface.name, u32::from(link.config.interface.mtu?));
    let (_, (other, state)) = link.survey.devices.iter().find(|(index, (device, state))| {
        (**index == bridge || state.bridge == Some(bridge)) && device != name && state.mtu != mtu
    })?;
    let theirs = state.mtu;
    let text = format!(
        "longer frames than of {} bytes may be lost: {other} has the MTU {theirs}, and {name} is to have {mtu}",
        theirs.min(mtu)
    );
    let command =
        format!("ip link set dev {other} mtu {mtu}, or mtu = {theirs} in [interface] at both ends");
    Some(Finding::warning("bridge", text).mended_by(command))
}

/// Whether the device's address is its own.
fn mac(link: &Link, ethernet: &EthernetSettings) -> Finding {
    let (check, survey, name) = ("mac", &link.survey, &link.config.interface.name);
    let there = survey.device(name).and_then(|(_, state)| state.mac);
    let mac = ethernet.mac.or(there).unwrap_or(ethernet.own_mac);
    // What lies on others may have the address of one of them: also that of our device.
    let other = survey.devices.iter().find(|(index, (device, state))| {
        state.mac == Some(mac) && device != name && !survey.stacked.contains_key(index)
    });
    match other {
        None => Finding::ok(check, format!("no other device has {mac}")),
        Some((_, (other, _))) => {
            Finding::warning(check, format!("{other} has the address {mac} already"))
                .mended_by("set another mac in [interface]")
        }
    }
}

/// Whether it is on or can be turned on; what is missing for that is told with the permissions.
fn promisc(link: &Link, host: &Host) -> Option<Finding> {
    let check = "promisc";
    if has(link, &Wish::Promisc(true)) {
        return Some(Finding::ok(check, "is on"));
    }
    host.caller.may(CAP_NET_ADMIN).then(|| Finding::ok(check, "can be turned on"))
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Caller, DeviceFact};
    use super::super::finding::Verdict;
    use super::super::tests::{ETH0, findings, finds, parsed, tun0};
    use super::*;
    use crate::tun::DeviceState;
    use crate::tun::persistent::Device;
    use crate::wire::Layer;
    use crate::wire::ethernet::Mac;

    const TUNNELD: &str = "profile = 'tunneld'";
    const BR0: u32 = 11;
    const BR1: u32 = 12;
    const TAP0: u32 = 13;
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    /// What is asked for in these tests, and granted on a good host.
    fn frames(link: &mut Link) {
        let more =
            format!("name = 'tap0'\nmode = 'tap'\nbridge = 'br0'\nmac = '{MAC}'\npromisc = true");
        link.config = parsed(&more, TUNNELD);
        for (index, name) in [(BR0, "br0"), (BR1, "br1")] {
            let state = DeviceState { mtu: 1500, up: true, running: true, ..Default::default() };
            link.survey.devices.insert(index, (name.to_owned(), state));
            link.survey.stacked.insert(index, Stacked::Bridge);
        }
    }

    /// The one thing that is not ok, if frames are to cross.
    fn one(check: &str, verdict: Verdict, command: &str, spoil: impl FnOnce(&mut Link)) {
        finds(check, verdict, command, |_, link| {
            frames(link);
            spoil(link);
        });
    }

    fn state(link: &mut Link, index: u32) -> &mut DeviceState {
        &mut link.survey.devices.get_mut(&index).unwrap().1
    }

    /// A persistent device that is all that is wanted of it.
    fn tap0(link: &mut Link) {
        let device = Device { name: "tap0".to_owned(), kind: Layer::Ethernet, ..tun0(Some(1000)) };
        link.device = DeviceFact::Driver(device);
        let bridge = Some(BR0);
        let state = DeviceState {
            mtu: 1500,
            up: true,
            running: false,
            mac: Some(MAC),
            promisc: true,
            bridge,
        };
        link.survey.devices.insert(TAP0, ("tap0".to_owned(), state));
        let addresses = link.config.interface.addresses.iter();
        link.survey.addresses.extend(addresses.map(|address| (TAP0, *address)));
    }

    #[test]
    fn a_host_with_the_bridge_is_good_whether_the_device_is_there_or_not() {
        assert_eq!(findings(|_, link| frames(link)), []);
        let there = |_: &mut _, link: &mut Link| {
            frames(link);
            tap0(link);
            // A bridge may have the address of its port, and so may a VLAN on it.
            state(link, BR0).mac = Some(MAC);
            let vlan = (
                "br0.10".to_owned(),
                DeviceState { mtu: 1500, mac: Some(MAC), ..Default::default() },
            );
            link.survey.devices.insert(20, vlan);
            link.survey.stacked.insert(20, Stacked::Vlan);
        };
        assert_eq!(findings(there), []);
    }

    #[test]
    fn a_bridge_must_be_there_and_be_one_and_be_up() {
        let make = "ip link add br0 type bridge && ip link set dev br0 up";
        one("bridge", Verdict::Bad, make, |link| drop(link.survey.devices.remove(&BR0)));
        one("bridge", Verdict::Bad, "ip link show type bridge", |link| {
            link.survey.stacked.remove(&BR0);
        });
        one("bridge", Verdict::Bad, "ip link show type bridge", |link| {
            link.survey.stacked.insert(BR0, Stacked::Vlan);
        });
        one("bridge", Verdict::Bad, "ip link set dev br0 up", |link| state(link, BR0).up = false);
    }

    #[test]
    fn a_port_of_another_bridge_and_another_mtu_there_are_warnings() {
        one("bridge", Verdict::Warning, "ip link set dev tap0 nomaster, or name br1", |link| {
            tap0(link);
            state(link, TAP0).bridge = Some(BR1);
        });
        let command = "ip link set dev br0 mtu 1500, or mtu = 9000 in [interface]";
        one("bridge", Verdict::Warning, command, |link| state(link, BR0).mtu = 9000);
        one("bridge", Verdict::Warning, "ip link set dev eth0 mtu 1500", |link| {
            *state(link, ETH0) = DeviceState { mtu: 1400, bridge: Some(BR0), ..*state(link, ETH0) };
        });
    }

    #[test]
    fn an_address_that_another_device_has_is_a_warning() {
        let eth0_has = |mac: Option<Mac>| move |link: &mut Link| state(link, ETH0).mac = mac;
        one("mac", Verdict::Warning, "set another mac", eth0_has(Some(MAC)));
        // Also that which follows from the key, or the device has.
        one("mac", Verdict::Warning, "set another mac", |link| {
            link.config = parsed("name = 'tap0'\nmode = 'tap'", TUNNELD);
            let own = settings(&link.config).ethernet.unwrap().own_mac;
            eth0_has(Some(own))(link);
        });
        one("mac", Verdict::Warning, "set another mac", |link| {
            tap0(link);
            link.config.interface.ethernet.as_mut().unwrap().mac = None;
            eth0_has(Some(MAC))(link);
        });
    }

    #[test]
    fn without_capabilities_the_device_must_have_address_mode_and_bridge() {
        let commands = |change: &dyn Fn(&mut Link)| {
            let findings = findings(|host, link| {
                host.caller = Caller { uid: 1000, groups: vec![1000], capabilities: 0 };
                frames(link);
                tap0(link);
                change(link);
            });
            let bad = findings.into_iter().filter(|finding| finding.verdict == Verdict::Bad);
            bad.map(|finding| finding.command.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(commands(&|_| {}), Vec::<String>::new());
        let lacks = |change: &dyn Fn(&mut DeviceState), command: &str| {
            assert_eq!(commands(&|link| change(state(link, TAP0))), [command]);
        };
        let address = "ip link set dev tap0 address 02:00:00:00:00:07";
        lacks(&|tap0| tap0.mac = Some(Mac([2, 0, 0, 0, 0, 8])), address);
        lacks(&|tap0| tap0.promisc = false, "ip link set dev tap0 promisc on");
        lacks(&|tap0| tap0.bridge = None, "ip link set dev tap0 master br0");
        let unwanted = commands(&|link| {
            link.config.interface.ethernet.as_mut().unwrap().promisc = false;
        });
        assert_eq!(unwanted, ["ip link set dev tap0 promisc off"]);
    }
}
