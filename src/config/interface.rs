//! What the values of `[interface]` mean.

use std::path::Path;

use ipnet::IpNet;

use super::device_name::{ACCEPTED_NAME, named};
use super::error::Fault;
use super::ethernet::EthernetValues;
use super::file::{self, InterfaceTable};
use super::key_source::KeySource;
use super::shaping::{Shaping, ShapingValues};
use super::value::Value;
use super::{Interface, Offload, Table};
use super::{names, network};

const DEFAULT_NAME: &str = "tun0";
/// What Ethernet has everywhere: frames that the path does not carry cross in fragments.
const ETHERNET_MTU: u16 = 1500;
/// Every IPv4 host takes packets of this size (RFC 791 §3.1).
const LEAST_MTU: u16 = 576;
/// Every IPv6 link carries packets of this size (RFC 8200 §5).
const LEAST_MTU_IPV6: u16 = 1280;
/// The largest UDP payload over IPv4, without what the tunnel adds to a packet.
const LARGEST_MTU: u16 = 65_507 - 32;

const NOT_FOR_FRAMES: &str = r#"nothing, or mode = "tun": behind frames there may be any network"#;
const ACCEPTED_ADDRESSES: &str = r#"like "10.77.0.1/30" or "fd77::1/64""#;
const ACCEPTED_OFFLOAD: &str = "like { tun_gso = false, udp_gso = false }";
const ACCEPTED_TABLE: &str = r#""auto", "off" or a number from 1 to 4294967295"#;

impl Interface {
    /// Gives the values their meaning; key files are relative to `dir`.
    pub(super) fn resolve(table: InterfaceTable<'_>, dir: &Path) -> Result<Self, Fault> {
        let no_addresses =
            table.missing("addresses", &format!("a list of addresses {ACCEPTED_ADDRESSES}"));
        let no_key = table.missing(
            "private_key_file",
            "the name of a file made by: tunneld genkey; or the key itself as private_key",
        );
        let key = KeySource {
            inline: table.private_key,
            file: table.private_key_file,
            command: "genkey",
        };
        let frames = EthernetValues {
            mac: table.mac,
            promisc: table.promisc,
            bridge: table.bridge,
            mac_limit: table.mac_limit,
            broadcast_limit: table.broadcast_limit,
            link_local_frames: table.link_local_frames,
        };
        let ethernet = frames.resolve(table.mode)?;
        let addresses = match table.addresses {
            None if ethernet.is_some() => Vec::new(),
            value => addresses(value.ok_or(no_addresses)?)?,
        };
        if let (Some(value), true) = (&table.kill_switch, ethernet.is_some())
            && value.boolean()?
        {
            return Err(value.fault("protects networks behind the peer", NOT_FOR_FRAMES));
        }
        let dns = table.dns.map_or(Ok(Vec::new()), names::servers)?;
        let shaping = Shaping::resolve(ShapingValues {
            rate_limit_out: table.rate_limit_out,
            rate_limit_in: table.rate_limit_in,
            copy_dscp: table.copy_dscp,
            clamp_mss: table.clamp_mss,
        })?;
        Ok(Self {
            name: table
                .name
                .map_or(Ok(DEFAULT_NAME.to_owned()), |value| named(&value, ACCEPTED_NAME))?,
            private_key: key.resolve(dir)?.ok_or(no_key)?,
            listen_port: table.listen_port.map_or(Ok(0), |value| value.integer(0..=u16::MAX))?,
            mtu: match (&ethernet, table.mtu) {
                (_, Some(value)) => Some(mtu(&value, &addresses)?),
                (Some(_), None) => Some(ETHERNET_MTU),
                (None, None) => None,
            },
            ethernet,
            table: table.table.map_or(Ok(Table::Auto), |value| routing_table(&value))?,
            fwmark: table.fwmark.map_or(Ok(0), |value| value.integer(0..=u32::MAX))?,
            offload: offload(table.offload)?,
            kill_switch: table.kill_switch.map_or(Ok(false), |value| value.boolean())?,
            search: table.search.map_or(Ok(Vec::new()), |value| names::domains(value, &dns))?,
            dns,
            addresses,
            shaping,
        })
    }
}

fn addresses(value: Value<'_>) -> Result<Vec<IpNet>, Fault> {
    let mut addresses: Vec<IpNet> = Vec::new();
    for item in value.list(ACCEPTED_ADDRESSES)? {
        let text = item.expect_text(ACCEPTED_ADDRESSES)?;
        let address = network::parse(text).ok_or_else(|| {
            item.fault("is not an address with a prefix length", ACCEPTED_ADDRESSES)
        })?;
        if let Some(why) = network::no_host_address(address) {
            return Err(item.fault(why, format!("a host's address {ACCEPTED_ADDRESSES}")));
        }
        if addresses.iter().any(|other| other.addr() == address.addr()) {
            return Err(item.fault("is given twice", "each address once"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn mtu(value: &Value<'_>, addresses: &[IpNet]) -> Result<u16, Fault> {
    let mtu = value.integer(LEAST_MTU..=LARGEST_MTU)?;
    let least = least_mtu(addresses);
    if mtu < least {
        return Err(value.fault(
            "is too small for the IPv6 address",
            format!("a number from {least} to {LARGEST_MTU}"),
        ));
    }
    Ok(mtu)
}

/// The least MTU of an interface with these addresses.
pub(crate) fn least_mtu(addresses: &[IpNet]) -> u16 {
    let ipv6 = addresses.iter().any(|net| net.addr().is_ipv6());
    if ipv6 { LEAST_MTU_IPV6 } else { LEAST_MTU }
}

fn routing_table(value: &Value<'_>) -> Result<Table, Fault> {
    match value.text() {
        Some("auto") => Ok(Table::Auto),
        Some("off") => Ok(Table::Off),
        Some(_) => Err(value.fault("is not a routing table", ACCEPTED_TABLE)),
        None => value
            .integer(1..=u32::MAX)
            .map(Table::Number)
            .map_err(|fault| Fault { accepted: ACCEPTED_TABLE.to_owned(), ..fault }),
    }
}

/// What is not said is on.
fn offload(value: Option<Value<'_>>) -> Result<Offload, Fault> {
    let values = match value {
        Some(value) => file::offload(value, ACCEPTED_OFFLOAD)?,
        None => Default::default(),
    };
    let on = |value: Option<Value<'_>>| value.map_or(Ok(true), |value| value.boolean());
    let [tun_gso, tun_gro, udp_gso, udp_gro] = values.map(on);
    Ok(Offload { tun_gso: tun_gso?, tun_gro: tun_gro?, udp_gso: udp_gso?, udp_gro: udp_gro? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mtu_is_what_a_datagram_carries() {
        assert_eq!(u32::from(LARGEST_MTU), crate::wire::transport::MAX_MTU);
    }
}
