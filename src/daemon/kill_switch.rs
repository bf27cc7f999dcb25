//! The kill switch: packets of the protected networks leave this host through the tunnel, or not at all. The kernel
//! keeps to it by rules of a table of its own (`nft list ruleset` shows it), whether the daemon runs or not, as long as
//! the socket that made them is open.
//!
//! Protected are the networks in `allowed_ips` and those of `addresses`. What leaves is judged last of all, when
//! routing and address translation are done, whether it was made here or is forwarded. A packet to a protected network
//! passes
//!
//! - on the tunnel's device, and on the loopback device;
//! - if it has come out of the tunnel, and is forwarded;
//! - with the mark of outer packets;
//! - on other devices only if it keeps a network itself going: link-local addresses and multicast and neighbour
//!   discovery, which come no further than the next host, and a DHCP client's requests. Where a router might pass it on
//!   nonetheless, it must be made here.
//!
//! Nothing leaves elsewhere *from* this host's addresses inside the tunnel, and nothing that is addressed to them is
//! let in from elsewhere, so that a neighbour cannot find out what they are nor meddle with connections
//! (CVE-2019-14899).

mod nftables;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipnet::IpNet;
use netlink_bindings::nftables::{MetaKeys, PayloadBase};
use nix::errno::Errno;
use nix::libc;

use crate::config::Config;
use nftables::{Hook, Step, Table};

/// Keeps the rules in the kernel; with the last descriptor of its socket they vanish.
#[derive(Debug)]
pub(super) struct KillSwitch {
    socket: OwnedFd,
    rules: Table,
}

/// Why there is no kill switch.
#[derive(Debug, thiserror::Error)]
#[error("the kill switch cannot be turned on: {source}{}", hint(.source))]
pub(super) struct KillSwitchError {
    source: io::Error,
}

impl KillSwitch {
    /// The kill switch that `config` wants, if it does; with `socket`, as [`KillSwitch::install`] says.
    ///
    /// # Errors
    /// As those of [`KillSwitch::install`].
    pub(super) fn of(
        config: &Config,
        socket: Option<OwnedFd>,
    ) -> Result<Option<Self>, KillSwitchError> {
        let wanted = config.interface.kill_switch;
        wanted.then(|| Self::install(socket, config)).transpose()
    }

    /// Puts its rules back in the place of those that were made over its socket since.
    pub(super) fn reinstate(&self) -> Result<(), KillSwitchError> {
        let committed = self.rules.clone().commit(self.socket.as_fd());
        committed.map_err(|source| KillSwitchError { source })
    }

    /// Puts the rules for this configuration in the place of those that `socket` has made before, in one instant;
    /// without a socket, a new one makes them.
    ///
    /// # Errors
    /// [`KillSwitchError`]; what rules there were are left then, as long as the socket is open elsewhere.
    pub(super) fn install(
        socket: Option<OwnedFd>,
        config: &Config,
    ) -> Result<Self, KillSwitchError> {
        let install = || {
            let socket = socket.map_or_else(nftables::open, Ok)?;
            let rules = table(config);
            rules.clone().commit(socket.as_fd())?;
            Ok(Self { socket, rules })
        };
        install().map_err(|source| KillSwitchError { source })
    }
}

impl AsFd for KillSwitch {
    /// What to keep open for the rules to outlive this process.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => {
            " (this needs root or CAP_NET_ADMIN, and no other tunneld for this device)"
        }
        Some(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::ENOENT) => {
            " (the kernel lacks nf_tables, or a part of it)"
        }
        Some(Errno::EOPNOTSUPP | Errno::EINVAL) => " (it needs Linux 5.12 or newer)",
        _ => "",
    }
}

/// The rules, in order.
fn table(config: &Config) -> Table {
    let interface = &config.interface;
    let mut table = Table::new(format!("tunneld-{}", interface.name));
    // Link-local addresses are those of any device.
    let own = interface.addresses.iter().map(IpNet::addr).filter(|ip| !is_link_local(*ip));
    let own: Vec<IpNet> = own.map(IpNet::from).collect();

    table.chain(LEAVING, AFTER_ROUTING);
    let mut leaving = |steps: &[&[Step]]| table.rule(LEAVING, &steps.concat());
    for device in ["lo", interface.name.as_str()] {
        leaving(&[&is_device(MetaKeys::Oifname, device), &[Step::Accept]]);
    }
    leaving(&[&is_device(MetaKeys::Iifname, &interface.name), &[Step::Accept]]);
    let mark = config.mark().to_ne_bytes().to_vec();
    leaving(&[&[Step::Meta(MetaKeys::Mark), Step::Is(mark), Step::Accept]]);
    for address in &own {
        leaving(&[&lies_in(SOURCE, *address), &DISCARD]);
    }
    for steps in on_this_link() {
        leaving(&[&steps, &[Step::Accept]]);
    }
    let protected =
        interface.addresses.iter().map(IpNet::trunc).chain(config.peer.allowed_ips.iter().copied());
    for network in IpNet::aggregate(&protected.collect()) {
        leaving(&[&lies_in(DESTINATION, network), &DISCARD]);
    }

    table.chain(ARRIVING, BEFORE_ALL);
    let mut arriving = |steps: &[&[Step]]| table.rule(ARRIVING, &steps.concat());
    for device in ["lo", interface.name.as_str()] {
        arriving(&[&is_device(MetaKeys::Iifname, device), &[Step::Accept]]);
    }
    for address in &own {
        arriving(&[&lies_in(DESTINATION, *address), &DISCARD]);
    }
    table
}

/// What must pass on other devices for their networks to work.
fn on_this_link() -> Vec<Vec<Step>> {
    let to = |text: &str| lies_in(DESTINATION, text.parse().expect("it is a network"));
    let mut all = ["224.0.0.0/24", "fe80::/10", "ff02::/16"].map(to).to_vec();
    // What is forwarded has come in by a device. (So have solicitations that the kernel sends, as far as this shows.)
    let made_here = [Step::Meta(MetaKeys::Iif), Step::Is(0_u32.to_ne_bytes().to_vec())];
    all.push([&made_here, to("169.254.0.0/16").as_slice()].concat());
    // From port 68 to port 67.
    let mut dhcp = made_here.to_vec();
    dhcp.extend(is_family(true));
    dhcp.extend([Step::Meta(MetaKeys::L4Proto), Step::Is(vec![libc::IPPROTO_UDP as u8])]);
    dhcp.extend([Step::Bytes(PayloadBase::TransportHeader, 0, 4), Step::Is(vec![0, 68, 0, 67])]);
    all.push(dhcp);
    // Solicitations and advertisements that no router has passed on: the hop limit is 255.
    for kind in [135, 136] {
        let mut discovery = is_family(false);
        discovery.extend([Step::Bytes(PayloadBase::NetworkHeader, 7, 1), Step::Is(vec![255])]);
        discovery
            .extend([Step::Meta(MetaKeys::L4Proto), Step::Is(vec![libc::IPPROTO_ICMPV6 as u8])]);
        discovery.extend([Step::Bytes(PayloadBase::TransportHeader, 0, 1), Step::Is(vec![kind])]);
        all.push(discovery);
    }
    all
}

/// By name: the device of a later start has another index.
fn is_device(key: MetaKeys, name: &str) -> Vec<Step> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    vec![Step::Meta(key), Step::Is(bytes)]
}

fn is_family(ipv4: bool) -> Vec<Step> {
    let number = if ipv4 { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 };
    vec![Step::Meta(MetaKeys::Nfproto), Step::Is(vec![number as u8])]
}

/// Where an address stands in the header, of IPv4 and of IPv6.
type Place = [u32; 2];
const SOURCE: Place = [12, 8];
const DESTINATION: Place = [16, 24];

fn lies_in([v4, v6]: Place, network: IpNet) -> Vec<Step> {
    let (at, bytes, mask) = match network {
        IpNet::V4(network) => {
            (v4, network.addr().octets().to_vec(), network.netmask().octets().to_vec())
        }
        IpNet::V6(network) => {
            (v6, network.addr().octets().to_vec(), network.netmask().octets().to_vec())
        }
    };
    let mut steps = is_family(network.addr().is_ipv4());
    if network.prefix_len() == 0 {
        return steps;
    }
    let length = bytes.len().try_into().unwrap_or(u32::MAX);
    steps.push(Step::Bytes(PayloadBase::NetworkHeader, at, length));
    if network.prefix_len() < network.max_prefix_len() {
        steps.push(Step::Mask(mask));
    }
    steps.push(Step::Is(bytes));
    steps
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Counted, so that whoever looks sees that something was kept back.
const DISCARD: [Step; 2] = [Step::Count, Step::Drop];

const LEAVING: &str = "leaving";
const ARRIVING: &str = "arriving";
/// Where a packet's way out is settled; before source addresses are translated (100).
const AFTER_ROUTING: Hook = Hook { number: libc::NF_INET_POST_ROUTING, priority: 0 };
/// Before connections are tracked (-200).
const BEFORE_ALL: Hook = Hook { number: libc::NF_INET_PRE_ROUTING, priority: libc::NF_IP_PRI_RAW };

#[cfg(test)]
mod tests;
