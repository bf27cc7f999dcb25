//! How a tunnel takes on another configuration while it runs. What does not change is not touched: a session lives on with its
//! keys, counters and timers as long as both static keys and the profile stay.

use super::Tunnel;
use crate::crypto::secret::on_clean_stack;
use crate::proto::Parameters;
use crate::proto::admission::Admission;
use crate::proto::search::Search;
use crate::proto::shared::{Networks, Orders};
use crate::proto::time::Now;

impl Tunnel {
    /// Is what `parameters` say from now on, but for the endpoints and the MTU, which have calls of their own
    /// ([`Tunnel::set_endpoints`], [`Tunnel::set_mtu`]). A preshared key is for the next handshake. If the profile or one of the
    /// static keys is another one, all sessions end; if it is the peer's key, all that is
    /// known of the one before is forgotten, with what waits for it.
    pub fn reconfigure(&mut self, now: Now, parameters: &Parameters) {
        let other_peer = parameters.public_key != *self.handshakes.peer();
        let (profile, ours) = (self.handshakes.profile(), *self.handshakes.public_key());
        on_clean_stack(|| self.handshakes.reconfigure(parameters));
        let begins_anew = other_peer
            || *self.handshakes.public_key() != ours
            || self.handshakes.profile() != profile;
        if begins_anew {
            self.admission = Admission::new(self.handshakes.public_key());
            self.erase();
        }
        // Not before the sessions have gone: nothing that is for the new peer alone may reach the one before.
        self.shared.set_networks(Networks::new(parameters));
        if other_peer {
            self.shared.endpoint.store(None);
            self.remote_told = None;
            self.shared.opening.forget_peer();
            self.shared.outbound_orders.give(Orders::OTHER_PEER);
        }
        if parameters.persistent_keepalive != self.persistent_keepalive() {
            self.set_persistent_keepalive(now, parameters.persistent_keepalive);
        }
        if begins_anew {
            self.start(now);
        }
    }

    /// From now on the peer has `count` configured endpoints, none of which is resolved. When all of them are, the tunnel
    /// goes to the first, unless it is at one of them already.
    pub fn set_endpoints(&mut self, count: usize) {
        self.search = Search::new(&vec![Vec::new(); count]);
        self.shared.set_places(self.search.addresses());
        self.relocating = count > 0;
    }
}
