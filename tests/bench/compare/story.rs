//! The order of things: rounds, and in each of them every subject in turn.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::circumstances::look_around;
use crate::idle;
use crate::lab::{self, Lab};
use crate::measures::Bench;
use crate::options::Options;
use crate::peers::{self, Peer};
use crate::report::{Cpus, Kind, Measure, Results, render, replace_between_markers};
use crate::signals;
use crate::traffic::WARM_UP;
use crate::wide_area::{self, Conditions};

/// What a round of one subject takes besides its measures: namespaces, daemons, the first ping.
const START: f64 = 1.5;

/// What the pings of a round take.
const PINGS: f64 = 6.0;

/// The path over which TCP through tunneld is held against TCP without. The congestion control is the kernel's own default,
/// whatever the system's: losses are its only sign of congestion, so they set its pace.
const WIDE_AREA: Conditions<'static> =
    Conditions { rtt: 20, loss: 1, rate: 100, congestion: Some("cubic") };

/// How often; single figures vary with where in the stream the losses fall.
const WIDE_AREA_ROUNDS: u64 = 5;

/// Runs the whole comparison.
pub(crate) fn run(options: &Options) -> Result<()> {
    check_machine()?;
    if let Some(path) = &options.write {
        // What cannot be written is to be known before it has taken minutes to measure.
        write(path, "A run is under way, or was broken off.")?;
    }
    signals::clean_up_with(lab::remove_own)?;
    lab::remove_orphans();
    let chosen = choose(&options.peers)?;
    let mut results = Results::default();
    let present = introduce(&chosen, &mut results);
    println!("This takes about {:.0} minutes.", minutes(options, present.len()).ceil());

    for round in 0..options.rounds as usize {
        let first = round % present.len().max(1);
        for peer in present[first..].iter().chain(&present[..first]) {
            println!("round {} of {}: {}", round + 1, options.rounds, peer.subject.name);
            for &cpus in cpus(options) {
                measure(peer, cpus, options, &mut results);
            }
        }
    }
    if !options.idle_seconds.is_zero() {
        println!("idle, {} s", options.idle_seconds.as_secs_f64());
        idle(&present, options, &mut results);
    }
    if !options.wide_area_seconds.is_zero() {
        println!("wide-area path, {WIDE_AREA_ROUNDS} rounds");
        wide_area(&present, options, &mut results);
    }

    let report = render(&results, &look_around(options)?);
    println!("\n{report}");
    options.write.as_deref().map_or(Ok(()), |path| write(path, &report))
}

/// Puts the report into a document.
fn write(path: &Path, report: &str) -> Result<()> {
    let document =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(path, replace_between_markers(&document, report)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn check_machine() -> Result<()> {
    if !geteuid().is_root() {
        bail!("this needs root: try `sudo -E env \"PATH=$PATH\" cargo bench --bench compare`");
    }
    if !fs::exists("/dev/net/tun").unwrap_or(false) {
        bail!("there is no /dev/net/tun: try `modprobe tun`");
    }
    Ok(())
}

/// The subjects of these names; all if none is named.
fn choose(names: &[String]) -> Result<Vec<&'static Peer>> {
    let known = || peers::ALL.map(|peer| peer.subject.name).join(", ");
    for name in names {
        if !peers::ALL.iter().any(|peer| peer.subject.name == name) {
            bail!("--peers: there is no {name:?}; there are {}", known());
        }
    }
    let is_meant = |name| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(peers::ALL.into_iter().filter(|peer| is_meant(peer.subject.name)).collect())
}

/// Says who takes part and who does not, and why; those that do.
fn introduce(chosen: &[&'static Peer], results: &mut Results) -> Vec<&'static Peer> {
    let mut present = Vec::new();
    for peer in chosen {
        match peer.version() {
            Ok(version) => {
                println!("{}: {version}; {}", peer.subject.name, peer.subject.configuration);
                results.add_subject(peer.subject, version);
                present.push(*peer);
            }
            Err(error) => {
                results.add_subject(peer.subject, "-".to_owned());
                trouble(results, peer, format_args!("{error:#}"));
            }
        }
    }
    present
}

fn cpus(options: &Options) -> &'static [Cpus] {
    if options.skip_pinned { &[Cpus::All] } else { &[Cpus::All, Cpus::One] }
}

/// How long the run will take.
fn minutes(options: &Options, subjects: usize) -> f64 {
    let one = (options.seconds + WARM_UP).as_secs_f64();
    // TCP there, back, four, both; UDP twice.
    let flows = 6.0;
    let mut round = START + PINGS + flows * one;
    if !options.skip_pinned {
        round += START + Measure::PINNED.len() as f64 * one;
    }
    let idle = options.idle_seconds + idle::SETTLE;
    let wide_area = options.wide_area_seconds.as_secs_f64() * 2.0 * WIDE_AREA_ROUNDS as f64;
    let seconds =
        round * subjects as f64 * f64::from(options.rounds) + idle.as_secs_f64() + wide_area;
    seconds / 60.0
}

/// Brings a subject up, measures it, and takes it down.
fn measure(peer: &Peer, cpus: Cpus, options: &Options, results: &mut Results) {
    let lab = match Lab::new(cpus) {
        Ok(lab) => lab,
        Err(error) => return trouble(results, peer, format_args!("{error:#}")),
    };
    let link = match peer.link(&lab) {
        Ok(link) => link,
        Err(error) => return trouble(results, peer, format_args!("{error:#}")),
    };
    let bench = Bench { lab: &lab, link: &link, seconds: options.seconds };
    for (measure, figure) in bench.run() {
        match figure {
            Ok(figure) => results.add(&peer.subject, cpus, measure, figure),
            Err(error) => trouble(results, peer, format_args!("{}: {error:#}", measure.title())),
        }
    }
}

/// Measures all tunnels that have nothing to do.
fn idle(present: &[&'static Peer], options: &Options, results: &mut Results) {
    let tunnels: Vec<_> =
        present.iter().copied().filter(|peer| peer.subject.kind != Kind::NoTunnel).collect();
    for (peer, rate) in idle::wakeups(&tunnels, options.idle_seconds) {
        match rate {
            Ok(rate) => results.add(&peer.subject, Cpus::All, Measure::Wakeups, rate),
            Err(error) => trouble(results, peer, format_args!("idle: {error:#}")),
        }
    }
}

/// Measures TCP over a wide-area path, without a tunnel and through tunneld.
fn wide_area(present: &[&'static Peer], options: &Options, results: &mut Results) {
    let find = |kind| present.iter().find(|peer| peer.subject.kind == kind);
    let (Some(bare), Some(tunneld)) = (find(Kind::NoTunnel), find(Kind::Tunneld)) else {
        return;
    };
    match wide_area::compare(&WIDE_AREA, WIDE_AREA_ROUNDS, options.wide_area_seconds) {
        Ok(rounds) => {
            for figures in rounds {
                for (peer, figure) in [bare, tunneld].into_iter().zip(figures) {
                    results.add(&peer.subject, Cpus::All, Measure::WideArea, figure);
                }
            }
        }
        Err(error) => trouble(results, tunneld, format_args!("wide-area path: {error:#}")),
    }
}

/// Says what went wrong, now and in the report.
fn trouble(results: &mut Results, peer: &Peer, what: std::fmt::Arguments<'_>) {
    let trouble = format!("{}: {what}", peer.subject.name);
    println!("  {trouble}");
    results.add_trouble(trouble);
}
