//! What only a device of frames has: its address, promiscuous mode, and the bridge that it is a port of. What it has already
//! is not asked for, so that a device that may not be changed can be used.

use nix::net::if_::if_nametoindex;
use rtnetlink::LinkUnspec;

use super::{EthernetSettings, Link, LinkError, Wish};
use crate::tun::netlink::DeviceState;

impl Link {
    /// Sets what only a device of frames has. It leaves the bridge that it was put into before for another one, or for
    /// none.
    pub(super) async fn set_ethernet(
        &mut self,
        settings: &EthernetSettings,
    ) -> Result<(), LinkError> {
        let EthernetSettings { mac, own_mac, promisc, bridge } = settings;
        let state = self.state().await?;
        let mac = mac.or(self.ours.found.is_none().then_some(*own_mac));
        if let Some(mac) = mac.filter(|mac| state.mac != Some(*mac)) {
            let message = self.message().address(mac.0.to_vec()).build();
            self.ask(Wish::Mac(mac), message).await?;
        }
        if state.promisc != *promisc {
            let message = self.message().promiscuous(*promisc).build();
            self.ask(Wish::Promisc(*promisc), message).await?;
        }
        match bridge {
            Some(bridge) => {
                let index = if_nametoindex(bridge.as_str()).map_err(|errno| {
                    self.failed(format_args!("looking up the bridge {bridge}"), errno.into())
                })?;
                if state.bridge != Some(index) {
                    let message = self.message().controller(index).build();
                    self.ask(Wish::Port(bridge.clone()), message).await?;
                    self.ours.is_port = true;
                }
            }
            None if self.ours.is_port => {
                self.leave_bridge().await?;
                self.ours.is_port = false;
            }
            None => {}
        }
        Ok(())
    }

    /// Takes the device out of its bridge.
    pub(super) async fn leave_bridge(&self) -> Result<(), LinkError> {
        let result = self.set(self.message().nocontroller().build()).await;
        self.undone("taking it out of its bridge", result)
    }

    /// What gives the device the address and the mode that it was found with.
    pub(super) fn as_found(
        &self,
        found: &DeviceState,
    ) -> rtnetlink::LinkMessageBuilder<LinkUnspec> {
        let message = self.message().promiscuous(found.promisc);
        match found.mac {
            Some(mac) => message.address(mac.0.to_vec()),
            None => message,
        }
    }

    fn message(&self) -> rtnetlink::LinkMessageBuilder<LinkUnspec> {
        LinkUnspec::new_with_index(self.index)
    }
}
