//! A ping beside a TCP stream under a limit of the rate: tunneld's `rate_limit_out` beside OpenVPN's `shaper`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::lab::{self, Lab, Side};
use crate::peers::{self, Peer};
use crate::report::{Cpus, results::median};
use crate::signals;
use crate::story::check_machine;
use crate::traffic::{Flow, Payload, round_trips};
use crate::wait::seconds;

/// The subjects that can limit their rate.
const SUBJECTS: [&str; 2] = ["tunneld", "openvpn"];

/// The limit, and how often and for how long.
#[derive(Args)]
pub(crate) struct Shaping {
    /// The limit of host a, in Mbit/s
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    mbits: u64,

    /// How often each subject is measured; the medians count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Length of one stream; the pings take two seconds of it
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
}

/// What one round of a subject gave.
const COLUMNS: [&str; 5] = [
    "stream, Mbit/s",
    "ping idle, median, ms",
    "beside the stream, median, ms",
    "95th percentile, ms",
    "99th percentile, ms",
];

/// Measures each subject in turn, round by round, and prints a table of medians.
pub(crate) fn run(shaping: &Shaping) -> Result<()> {
    check_machine()?;
    signals::clean_up_with(lab::remove_own)?;
    lab::remove_orphans();
    let mut rows = SUBJECTS.map(|name| (name, COLUMNS.map(|_| Vec::new())));
    for round in 1..=shaping.rounds {
        for (name, figures) in &mut rows {
            println!("round {round} of {}: {name}", shaping.rounds);
            let peer = peers::ALL.into_iter().find(|peer| peer.subject.name == *name);
            match peer.map(|peer| measure(peer, shaping)) {
                Some(Ok(measured)) => {
                    figures.iter_mut().zip(measured).for_each(|(all, figure)| all.push(figure));
                }
                Some(Err(error)) => println!("{name}: {error:#}"),
                None => {}
            }
        }
    }
    println!("\n| limit {} Mbit/s | {} |", shaping.mbits, COLUMNS.join(" | "));
    println!("|{}", "---|".repeat(COLUMNS.len() + 1));
    for (name, figures) in &rows {
        let cells = figures
            .each_ref()
            .map(|all| median(all).map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}")));
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// Links two hosts, and measures from a to b.
fn measure(peer: &Peer, shaping: &Shaping) -> Result<[f64; COLUMNS.len()]> {
    let mut lab = Lab::new(Cpus::All)?;
    lab.limit = Some(shaping.mbits * 1_000_000);
    let link = peer.link(&lab)?;
    let to = link.address(Side::B);
    let idle = round_trips(&lab, to)?.percentile(50)?;
    let stream = Payload::Tcp { streams: 1 };
    let mut flow = Flow::begin(&lab, stream, Side::A, to, shaping.seconds)?;
    flow.wait_for_counting()?;
    let beside = round_trips(&lab, to)?;
    let percentiles =
        [50, 95, 99].map(|percent| beside.percentile(percent).unwrap_or(f64::INFINITY));
    let [median, most, nearly_all] = percentiles.map(|micros| micros / 1e3);
    Ok([flow.finish()?.rate() * 8.0 / 1e6, idle / 1e3, median, most, nearly_all])
}
