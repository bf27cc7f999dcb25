//! One peer's whole control state: handshakes, sessions, timers. Every input is one call with the time; after
//! it the caller takes out what there is to send, to tell and to wake.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::admission::Admission;
use super::discard::{Discard, Stats};
use super::flood::Flood;
use super::handshakes::Handshakes;
use super::noise::SessionKeys;
use super::search::Search;
use super::session::{OpeningHalf, Role, Session, SessionSlots, halves};
use super::shared::{Orders, Shared};
use super::time::{Instant, Now};
use super::timers::Timers;
use super::{Event, Parameters, Request, Transmit};
use crate::crypto::random::Random;
use crate::crypto::secret::on_clean_stack;
use crate::wire::mss::ClampMss;
use crate::wire::transport::MAX_MTU;
use crate::wire::{Endpoint, Handshake, Initiation, Layer, Maced, Profile, Response};

/// Responses to the peer that it did not confirm, one after the other, before that is worth telling.
const UNCONFIRMED_WORTH_TELLING: u32 = 3;

/// Owned by the control thread.
pub struct Tunnel {
    shared: Arc<Shared>,
    random: Random,
    admission: Admission,
    handshakes: Handshakes,
    slots: SessionSlots,
    unconfirmed_responses: u32,
    /// When the peer's silence was told last.
    silence_told: Option<Instant>,
    /// The peer's address as it was told last.
    remote_told: Option<SocketAddr>,
    timers: Timers,
    search: Search,
    /// The endpoints were replaced, and the tunnel has not gone to one of the new yet.
    relocating: bool,
    requests: VecDeque<Request>,
    flood: Flood,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Tunnel {
    pub(crate) fn new(parameters: &Parameters, seed: &[u8; 32], shared: Arc<Shared>) -> Self {
        let handshakes = Handshakes::new(parameters);
        let search = Search::new(&parameters.endpoints);
        shared.endpoint.store(search.first_address().map(|at| Arc::new(Endpoint::new(at))));
        shared.set_places(search.addresses());
        Self {
            shared,
            random: Random::new(seed),
            admission: Admission::new(handshakes.public_key()),
            handshakes,
            slots: SessionSlots::default(),
            unconfirmed_responses: 0,
            silence_told: None,
            remote_told: search.first_address(),
            timers: Timers::new(parameters.persistent_keepalive),
            search,
            relocating: false,
            requests: VecDeque::new(),
            flood: Flood::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Begins: with a persistent keepalive the first handshake does not wait for data.
    pub fn start(&mut self, now: Now) {
        if self.timers.keeps_alive() {
            self.keep_alive(now);
        }
    }

    /// Where the peer is now.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.shared.endpoint()
    }

    /// Pads inner packets up to `mtu` from now on, the device's MTU in bytes. Of frames it is the most bytes of text that transport
    /// data may have on the path: longer ones cross in fragments.
    pub fn set_mtu(&self, mtu: usize) {
        // A datagram holds no more, padding included.
        self.shared.mtu.store(mtu.min(MAX_MTU as usize), Ordering::Relaxed);
    }

    /// Stations known behind the peer; `None` if packets cross.
    #[must_use]
    pub fn stations(&self) -> Option<usize> {
        let known = self.shared.stations.load(Ordering::Relaxed);
        (self.shared.layer == Layer::Ethernet).then_some(known)
    }

    /// From now on datagrams carry the DSCP of the packet in them if `copy_dscp` says so, and TCP's MSS is lowered both ways as
    /// `clamp` says. Until the first call neither is done.
    pub fn set_rewrites(&self, copy_dscp: bool, clamp: ClampMss) {
        self.shared.rewrites.set(copy_dscp, clamp);
    }

    /// When anything authentic of the peer was received last.
    #[must_use]
    pub fn last_received(&self) -> Option<Instant> {
        self.shared.facts.last_received()
    }

    /// How quiet the link may be at the most; `None`: as long as it likes.
    #[must_use]
    pub fn persistent_keepalive(&self) -> Option<Duration> {
        self.timers.persistent_keepalive()
    }

    /// What is spoken with the peer.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.handshakes.profile()
    }

    /// The newest timestamp of our initiations, as a time since 1970: to be kept for the next run, as the peer refuses what is not
    /// newer.
    #[must_use]
    pub fn last_timestamp(&self) -> Option<Duration> {
        self.handshakes.last_timestamp()
    }

    /// Whether there is a session to send with.
    #[must_use]
    pub fn has_session(&self, now: Instant) -> bool {
        self.slots.current().is_some_and(|session| !session.sealing.is_expired(now))
    }

    /// The counters of this tunnel.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Takes in a handshake message, with `queued` more of them waiting.
    ///
    /// # Errors
    /// The message went no further; it is counted.
    pub fn receive(
        &mut self,
        now: Now,
        from: Endpoint,
        message: &Handshake,
        queued: usize,
    ) -> Result<(), Discard> {
        let received = match message {
            Handshake::Initiation(initiation) => self
                .admit(now.boot, from, initiation, queued)
                .and_then(|()| self.consume_initiation(now, from, initiation)),
            Handshake::Response(response) => self
                .admit(now.boot, from, response, queued)
                .and_then(|()| self.consume_response(now.boot, from, response)),
            Handshake::CookieReply(reply) => self.handshakes.keep_cookie(now.boot, reply),
        };
        received.inspect_err(|reason| self.shared.stats.discard(*reason))
    }

    /// Takes in what the data threads met: to be called whenever they wake control.
    pub fn handle_facts(&mut self, now: Now) {
        if self.shared.facts.take_moved() {
            self.search.moved(self.shared.endpoint());
            self.tell_endpoint();
        }
        if let Some(index) = self.shared.facts.take_confirmed()
            && self.slots.confirm(index)
        {
            self.handshake_complete(now.boot, Role::Responder);
            self.shared.outbound_orders.give(Orders::FLUSH);
        }
        if self.shared.facts.handshake_is_wanted() && !self.timers.handshake_under_way() {
            self.initiate_if_needed(now);
        }
        if let Some(station) = self.shared.sides.take_loop() {
            self.events.push_back(Event::Loop(station));
        }
        self.see_flood(now.boot);
    }

    /// The next thing that only the owner can do, if any: to be done before what [`Tunnel::poll_transmit`] gives is sent.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next handshake message to send, if any.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to tell, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether outbound must be woken to obey.
    #[must_use]
    pub fn outbound_has_orders(&self) -> bool {
        self.shared.outbound_orders.any()
    }

    /// Whether inbound must be woken to obey.
    #[must_use]
    pub fn inbound_has_orders(&self) -> bool {
        self.shared.opening.pending()
    }

    /// An address inside the routed networks that a message came from. The message was discarded; if the address
    /// is reached outside the tunnel, [`Tunnel::set_outside`] lets the next one pass.
    #[must_use]
    pub fn take_suspect(&self) -> Option<IpAddr> {
        self.shared.take_suspect()
    }

    /// The way to `ip` does not lead through the tunnel, whatever the routed networks say.
    pub fn set_outside(&self, ip: IpAddr) {
        self.shared.set_outside(ip);
    }

    /// Mixes fresh randomness of the system into ours: to be called now and then.
    pub fn mix(&mut self, entropy: &[u8; 32]) {
        self.random.mix(entropy);
    }

    /// Erases every key of every session and handshake.
    pub fn erase(&mut self) {
        self.erase_sessions();
        self.handshakes.forget();
        self.search.race_over();
        self.timers.erased();
        self.shared.facts.handshake_dealt_with();
    }

    fn erase_sessions(&mut self) {
        self.slots = SessionSlots::default();
        self.install(None);
    }

    fn admit(
        &mut self,
        now: Instant,
        from: Endpoint,
        message: &impl Maced,
        queued: usize,
    ) -> Result<(), Discard> {
        let peer = self.shared.endpoint().map(|endpoint| endpoint.remote);
        let admitted = self.admission.admit(now, &mut self.random, from, peer, message, queued);
        admitted.map_err(|(reason, cookie)| {
            let message = cookie.map(Handshake::CookieReply);
            self.transmits.extend(message.map(|message| Transmit { endpoint: from, message }));
            reason
        })?;
        // Not before it is known to be meant for us: what anybody can send must not make control look up routes.
        if self.shared.may_be_inside(&from) { Err(Discard::SourceInside) } else { Ok(()) }
    }

    fn consume_initiation(
        &mut self,
        now: Now,
        from: Endpoint,
        message: &Initiation,
    ) -> Result<(), Discard> {
        let used = self.slots.indices().collect::<Vec<_>>();
        let (response, keys) =
            on_clean_stack(|| self.handshakes.answer(now.boot, &mut self.random, &used, message))?;
        // The endpoint stays until the peer confirms: what was captured and is replayed after a restart must not move it.
        if self.shared.endpoint().is_none() {
            self.shared.set_endpoint(from);
            self.remote_told = Some(from.remote);
        }
        self.shared.facts.received(now.boot);
        self.begin_session(now.boot, keys, Role::Responder);
        self.transmit(now.boot, from, Handshake::Response(response));
        self.timers.message_sent(now.boot);
        if self.shared.facts.handshake_is_wanted() {
            // It may have waited for an address only. If the peer confirms this session, it is dealt with.
            self.initiate(now);
        }
        self.unconfirmed_responses = self.unconfirmed_responses.saturating_add(1);
        if self.unconfirmed_responses == UNCONFIRMED_WORTH_TELLING {
            self.events.push_back(Event::NeverConfirmed(from));
        }
        Ok(())
    }

    fn consume_response(
        &mut self,
        now: Instant,
        from: Endpoint,
        message: &Response,
    ) -> Result<(), Discard> {
        let keys = on_clean_stack(|| self.handshakes.complete(now, message))?;
        self.shared.set_endpoint(from);
        self.tell_endpoint();
        self.shared.facts.received(now);
        self.begin_session(now, keys, Role::Initiator);
        self.handshake_complete(now, Role::Initiator);
        self.shared.outbound_orders.give(Orders::KEEPALIVE);
        Ok(())
    }

    /// Tells that the peer is somewhere else, if it was anywhere before.
    fn tell_endpoint(&mut self) {
        let Some(endpoint) = self.shared.endpoint() else {
            return;
        };
        let before = self.remote_told.replace(endpoint.remote);
        if before.is_some_and(|before| before != endpoint.remote) {
            self.events.push_back(Event::EndpointMoved(endpoint));
        }
    }

    fn begin_session(&mut self, now: Instant, keys: SessionKeys, role: Role) {
        let (sealing, opening) = on_clean_stack(|| halves(&keys, role, now));
        self.slots.add(Session { keys, role, sealing: Arc::new(sealing) });
        self.timers.session_derived(now);
        self.install(Some(opening));
    }

    /// Hands the data threads what they need of the slots.
    fn install(&self, opening: Option<OpeningHalf>) {
        self.shared.opening.give(opening, self.slots.indices());
        self.shared.sealing.store(self.slots.current().map(|session| session.sealing.clone()));
    }

    fn handshake_complete(&mut self, now: Instant, role: Role) {
        self.install(None);
        self.timers.handshake_complete(&mut self.random);
        self.shared.facts.handshake_dealt_with();
        self.unconfirmed_responses = 0;
        if let Some(endpoint) = self.shared.endpoint() {
            self.search.answered(now, endpoint.remote);
            self.events.push_back(Event::HandshakeCompleted { endpoint, role });
        }
    }

    fn transmit(&mut self, now: Instant, endpoint: Endpoint, message: Handshake) {
        self.shared.facts.sent(now);
        self.transmits.push_back(Transmit { endpoint, message });
    }
}

mod calls;
mod due;
mod flooded;
mod handover;
mod reconfigure;
#[cfg(test)]
mod tests;
