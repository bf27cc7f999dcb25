use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::json;

use super::facts::{Caller, DeviceFact, Driver, EndpointFact, Facts, Host, Link, Node, Running};
use super::finding::{Finding, Verdict};
use super::verdict::judge;
use super::{report, synchronised};
use crate::config::Config;
use crate::crypto::PrivateKey;
use crate::net::UnderlayError;
use crate::tun::persistent::Device;
use crate::tun::{DeviceState, MAIN_TABLE, Offloads, Route, Survey, UnderlayRoute};
use crate::wire::{Layer, Offload};

const PORT: u16 = 51820;
pub(super) const ETH0: u32 = 2;
const TUN0: u32 = 9;
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn config(interface: &str, allowed_ips: &str) -> Config {
    parsed(interface, &format!("allowed_ips = [{allowed_ips}]"))
}

/// A configuration with these further lines.
pub(super) fn parsed(interface: &str, peer: &str) -> Config {
    let key = |byte| PrivateKey::clamped([byte; 32]);
    let text = format!(
        "[interface]\naddresses = ['10.77.0.1/30', 'fd77::1/64']\nprivate_key = '{}'\nlisten_port = {PORT}\n{interface}\n\
         [peer]\npublic_key = '{}'\nendpoint = '192.0.2.2:{PORT}'\n{peer}",
        key(1).to_base64().as_str(),
        key(2).public_key()
    );
    Config::parse(&text, Path::new("t")).unwrap()
}

/// A host that lets the link start, and nothing to be said about it.
fn good() -> Facts {
    let state = DeviceState { mtu: 1500, up: true, running: true, ..DeviceState::default() };
    let way = UnderlayRoute { mtu: 1500, index: ETH0, running: true, source: None, gateway: None };
    let link = Link {
        config: config("", "'10.77.0.0/30', 'fd77::/64', '192.168.7.0/24'"),
        running: Running::No,
        device: DeviceFact::None,
        port: Ok(Offload::ALL),
        survey: Survey {
            devices: [(ETH0, ("eth0".to_owned(), state))].into(),
            addresses: vec![(ETH0, net("192.0.2.1/24"))],
            routes: vec![route("192.0.2.0/24", ETH0), route("0.0.0.0/0", ETH0)],
            ..Survey::default()
        },
        endpoints: vec![EndpointFact {
            endpoint: format!("192.0.2.2:{PORT}").parse().unwrap(),
            ways: Ok(vec![("192.0.2.2".parse().unwrap(), Ok(way))]),
        }],
        newest: None,
        directories: vec![(PathBuf::from("/run/tunneld"), "RUNTIME_DIRECTORY", true)],
        strict: None,
        ipv6: true,
        unreadable: Vec::new(),
    };
    let host = Host {
        driver: Driver { registered: true, module: true, installed: true, release: "6.1".into() },
        node: Node::There { mode: 0o666, owner: 0, opened: Ok(()) },
        trial: Ok(Offloads { tso: true, uso: true }),
        caller: Caller { uid: 0, groups: vec![0], capabilities: ALL_CAPABILITIES },
        unix: Duration::from_secs(1_800_000_000),
        synchronised: Some(true),
        ruleset: Ok(json!({})),
    };
    Facts { host, link: Ok(Box::new(link)) }
}

fn route(network: &str, index: u32) -> Route {
    Route { network: net(network), table: MAIN_TABLE, metric: 0, index }
}

pub(super) fn tun0(owner: Option<u32>) -> Device {
    Device {
        name: "tun0".to_owned(),
        kind: Layer::Ip,
        owner,
        group: None,
        persistent: true,
        multi_queue: false,
        vnet_hdr: true,
        mac: None,
        mtu: 1420,
        up: true,
        held: false,
        queues: None,
    }
}

/// What is not ok on a host that is good but for this.
pub(super) fn findings(spoil: impl FnOnce(&mut Host, &mut Link)) -> Vec<Finding> {
    let mut facts = good();
    spoil(&mut facts.host, facts.link.as_mut().unwrap());
    judge(&facts).into_iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

/// The one thing that is not ok; its command contains `command`.
pub(super) fn finds(
    check: &str,
    verdict: Verdict,
    command: &str,
    spoil: impl FnOnce(&mut Host, &mut Link),
) {
    let findings = findings(spoil);
    let [finding] = &findings[..] else { panic!("{check}: {findings:?}") };
    assert_eq!((finding.check, finding.verdict), (check, verdict), "{finding:?}");
    let said = finding.command.as_deref().unwrap_or_default();
    assert!(said.contains(command), "{said:?} has {command:?}");
}

#[test]
fn on_a_good_host_all_is_ok_and_each_thing_is_said_once() {
    assert_eq!(findings(|_, _| {}), []);
    let all = judge(&good());
    let checks: Vec<_> = all.iter().map(|finding| finding.check).collect();
    assert_eq!(
        checks.join(", "),
        "configuration, key files, driver, device node, device, permissions, offload, port, addresses, routes, endpoint, \
         mtu, firewall, clock"
    );
    let text = report::text(&all, false).unwrap();
    assert!(text.ends_with("The link can start.\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report::text(&all, true).unwrap()).unwrap();
    assert_eq!((&json["ok"], &json["findings"][0]["verdict"]), (&json!(true), &json!("ok")));
}

#[test]
fn a_configuration_that_is_wrong_is_bad_and_the_host_is_looked_at_all_the_same() {
    let mut facts = good();
    facts.link = Err("t:1:1: is wrong; accepted: what is right".to_owned());
    facts.host.driver = Driver::default();
    let bad: Vec<_> =
        judge(&facts).into_iter().filter(|finding| finding.verdict == Verdict::Bad).collect();
    assert_eq!(
        bad.iter().map(|finding| finding.check).collect::<Vec<_>>(),
        ["configuration", "driver"]
    );
    assert!(bad[0].text.contains("accepted: what is right"));
    let text = report::text(&bad, false).unwrap();
    assert!(text.starts_with("bad      configuration t:1:1:"), "{text}");
    assert!(!text.contains("can start"), "{text}");
}

#[test]
fn each_state_of_the_driver_and_its_node_has_its_verdict() {
    finds("driver", Verdict::Warning, "modprobe tun", |host, _| host.driver.registered = false);
    finds("driver", Verdict::Bad, "reboot", |host, _| {
        (host.driver.registered, host.driver.installed) = (false, false);
    });
    let refused = || Node::There { mode: 0o600, owner: 0, opened: Err("no permission".into()) };
    let checks = |findings: Vec<Finding>| {
        findings.iter().map(|finding| (finding.check, finding.verdict)).collect::<Vec<_>>()
    };
    let without_trial = |node: Node, capabilities: u64| {
        checks(findings(|host, _| {
            (host.node, host.trial) = (node, Err("it cannot be opened".to_owned()));
            host.caller.capabilities = capabilities;
        }))
    };
    let unknown = ("offload", Verdict::Unknown);
    assert_eq!(
        without_trial(refused(), ALL_CAPABILITIES),
        [("device node", Verdict::Bad), ("device", Verdict::Bad), unknown]
    );
    // Root can make the node; root without that capability cannot.
    assert_eq!(
        without_trial(Node::Missing, ALL_CAPABILITIES),
        [("device node", Verdict::Warning), ("device", Verdict::Unknown), unknown]
    );
    assert_eq!(
        without_trial(Node::Missing, ALL_CAPABILITIES & !(1 << 27)),
        [("device node", Verdict::Bad), ("device", Verdict::Bad), unknown]
    );
    assert_eq!(
        without_trial(Node::Other, ALL_CAPABILITIES),
        [("device node", Verdict::Bad), ("device", Verdict::Bad), unknown]
    );
}

#[test]
fn a_name_that_something_else_has_is_bad_unless_it_is_this_link_that_runs() {
    finds("device", Verdict::Bad, "ip link delete tun0", |_, link| link.device = DeviceFact::Other);
    finds("device", Verdict::Bad, "ip link delete tun0", |_, link| {
        link.device = DeviceFact::Driver(Device { kind: Layer::Ethernet, ..tun0(None) });
    });
    let held = || DeviceFact::Driver(Device { held: true, ..tun0(None) });
    finds("device", Verdict::Bad, "stop it", |_, link| link.device = held());
    finds("device", Verdict::Bad, "stop it", |_, link| {
        (link.device, link.running) = (held(), Running::Another);
    });
    let taken = || Err(UnderlayError::PortInUse { port: PORT });
    let running = findings(|_, link| {
        (link.device, link.running, link.port) = (held(), Running::This, taken());
    });
    assert_eq!(running, []);
    finds("port", Verdict::Bad, "sport = :51820", |_, link| link.port = taken());
}

#[test]
fn without_capabilities_a_device_of_the_callers_must_have_all_that_is_wanted() {
    let unprivileged = |host: &mut Host| {
        host.caller = Caller { uid: 1000, groups: vec![1000], capabilities: 0 };
        host.trial = Err("no permission".to_owned());
    };
    let bad = |findings: Vec<Finding>| {
        let bad = findings.into_iter().filter(|finding| finding.verdict == Verdict::Bad);
        bad.map(|finding| finding.command.unwrap_or(finding.text)).collect::<Vec<_>>()
    };
    let none = bad(findings(|host, _| unprivileged(host)));
    assert!(none[0].contains("tunneld device add tun0 --user 1000"), "{none:?}");
    assert_eq!(none[1], "CAP_NET_ADMIN is missing, and a device has to be made");

    let complete = |link: &mut Link| {
        link.device = DeviceFact::Driver(tun0(Some(1000)));
        let state = DeviceState { mtu: 1420, up: true, running: false, ..DeviceState::default() };
        link.survey.devices.insert(TUN0, ("tun0".to_owned(), state));
        link.survey.addresses.extend([(TUN0, net("10.77.0.1/30")), (TUN0, net("fd77::1/64"))]);
        link.survey.routes.push(route("192.168.7.0/24", TUN0));
    };
    let with = |change: &dyn Fn(&mut Host, &mut Link)| {
        bad(findings(|host, link| {
            unprivileged(host);
            complete(link);
            change(host, link);
        }))
    };
    assert_eq!(with(&|_, _| {}), Vec::<String>::new());
    let lacks = |change: &dyn Fn(&mut Link), command: &str| {
        assert_eq!(with(&|_, link| change(link)), [command]);
    };
    lacks(
        &|link| assert!(link.survey.addresses.pop().is_some()),
        "ip address add fd77::1/64 dev tun0 nodad",
    );
    lacks(
        &|link| assert!(link.survey.routes.pop().is_some()),
        "ip route add 192.168.7.0/24 dev tun0",
    );
    lacks(
        &|link| link.survey.devices.get_mut(&TUN0).unwrap().1.up = false,
        "ip link set dev tun0 up",
    );
    lacks(&|link| link.config.interface.mtu = Some(1400), "ip link set dev tun0 mtu 1400");
    lacks(
        &|link| link.config.interface.fwmark = 7,
        "a default route and fwmark need CAP_NET_ADMIN",
    );
    lacks(&|link| link.config.interface.kill_switch = true, "the kill switch needs CAP_NET_ADMIN");
    let other = DeviceFact::Driver(tun0(Some(1001)));
    let others = with(&|_, link| link.device = DeviceFact::Driver(tun0(Some(1001))));
    assert!(others[0].contains("tunneld device del tun0"), "{others:?} {other:?}");
    let directory = with(&|_, link| link.directories[0].2 = false);
    assert!(directory[0].contains("RUNTIME_DIRECTORY"), "{directory:?}");
}

#[test]
fn an_address_or_a_network_that_another_device_has_is_a_clash() {
    let address = |address: &'static str| {
        move |_: &mut Host, link: &mut Link| link.survey.addresses.push((ETH0, net(address)))
    };
    let command = "ip address del 10.77.0.1/24 dev eth0";
    finds("addresses", Verdict::Bad, command, address("10.77.0.1/24"));
    finds("addresses", Verdict::Bad, "another network", address("10.77.0.2/30"));
    finds("addresses", Verdict::Warning, "", address("fd77::7/120"));
    assert_eq!(findings(address("10.77.0.9/24")), [], "a wider network goes after ours");

    let with = |network: &'static str, metric: u32| {
        move |_: &mut Host, link: &mut Link| {
            link.survey.routes.push(Route { metric, ..route(network, ETH0) });
        }
    };
    let command = "ip route del 192.168.7.0/24 dev eth0 table 254";
    finds("routes", Verdict::Bad, command, with("192.168.7.0/24", 0));
    finds("routes", Verdict::Warning, "", with("192.168.7.0/24", 100));
    finds("routes", Verdict::Warning, "", with("192.168.7.128/25", 0));
    assert_eq!(findings(with("192.168.0.0/16", 0)), []);
    finds("IPv6", Verdict::Bad, "disable_ipv6=0", |_, link| link.ipv6 = false);
}

#[test]
fn an_endpoint_must_resolve_be_reached_and_lie_outside_the_link() {
    finds("endpoint", Verdict::Bad, "getent ahosts 192.0.2.2", |_, link| {
        link.endpoints[0].ways = Err("no such name".to_owned());
    });
    let no_route = |link: &mut Link| {
        link.endpoints[0].ways = Ok(vec![("192.0.2.2".parse().unwrap(), Err("no route".into()))]);
    };
    finds("endpoint", Verdict::Bad, "ip route get 192.0.2.2", |_, link| no_route(link));
    finds("endpoint", Verdict::Warning, "ip route get 192.0.2.2", |_, link| {
        let mut other = good().link.unwrap().endpoints;
        no_route(link);
        link.endpoints.append(&mut other);
    });
    let wide = "'10.77.0.0/30', 'fd77::/64', '192.0.0.0/16'";
    let config = || config("", wide);
    // The network of the underlay is more specific.
    let past = findings(|_, link| link.config = config());
    assert!(past.iter().all(|finding| finding.verdict == Verdict::Warning), "{past:?}");
    let through = findings(|_, link| {
        link.config = config();
        link.survey.routes.remove(0);
        let ways = link.endpoints[0].ways.as_mut().unwrap();
        ways[0].1.as_mut().unwrap().gateway = Some("198.51.100.1".parse().unwrap());
    });
    let bad = through.iter().find(|finding| finding.verdict == Verdict::Bad).unwrap();
    let command = "ip route add 192.0.2.2 via 198.51.100.1 dev eth0";
    assert_eq!((bad.check, bad.command.as_deref()), ("endpoint", Some(command)));
}

#[test]
fn an_mtu_that_the_way_to_the_peer_does_not_carry_is_told_with_one_that_fits() {
    let path = |mtu: u32| {
        move |link: &mut Link| {
            let ways = link.endpoints[0].ways.as_mut().unwrap();
            ways[0].1.as_mut().unwrap().mtu = mtu;
        }
    };
    finds("mtu", Verdict::Warning, "set mtu = 1340", |_, link| {
        path(1400)(link);
        link.config.interface.mtu = Some(1420);
    });
    let fits = findings(|_, link| {
        path(1480)(link);
        link.config.interface.mtu = Some(1420);
    });
    assert_eq!(fits, []);
    // IPv6 needs 1280 inside.
    finds("mtu", Verdict::Warning, "larger MTU", |_, link| path(1339)(link));
    assert_eq!(findings(|_, link| path(1340)(link)), []);
}

#[test]
fn a_clock_that_is_behind_is_bad_and_one_that_nobody_keeps_right_is_a_warning() {
    finds("clock", Verdict::Bad, "timedatectl", |host, _| host.unix = Duration::from_secs(9));
    finds("clock", Verdict::Bad, "timedatectl", |host, link| {
        link.newest = Some(host.unix + Duration::from_secs(1));
    });
    finds("clock", Verdict::Warning, "set-ntp", |host, _| host.synchronised = Some(false));
    finds("clock", Verdict::Unknown, "", |host, _| host.synchronised = None);
    // Whatever the answer, there is one.
    assert!(synchronised::synchronised().is_some());
}

#[test]
fn what_may_be_in_the_way_is_a_warning_with_a_command() {
    let chain = json!({ "family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop" });
    let command = "nft insert rule inet filter input udp dport 51820 accept";
    finds("firewall", Verdict::Warning, command, |host, _| {
        host.ruleset = Ok(json!({ "nftables": [{ "chain": chain }] }));
    });
    finds("firewall", Verdict::Unknown, "", |host, _| host.ruleset = Err("no nft".to_owned()));
    finds("offload", Verdict::Warning, "", |host, _| {
        host.trial = Ok(Offloads { tso: true, uso: false });
    });
    finds(
        "key files",
        Verdict::Warning,
        "chown root:tunneld /etc/k && chmod 640 /etc/k",
        |_, link| {
            link.unreadable = vec![PathBuf::from("/etc/k")];
        },
    );
    finds("reverse path", Verdict::Warning, "rp_filter=2", |_, link| {
        link.config = config("", "'0.0.0.0/0', 'fd77::/64'");
        link.strict = Some("eth0".to_owned());
    });
    assert_eq!(findings(|_, link| link.strict = Some("eth0".to_owned())), []);
}
