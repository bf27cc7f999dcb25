//! How often daemons wake up that have nothing to do but to keep their link alive. All subjects idle at the same time,
//! each in a lab of its own: those that sleep do not disturb each other.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::lab::Lab;
use crate::peers::{Link, Peer};
use crate::report::Cpus;
use crate::usage::Usage;
use crate::wait::now;

/// A link becomes idle some time after its last packet: WireGuard answers what came with a keepalive after 10 s.
pub(crate) const SETTLE: Duration = Duration::from_secs(12);

/// Wake-ups in a second of one daemon, the mean of both ends, or why nobody knows; for each of these subjects.
pub(crate) fn wakeups<'a>(peers: &[&'a Peer], seconds: Duration) -> Vec<(&'a Peer, Result<f64>)> {
    let idlers: Vec<_> = peers.iter().map(|&peer| (peer, Idler::start(peer))).collect();
    thread::sleep(SETTLE);
    let began = now();
    let before: Vec<_> =
        idlers.iter().map(|(_, idler)| idler.as_ref().map(Idler::switches)).collect();
    thread::sleep(seconds);
    let passed = began.elapsed().as_secs_f64();
    let rate =
        |idler: &Idler, before: Result<f64>| Ok((idler.switches()? - before?) / 2.0 / passed);
    let rates: Vec<_> = idlers
        .iter()
        .zip(before)
        .map(|((peer, idler), before)| match (idler, before) {
            (Ok(idler), Ok(before)) => (*peer, rate(idler, before)),
            (Err(error), _) | (_, Err(error)) => (*peer, Err(anyhow::anyhow!("{error:#}"))),
        })
        .collect();
    rates
}

/// A link that does nothing.
struct Idler {
    link: Link,
    _lab: Lab,
}

impl Idler {
    fn start(peer: &Peer) -> Result<Self> {
        let lab = Lab::new(Cpus::All)?;
        Ok(Self { link: peer.link(&lab)?, _lab: lab })
    }

    /// Of both daemons, since they started.
    fn switches(&self) -> Result<f64> {
        match self.link.usage()? {
            Some(usages) => Ok(usages.iter().map(|usage: &Usage| usage.switches).sum()),
            None => bail!("no daemon"),
        }
    }
}
