//! Verdicts on the network around the link.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{EndpointFact, Host, Link, Running};
use super::finding::Finding;
use super::firewall;
use crate::config::{least_mtu, network};
use crate::daemon::network::{OVERHEAD_V4, OVERHEAD_V6, reverse_path, settings};
use crate::net::UnderlayError;
use crate::tun::{MAIN_TABLE, Route, Survey, UnderlayRoute, Wish};
use crate::wire::Layer;

/// Judges what concerns the network.
pub(super) fn judge(link: &Link, host: &Host, findings: &mut Vec<Finding>) {
    findings.push(port(link));
    findings.extend(ipv6(link));
    findings.extend(addresses(link));
    findings.extend(routes(link));
    findings.extend(endpoints(link));
    findings.extend(loops(link));
    findings.extend(mtu(link));
    findings.extend(firewall(link, host));
    findings.extend(reverse_path(link));
}

fn port(link: &Link) -> Finding {
    let check = "port";
    let port = link.config.interface.listen_port;
    match &link.port {
        Ok(_) if port == 0 => Finding::ok(check, "any free one"),
        Ok(_) => Finding::ok(check, format!("UDP port {port} is free")),
        Err(UnderlayError::PortInUse { .. }) if link.running == Running::This => Finding::ok(
            check,
            format!("UDP port {port} is in use by the tunneld that runs this link"),
        ),
        Err(error @ UnderlayError::PortInUse { .. }) => Finding::bad(check, error.to_string())
            .mended_by(format!("ss -ulpn 'sport = :{port}' shows who has it")),
        Err(error) => Finding::bad(check, error.to_string()),
    }
}

fn ipv6(link: &Link) -> Option<Finding> {
    let wanted = link.config.interface.addresses.iter().any(|net| net.addr().is_ipv6());
    (wanted && !link.ipv6).then(|| {
        Finding::bad(
            "IPv6",
            "is turned off for new devices, or not in this kernel, and addresses has one of IPv6",
        )
        .mended_by("sysctl -w net.ipv6.conf.default.disable_ipv6=0, or remove it from addresses")
    })
}

/// What other devices have, by the index of the device.
fn elsewhere(link: &Link, index: u32) -> bool {
    link.survey.name(index) != link.config.interface.name
}

/// Addresses of this end that another device has, or networks that it is in.
fn addresses(link: &Link) -> Vec<Finding> {
    let check = "addresses";
    let others = || link.survey.addresses.iter().filter(|(index, _)| elsewhere(link, *index));
    let mut findings = Vec::new();
    for ours in &link.config.interface.addresses {
        for (index, theirs) in others() {
            let device = link.survey.name(*index);
            let remove = format!(
                "ip address del {theirs} dev {device}, or choose another network at both ends"
            );
            let single = ours.prefix_len() == ours.max_prefix_len();
            if ours.addr() == theirs.addr() {
                let text = format!("{device} has the address {} already", ours.addr());
                findings.push(Finding::bad(check, text).mended_by(remove));
            } else if ours.trunc() == theirs.trunc() && !single {
                let text = format!(
                    "{device} is in the network {} already: packets to the peer would go there",
                    ours.trunc()
                );
                findings.push(Finding::bad(check, text).mended_by(remove));
            } else if ours.contains(&theirs.trunc()) {
                let text =
                    format!("a part of {}, {}, is at {device}", ours.trunc(), theirs.trunc());
                findings.push(Finding::warning(check, text));
            }
        }
    }
    or_ok(findings, check, "no other device has them")
}

/// The networks that are to be routed to the device, each with its table.
fn routed(link: &Link) -> impl Iterator<Item = (IpNet, u32)> {
    let wishes: Vec<_> = settings(&link.config).wishes().collect();
    wishes.into_iter().filter_map(|wish| match wish {
        Wish::Route(network, table) => Some((network, table)),
        _ => None,
    })
}

fn routes(link: &Link) -> Vec<Finding> {
    let check = "routes";
    let mut findings = Vec::new();
    for (network, table) in routed(link) {
        let others = link.survey.routes.iter();
        for route in others.filter(|route| route.table == table && elsewhere(link, route.index)) {
            findings.extend(clash(network, route, &link.survey));
        }
    }
    or_ok(findings, check, "no other device has them")
}

/// What a route to another device means for one to `network`.
fn clash(network: IpNet, route: &Route, survey: &Survey) -> Option<Finding> {
    let check = "routes";
    let device = survey.name(route.index);
    // That of a route without one.
    let metric = if network.addr().is_ipv4() { 0 } else { 1024 };
    if route.network == network {
        let remove = format!("ip route del {network} dev {device} table {}", route.table);
        let text = format!("{network} is routed to {device} already");
        return Some(if route.metric == metric {
            Finding::bad(check, text).mended_by(remove)
        } else if route.metric < metric {
            Finding::bad(check, text + ", with a lower metric than ours").mended_by(remove)
        } else {
            Finding::warning(check, text + ", with a higher metric than ours")
        });
    }
    // Past a default route it is what everybody wants.
    let part = network.prefix_len() != 0 && network.contains(&route.network);
    part.then(|| {
        let text =
            format!("a part of {network}, {}, goes to {device} and not to the peer", route.network);
        Finding::warning(check, text)
    })
}

fn endpoints(link: &Link) -> Vec<Finding> {
    let check = "endpoint";
    if link.endpoints.is_empty() {
        return vec![Finding::ok(check, "none: the peer has to call")];
    }
    let reachable = |fact: &EndpointFact| {
        fact.ways.as_ref().is_ok_and(|ways| ways.iter().any(|(_, way)| way.is_ok()))
    };
    let any = link.endpoints.iter().any(reachable);
    let judge =
        |text: String| if any { Finding::warning(check, text) } else { Finding::bad(check, text) };
    link.endpoints
        .iter()
        .map(|fact| {
            let EndpointFact { endpoint, ways } = fact;
            match ways {
                Err(error) => {
                    judge(format!("{endpoint} does not resolve: {error}")).mended_by(format!(
                        "getent ahosts {}; is the name right, and the name server reachable?",
                        endpoint.host
                    ))
                }
                Ok(ways) => {
                    match ways.iter().find_map(|(ip, way)| Some((ip, way.as_ref().ok()?))) {
                        Some((ip, way)) => {
                            Finding::ok(check, described(endpoint, *ip, way, &link.survey))
                        }
                        None => {
                            let why = ways.iter().find_map(|(_, way)| way.as_ref().err());
                            let host = ways
                                .first()
                                .map_or(endpoint.host.clone(), |(ip, _)| ip.to_string());
                            judge(format!(
                                "{endpoint}: {}",
                                why.map_or("no address", String::as_str)
                            ))
                            .mended_by(format!("ip route get {host}; is the network up?"))
                        }
                    }
                }
            }
        })
        .collect()
}

fn described(endpoint: &impl ToString, ip: IpAddr, way: &UnderlayRoute, survey: &Survey) -> String {
    let UnderlayRoute { mtu, index, .. } = way;
    format!("{} is at {ip}, by {}, MTU {mtu}", endpoint.to_string(), survey.name(*index))
}

/// Endpoints that the link itself would lead to.
fn loops(link: &Link) -> Vec<Finding> {
    let connected = link.config.interface.addresses.iter().map(|net| (net.trunc(), MAIN_TABLE));
    let inside: Vec<IpNet> = connected
        .chain(routed(link))
        .filter(|(network, table)| *table == MAIN_TABLE && network.prefix_len() != 0)
        .map(|(network, _)| network)
        .collect();
    let longest = |networks: &mut dyn Iterator<Item = IpNet>, ip: IpAddr| {
        networks.filter(|net| net.contains(&ip)).map(|net| net.prefix_len()).max()
    };
    let mut findings = Vec::new();
    for (ip, way) in link.endpoints.iter().flat_map(|fact| fact.ways.iter().flatten()) {
        let others = link.survey.routes.iter();
        let others =
            others.filter(|route| route.table == MAIN_TABLE && elsewhere(link, route.index));
        let past = longest(&mut others.map(|route| route.network), *ip);
        let through = longest(&mut inside.iter().copied(), *ip);
        if through.is_some() && through >= past {
            let text = format!("{ip} lies in a network that goes through the link itself");
            let finding = Finding::bad("endpoint", text);
            let way = way.as_ref().ok().filter(|way| elsewhere(link, way.index));
            findings.push(match way.and_then(|way| Some((way.gateway?, way.index))) {
                Some((gateway, index)) => finding.mended_by(format!(
                    "ip route add {ip} via {gateway} dev {}",
                    link.survey.name(index)
                )),
                None => finding.mended_by("take that network out of allowed_ips"),
            });
        }
    }
    findings
}

/// Whether the packets of the link fit the way to the peer.
fn mtu(link: &Link) -> Vec<Finding> {
    let check = "mtu";
    let interface = &link.config.interface;
    if interface.layer() == Layer::Ethernet {
        // What is longer crosses in fragments.
        return or_ok(Vec::new(), check, "frames of any length cross");
    }
    let least = least_mtu(&interface.addresses);
    let wanted = u32::from(interface.mtu.unwrap_or(least));
    let ways = link.endpoints.iter().flat_map(|fact| fact.ways.iter().flatten());
    let ways = ways.filter_map(|(ip, way)| Some((*ip, way.as_ref().ok()?.mtu)));
    let findings: Vec<_> = ways
        .filter_map(|(ip, path)| {
            let overhead = if ip.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
            let fits = path.saturating_sub(overhead);
            if wanted <= fits {
                return None;
            }
            let text = format!(
                "packets of {wanted} bytes are fragmented on the way to {ip}: it carries {path}, so {fits} inside"
            );
            let finding = Finding::warning(check, text);
            Some(if fits >= least.into() {
                finding.mended_by(format!("set mtu = {fits} in [interface] at both ends"))
            } else {
                finding.mended_by("give the device that leads there a larger MTU, or remove IPv6 from addresses")
            })
        })
        .collect();
    or_ok(findings, check, "fits the way to the peer, as far as this host knows it")
}

fn firewall(link: &Link, host: &Host) -> Option<Finding> {
    let check = "firewall";
    let port = link.config.interface.listen_port;
    if port == 0 {
        return None;
    }
    Some(match &host.ruleset {
        Err(why) => Finding::unknown(check, why),
        Ok(ruleset) => match firewall::obstacle(ruleset, port) {
            None => Finding::ok(check, format!("nftables has nothing plain against UDP port {port}")),
            Some(chain) => Finding::warning(
                check,
                format!("the chain {chain} of nftables seems to discard UDP port {port}: the peer cannot call"),
            )
            .mended_by(format!("nft insert rule {chain} udp dport {port} accept")),
        },
    })
}

fn reverse_path(link: &Link) -> Option<Finding> {
    let affected = link
        .config
        .default_routes()
        .any(|net| network::same_family(net, IpAddr::from([0; 4]).into()));
    let device = link.strict.as_ref().filter(|_| affected)?;
    let text = format!(
        "the filter is strict on {device}: past the default route of the link, what the peer sends there is lost"
    );
    Some(Finding::warning("reverse path", text).mended_by(reverse_path::LOOSE))
}

fn or_ok(findings: Vec<Finding>, check: &'static str, text: &str) -> Vec<Finding> {
    if findings.is_empty() { vec![Finding::ok(check, text)] } else { findings }
}
