//! A peer whose underlay address lies in a network that is routed to the device: more specific routes decide.

use super::config::ends;
use super::lab::{Host, INNER_A, Lab, direct_v4};
use super::needs::needs;

/// A wide network around the underlay's, which is connected and so goes before it.
const WIDE: [&str; 3] = ["10.77.0.0/30", "fd77::/64", "192.0.0.0/12"];

#[test]
fn a_peer_that_is_called_in_a_connected_network_inside_allowed_ips_is_linked() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].allowed_ips = Some(WIDE.into());
    let _daemons = lab.link(&ends);
    assert!(lab.pings(Host::B, INNER_A[0]));
}

#[test]
fn a_peer_that_calls_from_a_connected_network_inside_allowed_ips_is_linked() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[0].allowed_ips = Some(WIDE.into());
    ends[0].endpoint = None;
    let _daemons = lab.link(&ends);
    assert!(lab.pings(Host::B, INNER_A[0]));
}
