//! What a device is to have, one thing at a time; and what becomes of it where nothing may be changed: what an
//! administrator has given the device already is as good.

use std::fmt;
use std::io;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::link::LinkMessage;

use super::{Link, MAIN_TABLE};
use crate::tun::error::LinkError;
use crate::tun::netlink::{DeviceState, is_one_of};
use crate::wire::ethernet::Mac;

/// One thing that a device is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// An MTU of so many bytes.
    Mtu(u32),
    /// An address of layer 2.
    Mac(Mac),
    /// Promiscuous mode, on or off.
    Promisc(bool),
    /// To be a port of the bridge of this name.
    Port(String),
    Address(IpNet),
    /// To be up.
    Up,
    /// A route to a network, in the table of this number.
    Route(IpNet, u32),
}

impl Wish {
    /// What root may do to grant it.
    pub(crate) fn command(&self, device: &str) -> String {
        match self {
            Self::Mtu(mtu) => format!("ip link set dev {device} mtu {mtu}"),
            Self::Mac(mac) => format!("ip link set dev {device} address {mac}"),
            Self::Promisc(on) => format!("ip link set dev {device} promisc {}", on_or_off(*on)),
            Self::Port(bridge) => format!("ip link set dev {device} master {bridge}"),
            // On a link with one other end nobody else can have the address.
            Self::Address(address @ IpNet::V6(_)) => {
                format!("ip address add {address} dev {device} nodad")
            }
            Self::Address(address) => format!("ip address add {address} dev {device}"),
            Self::Up => format!("ip link set dev {device} up"),
            Self::Route(network, MAIN_TABLE) => format!("ip route add {network} dev {device}"),
            Self::Route(network, table) => {
                format!("ip route add {network} dev {device} table {table}")
            }
        }
    }

    /// Whether a device in this state has it, if a state tells that; `index_of` knows devices by name.
    pub(crate) fn is_met_by(
        &self,
        state: &DeviceState,
        index_of: impl FnOnce(&str) -> Option<u32>,
    ) -> bool {
        match self {
            Self::Mtu(mtu) => state.mtu == *mtu,
            Self::Mac(mac) => state.mac == Some(*mac),
            Self::Promisc(on) => state.promisc == *on,
            Self::Port(bridge) => state.bridge.is_some() && state.bridge == index_of(bridge),
            Self::Up => state.up,
            Self::Address(_) | Self::Route(..) => false,
        }
    }
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mtu(mtu) => write!(f, "setting the MTU to {mtu}"),
            Self::Mac(mac) => write!(f, "setting the MAC address to {mac}"),
            Self::Promisc(on) => write!(f, "turning promiscuous mode {}", on_or_off(*on)),
            Self::Port(bridge) => write!(f, "making it a port of {bridge}"),
            Self::Address(address) => write!(f, "adding the address {address}"),
            Self::Up => f.write_str("setting it up"),
            Self::Route(network, table) => {
                write!(f, "adding the route to {network} in table {table}")
            }
        }
    }
}

impl Link {
    /// Asks the kernel for `wish`, by `message`.
    ///
    /// # Errors
    /// As [`refused`](Self::refused).
    pub(super) async fn ask(&self, wish: Wish, message: LinkMessage) -> Result<(), LinkError> {
        match self.set(message).await {
            Err(error) => self.refused(wish, error).await,
            Ok(()) => Ok(()),
        }
    }

    /// What follows from the kernel's refusal of `wish`: nothing, if permission is all that is missing and the device has it
    /// anyway.
    ///
    /// # Errors
    /// [`LinkError`]; where permission is missing, it says what root may do.
    pub(super) async fn refused(&self, wish: Wish, error: io::Error) -> Result<(), LinkError> {
        if !is_one_of(&error, &[Errno::EPERM]) {
            return Err(self.failed(wish, error));
        }
        match self.has(&wish).await {
            Ok(true) => Ok(()),
            _ => Err(LinkError::NotPermitted {
                device: self.device.clone(),
                action: wish.to_string(),
                command: wish.command(&self.device),
            }),
        }
    }

    async fn has(&self, wish: &Wish) -> io::Result<bool> {
        match wish {
            Wish::Address(address) => Ok(self.addresses_there().await?.contains(address)),
            Wish::Route(network, table) => self.has_route(*network, *table).await,
            of_state => {
                let state = self.netlink.device(self.index).await?;
                Ok(of_state.is_met_by(&state, |bridge| if_nametoindex(bridge).ok()))
            }
        }
    }
}
