//! What only a device of frames has: its address, promiscuous mode, and the bridge that it is a port of.

use nix::net::if_::if_nametoindex;
use rtnetlink::LinkUnspec;

use super::{EthernetSettings, Link, LinkError};

impl Link {
    /// Takes the device out of its bridge.
    pub(super) async fn leave_bridge(&self) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(self.index).nocontroller().build();
        let result = self.set(message).await;
        self.undone("taking it out of its bridge", result)
    }

    /// Sets what only a device of frames has. It leaves the bridge that it was put into before for another one, or for none.
    pub(super) async fn set_ethernet(
        &mut self,
        settings: &EthernetSettings,
    ) -> Result<(), LinkError> {
        let EthernetSettings { mac, promisc, bridge } = settings;
        let message = || LinkUnspec::new_with_index(self.index);
        if let Some(mac) = mac {
            let result = self.set(message().address(mac.0.to_vec()).build()).await;
            result
                .map_err(|error| self.failed(format_args!("setting its address {mac}"), error))?;
        }
        let result = self.set(message().promiscuous(*promisc).build()).await;
        result.map_err(|error| self.failed("setting promiscuous mode", error))?;
        let message = match bridge {
            Some(bridge) => {
                let index = if_nametoindex(bridge.as_str()).map_err(|errno| {
                    self.failed(format_args!("looking up the bridge {bridge}"), errno.into())
                })?;
                message().controller(index)
            }
            None if self.ours.is_port => message().nocontroller(),
            None => return Ok(()),
        };
        let result = self.set(message.build()).await;
        let action = bridge.as_deref().unwrap_or("none");
        result.map_err(|error| self.failed(format_args!("making it a port of {action}"), error))?;
        self.ours.is_port = bridge.is_some();
        Ok(())
    }
}
