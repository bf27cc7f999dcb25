//! Two ends with a session between them, and the datagrams that one has for the other.

use std::net::SocketAddr;
use std::time::Duration;

use tunneld::crypto::{Cipher, PresharedKey, PrivateKey};
use tunneld::proto::{Inbound, Instant, Now, Outbound, Parameters, Received, Tunnel, tunnel};
use tunneld::wire::{DatagramSink, Ecn, Endpoint, Layer, Profile, Run};

/// When everything happens: sessions do not age here.
pub(crate) const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// What seals at one end, what opens at the other.
pub(crate) struct Ends {
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    /// Where the sealing end is.
    pub(crate) from: Endpoint,
}

/// A sink of one buffer: datagrams lie there back to back, as UDP GRO would deliver them.
#[derive(Default)]
pub(crate) struct Datagrams {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of each datagram but the last.
    pub(crate) stride: usize,
}

impl Datagrams {
    /// Makes room for what comes next.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl DatagramSink for Datagrams {
    fn reserve(&mut self, run: Run) -> &mut [u8] {
        self.stride = run.stride;
        let start = self.bytes.len();
        self.bytes.resize(start + run.total(), 0);
        &mut self.bytes[start..]
    }
}

impl Ends {
    /// Lets both ends shake hands.
    pub(crate) fn linked(cipher: Cipher) -> Self {
        let now = Now { boot: NOW, unix: Duration::from_secs(1_700_000_000) };
        let [at_a, at_b] = [A, B].map(endpoint);
        let (mut a, mut outbound, mut from_b) = tunnel(&parameters(cipher, 1, 2, at_b), &[1; 32]);
        let (mut b, _, mut inbound) = tunnel(&parameters(cipher, 2, 1, at_a), &[2; 32]);

        let mut waiting = Datagrams::default();
        let empty: &[u8] = &PACKET;
        outbound.send(NOW, &empty, &mut waiting).expect("the packet is staged");
        a.handle_facts(now);
        hand_over(&mut a, &mut b, at_a, now);
        hand_over(&mut b, &mut a, at_b, now);
        from_b.obey();
        outbound.obey(NOW, &mut waiting);
        inbound.obey();
        let received = inbound.receive(NOW, at_a, Ecn::NotEct, &mut waiting.bytes);
        assert!(matches!(received, Ok(Received::Packet(_))), "the session works");
        inbound.finish(NOW);
        Self { outbound, inbound, from: at_a }
    }
}

/// Brings the handshake message that one end has to the other.
fn hand_over(from: &mut Tunnel, to: &mut Tunnel, from_endpoint: Endpoint, now: Now) {
    let transmit = from.poll_transmit().expect("there is a message");
    to.receive(now, from_endpoint, &transmit.message, 0).expect("it is a good one");
}

fn parameters(cipher: Cipher, ours: u8, theirs: u8, endpoint: Endpoint) -> Parameters {
    Parameters {
        profile: Profile::Tunneld { cipher, layer: Layer::Ip },
        private_key: PrivateKey::clamped([ours; 32]),
        public_key: PrivateKey::clamped([theirs; 32]).public_key(),
        preshared_key: PresharedKey::default(),
        allowed_ips: vec![format!("10.77.0.{theirs}/32").parse().expect("a network")],
        addresses: Vec::new(),
        routed: Vec::new(),
        endpoints: vec![vec![endpoint.remote]],
        last_timestamp: None,
        persistent_keepalive: None,
        mtu: 1420,
        frames: Default::default(),
    }
}

fn endpoint(address: [u8; 4]) -> Endpoint {
    Endpoint::new(SocketAddr::from((address, 51820)))
}

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [192, 0, 2, 2];

/// An IPv4 packet of no content from a to b.
const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
