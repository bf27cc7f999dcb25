//! The configuration, as the core understands it.

use std::time::Duration;

use ipnet::IpNet;

use super::network;
use crate::config::{Config, Ethernet, Interface, Table};
use crate::proto::{FrameRules, Parameters};
use crate::wire::Layer;

/// What the configuration says to the tunnel; its endpoints are still to be resolved.
pub(super) fn parameters(
    Config { interface, peer, .. }: &Config,
    last_timestamp: Option<Duration>,
) -> Parameters {
    Parameters {
        profile: peer.profile,
        routed: routed(interface, &peer.allowed_ips),
        addresses: interface.addresses.iter().map(IpNet::addr).collect(),
        private_key: interface.private_key.clone(),
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.clone(),
        allowed_ips: peer.allowed_ips.clone(),
        endpoints: vec![Vec::new(); peer.endpoints.len()],
        last_timestamp,
        persistent_keepalive: peer.persistent_keepalive,
        mtu: match interface.layer() {
            Layer::Ip => interface.mtu.map_or(network::DEFAULT_MTU, u32::from),
            Layer::Ethernet => network::DEFAULT_MTU,
        } as usize,
        frames: interface.ethernet.as_ref().map_or(FrameRules::default(), frame_rules),
    }
}

fn frame_rules(ethernet: &Ethernet) -> FrameRules {
    FrameRules {
        mac_limit: ethernet.mac_limit as usize,
        broadcast_limit: ethernet.broadcast_limit,
        link_local: ethernet.link_local_frames,
    }
}

/// The networks whose way is through the device. Routes in a table of its own are for packets that the administrator's
/// rules send there: outer packets may take another way. Past a default route of ours they do, by their mark.
fn routed(interface: &Interface, allowed_ips: &[IpNet]) -> Vec<IpNet> {
    let routes = if interface.table == Table::Auto { allowed_ips } else { &[] };
    let routes = routes.iter().filter(|network| network.prefix_len() != 0);
    interface.addresses.iter().chain(routes).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::crypto::PrivateKey;

    #[test]
    fn a_default_route_of_ours_hides_no_endpoint_but_other_networks_do() {
        let key = |byte| PrivateKey::clamped([byte; 32]);
        let text = format!(
            "[interface]\naddresses = ['10.77.0.1/30', 'fd77::1/64']\nprivate_key = '{}'\n[peer]\npublic_key = '{}'\nallowed_ips = ['0.0.0.0/0', '2001:db8::/32']",
            key(1).to_base64().as_str(),
            key(2).public_key()
        );
        let Config { interface, peer, .. } = Config::parse(&text, Path::new("t")).unwrap();
        let inside = routed(&interface, &peer.allowed_ips);
        let shown: Vec<String> = inside.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.77.0.1/30", "fd77::1/64", "2001:db8::/32"]);
    }
}
