use std::os::fd::AsFd;

use rtnetlink::IpVersion;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMetric, RouteProtocol};
use rtnetlink::packet_route::rule::RuleAttribute;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::*;
use crate::testing::block_on;
use crate::tun::tests::in_namespace;
use crate::tun::underlay::{UnderlayRoute, underlay_route};
use crate::tun::{Origin, ioctl};
use crate::wire::{Layer, Offload};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn settings(table: Option<u32>) -> LinkSettings {
    LinkSettings {
        ethernet: None,
        addresses: nets(&["10.77.0.1/30", "fd77::1/64"]),
        mtu: Some(1400),
        routes: nets(&["10.77.0.0/30", "192.168.7.0/24", "fd78::/48"]),
        table,
        mark: None,
    }
}

/// Begins anew, where nothing is ours.
async fn open(tun: &Tun) -> Link {
    Link::open(tun, Record::new().unwrap()).await.unwrap()
}

/// Goes on as another process, with the record that this one had.
async fn go_on(tun: &Tun, link: &Link) -> Link {
    let record = Record::take(link.record.as_fd().try_clone_to_owned().unwrap());
    Link::open(tun, record).await.unwrap()
}

/// The addresses of the device, but for what the kernel gives itself.
async fn addresses(link: &Link) -> Vec<IpNet> {
    let request = link.netlink.address().get().set_link_index_filter(link.index);
    let mut messages = std::pin::pin!(request.execute());
    let mut found = Vec::new();
    while let Some(message) = messages.try_next().await.unwrap() {
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        let address = address.unwrap();
        if is_link_local(address) {
            continue;
        }
        let tentative = AddressHeaderFlags::Tentative;
        assert!(!message.header.flags.contains(tentative), "{address} waits for others");
        found.push(IpNet::new(address, message.header.prefix_len).unwrap());
    }
    found.sort();
    found
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[test]
fn a_device_gets_addresses_mtu_state_and_routes() {
    in_namespace("a_device_gets_addresses_mtu_state_and_routes", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let mut link = open(&tun).await;
            link.configure(&settings(None)).await.unwrap();
            assert_eq!(addresses(&link).await, nets(&["10.77.0.1/30", "fd77::1/64"]));
            for address in settings(None).addresses {
                let route = look_up(&link.netlink, address.addr(), 0).await.unwrap();
                assert_eq!(route.header.kind, RouteType::Local, "{address} does not answer");
            }
            let state = link.netlink.device(link.index).await.unwrap();
            assert_eq!(
                state,
                DeviceState { mtu: 1400, up: true, running: true, ..DeviceState::default() }
            );
            for network in settings(None).routes {
                assert!(link.has_route(network, MAIN_TABLE).await.unwrap(), "{network}");
            }
            // The network of an address is the kernel's own route.
            let added: Vec<_> = link.ours.routes.iter().map(|(network, _)| *network).collect();
            assert_eq!(added, nets(&["192.168.7.0/24", "fd78::/48"]));
            link.set_mtu(1300).await.unwrap();
            assert_eq!(link.netlink.device(link.index).await.unwrap().mtu, 1300);
        });
    });
}

#[test]
fn routes_go_to_the_table_that_was_asked_for() {
    in_namespace("routes_go_to_the_table_that_was_asked_for", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let mut link = open(&tun).await;
            for table in [100, 51_820] {
                let mut settings = settings(Some(table));
                settings.routes.extend(nets(&["0.0.0.0/0", "::/0"]));
                link.configure(&settings).await.unwrap();
                for network in settings.routes {
                    assert!(link.has_route(network, table).await.unwrap(), "{network}");
                }
            }
            let network = "192.168.7.0/24".parse().unwrap();
            assert!(!link.has_route(network, MAIN_TABLE).await.unwrap());
        });
    });
}

#[test]
fn undoing_leaves_a_device_that_existed_before_as_it_was_found() {
    in_namespace("undoing_leaves_a_device_that_existed_before_as_it_was_found", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        ioctl::set_persistent(tun.as_fd()).unwrap();
        block_on(async {
            let before = LinkSettings {
                addresses: nets(&["10.77.0.1/30", "10.1.1.1/24"]),
                routes: nets(&["192.168.7.0/24"]),
                ..LinkSettings::default()
            };
            open(&tun).await.configure(&before).await.unwrap();
        });
        drop(tun);
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        assert_eq!(tun.origin(), Origin::Found);
        block_on(async {
            let mut link = open(&tun).await;
            link.set_mtu(1500).await.unwrap();
            link.configure(&settings(None)).await.unwrap();
            assert_eq!(link.ours.addresses, nets(&["fd77::1/64"]));
            link.undo().await.unwrap();
            assert_eq!(addresses(&link).await, nets(&["10.1.1.1/24", "10.77.0.1/30"]));
            let state = link.netlink.device(link.index).await.unwrap();
            assert_eq!(
                state,
                DeviceState { mtu: 1500, up: true, running: true, ..DeviceState::default() }
            );
            let [kept, removed] = ["192.168.7.0/24", "fd78::/48"].map(|net| net.parse().unwrap());
            assert!(link.has_route(kept, MAIN_TABLE).await.unwrap());
            assert!(!link.has_route(removed, MAIN_TABLE).await.unwrap());
        });
    });
}

#[test]
fn undoing_sets_a_device_down_that_was_down() {
    in_namespace("undoing_sets_a_device_down_that_was_down", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        ioctl::set_persistent(tun.as_fd()).unwrap();
        drop(tun);
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let mut link = open(&tun).await;
            let found = link.ours.found.unwrap();
            assert!(!found.up);
            link.configure(&settings(Some(100))).await.unwrap();
            link.undo().await.unwrap();
            assert_eq!(link.netlink.device(link.index).await.unwrap(), found);
            assert_eq!(addresses(&link).await, []);
        });
    });
}

/// The marks of all rules for default routes; 0 for a rule without.
async fn marks(link: &Link) -> Vec<u32> {
    let mut marks = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let rules: Vec<_> = link.netlink.rule().get(version).execute().try_collect().await.unwrap();
        let ours = RuleAttribute::Protocol(RouteProtocol::Other(rules::PROTOCOL));
        let ours = rules.iter().filter(|rule| rule.attributes.contains(&ours));
        marks.extend(ours.map(|rule| {
            let mark = rule.attributes.iter().find_map(|attribute| match attribute {
                RuleAttribute::FwMark(mark) => Some(*mark),
                _ => None,
            });
            mark.unwrap_or(0)
        }));
    }
    marks
}

/// Both default routes, by rules with this mark.
fn defaults(mark: u32) -> LinkSettings {
    LinkSettings { routes: nets(&["0.0.0.0/0", "::/0"]), mark: Some(mark), ..settings(None) }
}

#[test]
fn who_goes_on_removes_what_is_ours_and_nothing_that_others_added() {
    in_namespace("who_goes_on_removes_what_is_ours_and_nothing_that_others_added", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let mut others = open(&tun).await;
            // Our file names it too.
            others.add_address("10.77.0.1/30".parse().unwrap()).await.unwrap();
            let mut first = open(&tun).await;
            assert!(!first.goes_on());
            first.configure(&settings(None)).await.unwrap();
            others.add_address("10.9.9.9/24".parse().unwrap()).await.unwrap();
            let [theirs, ours] =
                ["192.168.99.0/24", "192.168.7.0/24"].map(|to| to.parse().unwrap());
            others.add_route(theirs, MAIN_TABLE).await.unwrap();

            let mut second = go_on(&tun, &first).await;
            assert!(second.goes_on());
            second.change(&LinkSettings::default()).await.unwrap();
            assert_eq!(addresses(&second).await, nets(&["10.9.9.9/24", "10.77.0.1/30"]));
            assert!(second.has_route(theirs, MAIN_TABLE).await.unwrap());
            assert!(!second.has_route(ours, MAIN_TABLE).await.unwrap());
            let third = go_on(&tun, &second).await;
            assert_eq!((third.ours.addresses, third.ours.routes), (vec![], vec![]));
        });
    });
}

#[test]
fn who_knows_nothing_takes_on_what_the_file_names_and_leaves_the_rest() {
    in_namespace("who_knows_nothing_takes_on_what_the_file_names_and_leaves_the_rest", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            open(&tun).await.configure(&settings(None)).await.unwrap();
            let fewer = LinkSettings {
                addresses: nets(&["fd77::1/64"]),
                routes: nets(&["192.168.7.0/24"]),
                ..LinkSettings::default()
            };
            let mut second = open(&tun).await;
            // As with a device of an earlier version.
            second.adopts = true;
            second.change(&fewer).await.unwrap();
            assert_eq!(addresses(&second).await, nets(&["10.77.0.1/30", "fd77::1/64"]));
            assert!(second.has_route("fd78::/48".parse().unwrap(), MAIN_TABLE).await.unwrap());
            second.change(&LinkSettings::default()).await.unwrap();
            assert_eq!(addresses(&second).await, nets(&["10.77.0.1/30"]));
            let named = "192.168.7.0/24".parse().unwrap();
            assert!(!second.has_route(named, MAIN_TABLE).await.unwrap());
        });
    });
}

#[test]
fn who_goes_on_removes_rules_that_are_ours_also_those_for_another_device() {
    in_namespace("who_goes_on_removes_rules_that_are_ours", || {
        block_on(async {
            let tun = Tun::open("tun8", Layer::Ip, Offload::ALL).unwrap();
            let mut first = open(&tun).await;
            first.configure(&defaults(7)).await.unwrap();
            assert_eq!(marks(&first).await, [0, 7, 0, 7]);
            let mut second = go_on(&tun, &first).await;
            second.change(&defaults(8)).await.unwrap();
            assert_eq!(marks(&second).await, [0, 8, 0, 8]);
            second.undo().await.unwrap();
            assert!(marks(&second).await.is_empty());
            // A device of our own may be kept, with all that it has.
            let mut second = go_on(&tun, &second).await;
            assert_eq!(second.ours.addresses, settings(None).addresses);
            second.change(&defaults(8)).await.unwrap();

            let other = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
            let mut third = go_on(&other, &second).await;
            drop(tun);
            assert_eq!(third.ours.addresses, [], "those are of the other device");
            third.change(&settings(None)).await.unwrap();
            assert!(marks(&third).await.is_empty());
        });
    });
}

#[test]
fn a_device_that_existed_before_is_given_back_also_by_another_process_that_has_a_device_of_its_own()
{
    in_namespace("a_device_that_existed_before_is_given_back_also_by_another_process", || {
        let tun = Tun::open("tun8", Layer::Ip, Offload::ALL).unwrap();
        ioctl::set_persistent(tun.as_fd()).unwrap();
        drop(tun);
        let tun = Tun::open("tun8", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let mut first = open(&tun).await;
            let found = first.ours.found;
            first.configure(&defaults(7)).await.unwrap();
            drop(tun);
            let tun = Tun::open("tun8", Layer::Ip, Offload::ALL).unwrap();
            let second = go_on(&tun, &first).await;
            assert_eq!(second.ours.found, found, "not what the first made of it");
            let other = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
            let third = go_on(&other, &second).await;
            assert_eq!(addresses(&second).await, []);
            assert_eq!(second.state().await.ok(), found);
            assert_eq!(marks(&third).await, [0, 7, 0, 7], "not before there are others");
        });
    });
}

#[test]
fn what_is_to_be_made_is_written_down_before() {
    in_namespace("what_is_to_be_made_is_written_down_before", || {
        let [first, second] =
            ["tun8", "tun9"].map(|name| Tun::open(name, Layer::Ip, Offload::ALL).unwrap());
        block_on(async {
            let mut other = open(&first).await;
            other.configure(&settings(None)).await.unwrap();
            let mut link = open(&second).await;
            let taken = LinkSettings {
                addresses: nets(&["10.78.0.1/30"]),
                routes: nets(&["192.168.6.0/24", "192.168.7.0/24", "0.0.0.0/0"]),
                mark: Some(7),
                ..LinkSettings::default()
            };
            link.configure(&taken).await.unwrap_err();
            // As after a kill in the midst of it.
            let mut next = go_on(&second, &link).await;
            assert_eq!(next.ours, link.ours.with(&taken));
            next.change(&LinkSettings::default()).await.unwrap();
            assert_eq!(addresses(&next).await, []);
            let [ours, theirs] = ["192.168.6.0/24", "192.168.7.0/24"].map(|to| to.parse().unwrap());
            assert!(!next.has_route(ours, MAIN_TABLE).await.unwrap());
            assert!(other.has_route(theirs, MAIN_TABLE).await.unwrap(), "it is the other's");
        });
    });
}

#[test]
fn what_could_not_be_removed_is_removed_by_the_next_change() {
    in_namespace("what_could_not_be_removed_is_removed_by_the_next_change", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let mut link = open(&tun).await;
            link.configure(&defaults(7)).await.unwrap();
            let able = capabilities(None).unwrap();
            let effective = able.effective - CapabilitySet::NET_ADMIN;
            set_capabilities(None, CapabilitySets { effective, ..able }).unwrap();
            let error = link.change(&LinkSettings::default()).await.unwrap_err().to_string();
            set_capabilities(None, able).unwrap();
            assert!(error.contains("removing the address 10.77.0.1/30 failed"), "{error}");
            link.change(&LinkSettings::default()).await.unwrap();
            assert_eq!(addresses(&link).await, []);
        });
    });
}

#[test]
fn errors_name_device_value_and_reason() {
    in_namespace("errors_name_device_value_and_reason", || {
        let [first, second] =
            ["tun8", "tun9"].map(|name| Tun::open(name, Layer::Ip, Offload::ALL).unwrap());
        block_on(async {
            let mut other = open(&first).await;
            other.configure(&settings(None)).await.unwrap();
            let mut link = open(&second).await;
            let taken =
                LinkSettings { routes: nets(&["192.168.7.0/24"]), ..LinkSettings::default() };
            let error = link.configure(&taken).await.unwrap_err().to_string();
            let start = "tun9: there is another route to 192.168.7.0/24 in table 254";
            assert!(error.starts_with(start), "{error}");
            let error = link.set_mtu(70_000).await.unwrap_err().to_string();
            assert!(error.starts_with("tun9: setting the MTU to 70000 failed:"), "{error}");
            let small = LinkSettings { mtu: Some(1279), ..settings(None) };
            let error = link.configure(&small).await.unwrap_err().to_string();
            assert!(error.contains("fd77::1/64 needs an MTU of at least 1280"), "{error}");
            let multicast = LinkSettings {
                addresses: nets(&["fd99::1/64", "::/128"]),
                ..LinkSettings::default()
            };
            let error = link.configure(&multicast).await.unwrap_err().to_string();
            assert!(error.starts_with("tun9: adding the address ::/128 failed:"), "{error}");
        });
    });
}

#[test]
fn the_underlays_mtu_is_that_of_the_route_or_else_of_the_device() {
    in_namespace("the_underlays_mtu_is_that_of_the_route_or_else_of_the_device", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        let index = tun.index();
        block_on(async {
            let mut link = open(&tun).await;
            link.configure(&settings(None)).await.unwrap();
            for destination in ["10.77.0.2", "fd77::2", "192.168.7.9", "::ffff:10.77.0.2"] {
                let route = underlay_route(destination.parse().unwrap(), 5).await.unwrap();
                assert_eq!((route.mtu, route.index), (1400, index), "{destination}");
            }
            let network = "198.51.100.0/24".parse().unwrap();
            let mut message = link.route_message(network, MAIN_TABLE).unwrap();
            let metrics = vec![RouteMetric::Mtu(1333)];
            message.attributes.push(RouteAttribute::Metrics(metrics));
            link.netlink.route().add(message).execute().await.unwrap();
            let route = underlay_route("198.51.100.7".parse().unwrap(), 0).await.unwrap();
            assert_eq!((route.mtu, route.index), (1333, index));
            let other_mtu = UnderlayRoute { mtu: 1, ..route };
            assert!(!route.differs(&other_mtu));
            for other in [
                UnderlayRoute { index: 99, ..route },
                UnderlayRoute { running: !route.running, ..route },
                UnderlayRoute { source: None, ..route },
                UnderlayRoute { gateway: route.source, ..route },
            ] {
                assert!(route.differs(&other), "{other:?}");
            }
            for destination in ["203.0.113.1", "2001:db8::1"] {
                let error = underlay_route(destination.parse().unwrap(), 0).await.unwrap_err();
                assert!(matches!(error, LinkError::NoRoute { .. }), "{error}");
            }
        });
    });
}
