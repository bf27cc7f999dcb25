//! New handshakes of the real peer: a second program on host a, with its key, on another port, as after a restart.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use tunneld::proto::{Event, Instant, Now, Parameters, Tunnel, tunnel};
use tunneld::wire::{Endpoint, Handshake, Profile};

use crate::lab::{Lab, PORT, Side, inside};
use crate::peers::private_key;

/// How long a handshake may take: as long as the protocol goes on trying.
const PATIENCE: Duration = Duration::from_secs(90);

/// The timestamps of two handshakes differ if so much is between them.
const PAUSE: Duration = Duration::from_millis(100);

/// A handshake with host b from host a; how long it took.
pub(crate) fn call(lab: &Lab) -> Result<Duration> {
    thread::sleep(PAUSE);
    let thread = inside(&lab.namespace(Side::A), || {
        let socket = UdpSocket::bind((Side::A.outer(), 0)).context("cannot call")?;
        let to = SocketAddr::from((Side::B.outer(), PORT));
        let began = wall();
        let now = || {
            let unix = wall();
            Now { boot: Instant::from_nanos(1 + (unix - began).as_nanos() as u64), unix }
        };
        handshake(&socket, to, now)?;
        Ok(wall() - began)
    })?;
    thread.join().map_err(|_| anyhow!("a thread is gone"))?
}

fn handshake(socket: &UdpSocket, to: SocketAddr, now: impl Fn() -> Now) -> Result<()> {
    let mut tunnel = peer(to);
    tunnel.start(now());
    let mut datagram = [0; 256];
    loop {
        while let Some(transmit) = tunnel.poll_transmit() {
            socket.send_to(transmit.message.as_bytes(), to).context("cannot send")?;
        }
        while let Some(event) = tunnel.poll_event() {
            if let Event::HandshakeCompleted { .. } = event {
                return Ok(());
            }
        }
        let Now { boot, .. } = now();
        if boot.as_nanos() > PATIENCE.as_nanos() as u64 {
            bail!("no handshake within {} s", PATIENCE.as_secs());
        }
        let due = tunnel.poll_timeout().context("it does not try any more")?.0;
        socket.set_read_timeout(Some(due.since(boot).max(Duration::from_millis(1))))?;
        if let Ok((length, from)) = socket.recv_from(&mut datagram)
            && let Ok(message) = Handshake::parse(&datagram[..length])
        {
            // What is not for us is no error.
            let _ = tunnel.receive(now(), Endpoint::new(from), &message, 0);
        }
        tunnel.handle_timeout(now());
    }
}

/// Host a's side of the tunnel, without any session.
fn peer(endpoint: SocketAddr) -> Tunnel {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&wall().as_nanos().to_le_bytes());
    let parameters = Parameters {
        profile: Profile::default(),
        private_key: private_key(Side::A),
        public_key: private_key(Side::B).public_key(),
        preshared_key: [0; 32].into(),
        allowed_ips: Vec::new(),
        addresses: Vec::new(),
        routed: Vec::new(),
        endpoints: vec![vec![endpoint]],
        last_timestamp: None,
        persistent_keepalive: Some(Duration::from_secs(25)),
        mtu: 1420,
        frames: Default::default(),
    };
    tunnel(&parameters, &seed).0
}

#[expect(clippy::disallowed_methods, reason = "the other end goes by the real clock")]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
