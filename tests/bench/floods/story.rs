//! The order of things: subject by subject, flood by flood.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;
use nix::unistd::geteuid;

use crate::attacker::{Attacker, Target};
use crate::caller::call;
use crate::eavesdropper::Eavesdropper;
use crate::lab::{self, Lab, Side};
use crate::memory::Growth;
use crate::options::Options;
use crate::peers::{self, Link, Peer};
use crate::report::Cpus;
use crate::signals;
use crate::tables::{Row, render, title};
use crate::traffic::{Flow, Payload, WARM_UP};
use crate::wait::{now, until};
use crate::weapons::Weapon;

/// New handshakes beside each flood.
const CALLS: usize = 3;

/// What a flood of one subject takes besides its measures.
const REST: Duration = Duration::from_secs(6);

/// Runs the whole benchmark.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(geteuid().is_root(), "this needs root");
    ensure!(
        fs::exists("/dev/net/tun").unwrap_or(false),
        "there is no /dev/net/tun: try `modprobe tun`"
    );
    signals::clean_up_with(lab::remove_own)?;
    lab::remove_orphans();
    let floods = match &options.floods[..] {
        [] => Weapon::value_variants(),
        some => some,
    };
    let subjects = options.peers.iter().map(|name| subject(name)).collect::<Result<Vec<_>>>()?;
    let one = (options.seconds + WARM_UP) * 6 + REST;
    let count = (floods.len() * subjects.len()) as f64;
    println!("This takes about {:.0} minutes.", (one.as_secs_f64() * count / 60.0).ceil());
    let mut rows = Vec::new();
    for &weapon in floods {
        for peer in &subjects {
            println!("{}, {}", title(weapon), peer.subject.name);
            match measure(peer, weapon, options.seconds) {
                Ok(row) => rows.push(row),
                Err(error) => println!("  {error:#}"),
            }
        }
    }
    println!("\n{}", render(&rows));
    Ok(())
}

fn subject(name: &str) -> Result<&'static Peer> {
    let Some(peer) = peers::ALL.into_iter().find(|peer| peer.subject.name == name) else {
        bail!("--peers: there is no {name:?}");
    };
    peer.program()?;
    Ok(peer)
}

/// One flood of one subject.
fn measure(peer: &Peer, weapon: Weapon, seconds: Duration) -> Result<Row> {
    let lab = Lab::new(Cpus::All)?;
    let attacker = Attacker::new(&lab)?;
    let eavesdropper = Eavesdropper::listen(&lab)?;
    let seen = &eavesdropper.0;
    let link = peer.link(&lab)?;
    let bench = Bench { lab: &lab, link: &link, seconds };
    // The streams beside a flood, its rate, and the flood, which goes on.
    let beside = |target| {
        let (flood, began) = (attacker.flood(weapon, target, Arc::clone(&seen.index))?, now());
        let streams = bench.streams()?;
        let rate = flood.sent() as f64 / began.elapsed().as_secs_f64();
        anyhow::Ok((streams, rate, flood))
    };

    let calm = bench.streams()?;
    until("a session is seen", || Ok((seen.index.load(Ordering::Relaxed) != 0).then_some(())))?;
    let (closed, closed_rate, flood) = beside(Target::Closed)?;
    flood.end()?;

    let growth = Growth::watch(link.pid(Side::B).context("there is no daemon")?)?;
    let count = || [&seen.sessions, &seen.initiations].map(|count| count.load(Ordering::Relaxed));
    let before = count();
    let (flooded, rate, flood) = beside(Target::Daemon)?;
    let after = count();
    let calls = (0..CALLS).map(|_| call(&lab).ok()).collect();
    flood.end()?;
    Ok(Row {
        subject: peer.subject.name,
        weapon,
        calm,
        closed,
        flooded,
        rates: [closed_rate, rate],
        rekeys: after[0] - before[0],
        initiations: after[1] - before[1],
        calls,
        growth: growth.mebibytes(),
    })
}

struct Bench<'a> {
    lab: &'a Lab,
    link: &'a Link,
    seconds: Duration,
}

impl Bench<'_> {
    /// Gb/s of one TCP stream from host a to host b, then of one from host b to host a.
    fn streams(&self) -> Result<[f64; 2]> {
        let stream = |from: Side| {
            let to = self.link.address(from.other());
            let flow = Flow::begin(self.lab, Payload::Tcp { streams: 1 }, from, to, self.seconds);
            // A stream that cannot even begin, or that nothing comes through, has no speed.
            flow.and_then(Flow::finish).map_or(0.0, |counted| counted.rate() * 8.0 / 1e9)
        };
        Ok([stream(Side::A), stream(Side::B)])
    }
}
