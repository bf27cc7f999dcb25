//! The attacker: a third host with a cable to host b, which sends all that it does not know another way for through it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use anyhow::{Context as _, Result, anyhow};

use crate::flood::Flood;
use crate::lab::{Lab, PORT, Side, inside, ip};
use crate::peers::private_key;
use crate::weapons::{Aim, Magazine, Weapon};

/// Either end of the cable.
const CABLE: &str = "street";

/// The attacker's address, and host b's on that cable.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const VICTIM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// The attacker's processor is not the victim's: it does not wait for its turn.
const NICE: i8 = -20;

/// A port of host b at which nobody listens.
const CLOSED: u16 = 9;

/// Where a flood goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A port where nobody listens.
    Closed,
    /// The daemon.
    Daemon,
}

impl Target {
    fn address(self) -> SocketAddrV4 {
        SocketAddrV4::new(VICTIM, if self == Self::Closed { CLOSED } else { PORT })
    }
}

/// The third host of a lab, which is removed with it.
pub(crate) struct Attacker {
    namespace: String,
}

impl Attacker {
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let namespace = lab.add_host('x')?;
        let victim = lab.namespace(Side::B);
        // Or nobody could pretend to be somebody else.
        inside(&victim, || {
            for which in ["all", "default"] {
                fs::write(format!("/proc/sys/net/ipv4/conf/{which}/rp_filter"), "0")?;
            }
            Ok(())
        })?
        .join()
        .map_err(|_| anyhow!("a thread is gone"))?
        .context("cannot let any source pass")?;
        ip(&format!("-n {namespace} link add {CABLE} type veth peer name {CABLE} netns {victim}"))?;
        for (host, address) in [(&namespace, ATTACKER), (&victim, VICTIM)] {
            ip(&format!("-n {host} address add {address}/24 dev {CABLE}"))?;
            ip(&format!("-n {host} link set {CABLE} up"))?;
        }
        // What host b answers to made-up sources goes somewhere, as it does on the internet.
        ip(&format!("-n {victim} route add default via {ATTACKER}"))?;
        Ok(Self { namespace })
    }

    /// Begins a flood; `index` is that of a live session, which may change.
    pub(crate) fn flood(
        &self,
        weapon: Weapon,
        target: Target,
        index: Arc<AtomicU32>,
    ) -> Result<Flood> {
        let aim = Aim {
            attacker: SocketAddrV4::new(ATTACKER, 4000),
            peer: SocketAddrV4::new(Side::A.outer(), PORT),
            target: target.address(),
            public_key: private_key(Side::B).public_key(),
        };
        let magazine = Magazine::new(weapon, &aim)?;
        Flood::begin(magazine, index, NICE, u64::MAX, |work| inside(&self.namespace, work))
    }
}
