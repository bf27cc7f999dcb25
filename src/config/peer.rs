//! What the values of `[peer]` mean, given our own end.

use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::endpoint::{self, HostPort};
use super::error::Fault;
use super::file::PeerTable;
use super::key_source::KeySource;
use super::network;
use super::profile;
use super::value::Value;
use super::{Interface, Peer, Table};
use crate::crypto::{PrivateKey, PublicKey};

/// Seconds; under the 30 after which many NATs forget a UDP binding.
const DEFAULT_KEEPALIVE: u16 = 25;

const ACCEPTED_PUBLIC_KEY: &str =
    "the peer's public key, as printed by tunneld pubkey or tunneld check on its host";
const NOT_FOR_FRAMES: &str =
    r#"nothing, or [interface] mode = "tun": behind frames there may be any network"#;
const ACCEPTED_NETWORKS: &str = r#"like "10.77.0.0/30" or "fd77::/64""#;

impl Peer {
    /// Gives the values their meaning; key files are relative to `dir`.
    pub(super) fn resolve(
        table: PeerTable<'_>,
        interface: &Interface,
        dir: &Path,
    ) -> Result<Self, Fault> {
        let no_key = table.missing("public_key", ACCEPTED_PUBLIC_KEY);
        let no_networks = table.missing(
            "allowed_ips",
            &format!(
                "a list of networks {ACCEPTED_NETWORKS}, as no address of [interface] names a network"
            ),
        );
        let no_profile = table.missing(
            "profile",
            r#""tunneld", on both ends: WireGuard carries IP packets, and [interface] mode is "tap""#,
        );
        let preshared_key = KeySource {
            inline: table.preshared_key,
            file: table.preshared_key_file,
            command: "genpsk",
        };
        let frames = interface.ethernet.is_some();
        let allowed_ips = match table.allowed_ips {
            Some(value) if frames => return Err(value.fault("is for IP packets", NOT_FOR_FRAMES)),
            Some(value) => allowed_ips(value, interface)?,
            None if frames => Vec::new(),
            None => network::networks_of(&interface.addresses),
        };
        if allowed_ips.is_empty() && !frames {
            return Err(no_networks);
        }
        let profile = profile::resolve(table.profile, table.cipher, interface.layer())?;
        if profile.layer() != interface.layer() {
            return Err(no_profile);
        }
        Ok(Self {
            public_key: public_key(&table.public_key.ok_or(no_key)?, &interface.private_key)?,
            preshared_key: preshared_key.resolve(dir)?.unwrap_or_default(),
            endpoints: table.endpoint.map_or(Ok(Vec::new()), endpoints)?,
            allowed_ips,
            persistent_keepalive: table
                .persistent_keepalive
                .map_or(Ok(DEFAULT_KEEPALIVE), |value| value.integer(0..=u16::MAX))
                .map(keepalive)?,
            profile,
        })
    }
}

fn keepalive(seconds: u16) -> Option<Duration> {
    (seconds != 0).then(|| Duration::from_secs(seconds.into()))
}

fn public_key(value: &Value<'_>, ours: &PrivateKey) -> Result<PublicKey, Fault> {
    let text = value.expect_text(ACCEPTED_PUBLIC_KEY)?;
    let key: PublicKey = text
        .parse()
        .map_err(|error| value.fault(format_args!("is {error}"), ACCEPTED_PUBLIC_KEY))?;
    if key == ours.public_key() {
        return Err(value.secret_fault("is this host's own key", ACCEPTED_PUBLIC_KEY));
    }
    if ours.diffie_hellman(&key).is_none() {
        return Err(value.secret_fault("is a key that no host can have", ACCEPTED_PUBLIC_KEY));
    }
    Ok(key)
}

fn endpoints(value: Value<'_>) -> Result<Vec<HostPort>, Fault> {
    let mut endpoints: Vec<HostPort> = Vec::new();
    for item in value.text_or_list(endpoint::ACCEPTED)? {
        let found: HostPort = item
            .expect_text(endpoint::ACCEPTED)?
            .parse()
            .map_err(|error| item.fault(error, endpoint::ACCEPTED))?;
        if endpoints.contains(&found) {
            return Err(item.fault("is given twice", "each endpoint once"));
        }
        endpoints.push(found);
    }
    Ok(endpoints)
}

fn allowed_ips(value: Value<'_>, interface: &Interface) -> Result<Vec<IpNet>, Fault> {
    let mut networks: Vec<IpNet> = Vec::new();
    for item in value.list(ACCEPTED_NETWORKS)? {
        let text = item.expect_text(ACCEPTED_NETWORKS)?;
        let net = network::parse(text).ok_or_else(|| {
            item.fault("is not a network with a prefix length", ACCEPTED_NETWORKS)
        })?;
        if net != net.trunc() {
            let accepted =
                format!(r#""{}", or "{}/{}""#, net.trunc(), net.addr(), net.max_prefix_len());
            return Err(item.fault("is not the first address of its network", accepted));
        }
        if let Some(other) = networks.iter().find(|other| network::overlap(**other, net)) {
            return Err(item.fault(
                format_args!(r#"overlaps "{other}""#),
                "networks that have no address in common",
            ));
        }
        refuse_unroutable(&item, net, interface)?;
        networks.push(net);
    }
    Ok(networks)
}

fn refuse_unroutable(item: &Value<'_>, net: IpNet, interface: &Interface) -> Result<(), Fault> {
    let family = network::family(net);
    if !interface.addresses.iter().any(|address| network::same_family(*address, net)) {
        return Err(item.fault(
            format_args!("is {family}, but [interface] addresses has no {family} address"),
            "networks of the families that addresses has",
        ));
    }
    match (net.prefix_len(), interface.table, interface.fwmark) {
        (0, Table::Number(254 | 255), _) => Err(item.fault(
            "would route the tunnel's own packets into the tunnel",
            r#"[interface] table = "auto", which takes care of that, "off", or the number of another table"#,
        )),
        (0, Table::Auto, 253..=255) => Err(item.fault(
            "goes into the routing table whose number is the fwmark, and that one is the system's",
            "another [interface] fwmark than 253, 254 and 255",
        )),
        _ => Ok(()),
    }
}
