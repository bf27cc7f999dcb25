//! TCP over a wide-area path, through tunneld and without: `cargo bench --bench wide_area -- [--rounds N] [--seconds S]`.
//!
//! Two namespaces, a [`relay`] between them, one TCP stream from one to the other. Both ways have an MTU of 1420
//! bytes inside, so their segments are the same: with 1500 on the bare path, the 80 bytes less in each would alone
//! cost the tunnel 5.5 % wherever losses, and not the rate, set the pace. Where the rate does, the headers around
//! each packet leave 1420/1480 = 95.9 % at best.
//!
//! In each round both ways meet the same losses, packet by packet, so the ratio varies far less than either
//! figure. The path has a rate that the machine keeps up with: without one, a congestion control that does not mind
//! losses (BBR) would measure the processors.

mod lab;
#[path = "../relay/mod.rs"]
mod relay;
mod stream;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use lab::{Lab, Way};
use relay::Weather;
use stream::throughput;

/// Compares TCP through tunneld with TCP without, over paths of 20 and 100 ms that lose 0.1 and 1 % of the packets.
#[derive(Parser)]
struct Options {
    /// How often each path is measured both ways
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How long each stream is measured, after two seconds that are not
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Congestion control of the streams [default: that of the system]
    #[arg(long)]
    congestion: Option<String>,
    /// Megabits per second that pass, headers included
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Only the path of this round-trip time, in milliseconds
    #[arg(long)]
    rtt: Option<u64>,
    /// Only the path that loses so many packets of a thousand
    #[arg(long)]
    loss: Option<u32>,
    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Round-trip times in milliseconds.
const RTTS: [u64; 2] = [20, 100];
/// Of a thousand packets, in either direction.
const LOSSES: [u32; 2] = [1, 10];

fn main() -> Result<()> {
    let options = Options::parse();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "rtt     loss    direct Mb/s   tunnel Mb/s   tunnel/direct, median (least to most)"
    )?;
    for rtt in RTTS.into_iter().filter(|rtt| options.rtt.is_none_or(|only| only == *rtt)) {
        for loss in LOSSES.into_iter().filter(|loss| options.loss.is_none_or(|only| only == *loss))
        {
            let rounds = compare(&options, rtt, loss)?;
            let direct = spread(rounds.iter().map(|[direct, _]| *direct));
            let tunnel = spread(rounds.iter().map(|[_, tunnel]| *tunnel));
            let ratio = spread(rounds.iter().map(|[direct, tunnel]| tunnel / direct));
            writeln!(
                out,
                "{rtt:3} ms  {:.1} %  {:11.1}   {:11.1}   {:.3} ({:.3} to {:.3})",
                f64::from(loss) / 10.0,
                direct[1],
                tunnel[1],
                ratio[1],
                ratio[0],
                ratio[2],
            )?;
        }
    }
    Ok(())
}

/// Megabits per second of each round, directly and through the tunnel; which goes first alternates.
fn compare(options: &Options, rtt: u64, loss: u32) -> Result<Vec<[f64; 2]>> {
    let delay = Duration::from_millis(rtt) / 2;
    let clear = Weather { rate: Some(options.rate * 1_000_000), ..Weather::clear(delay) };
    let lossy = Weather { loss: f64::from(loss) / 1000.0, ..clear };
    let lab = Lab::new(clear)?;
    let time = Duration::from_secs(options.seconds);
    let congestion = options.congestion.as_deref();
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let mut ways = [Way::Direct, Way::Tunnel];
        if round % 2 == 1 {
            ways.reverse();
        }
        let mut figures = [0.0; 2];
        for way in ways {
            // Connections, and sessions, are made in clear weather.
            lab.relay.turn(clear, round);
            let turn = || lab.relay.turn(lossy, round);
            figures[way as usize] = throughput(&lab, way, time, congestion, turn)? / 1e6;
        }
        rounds.push(figures);
    }
    Ok(rounds)
}

/// The least, the median and the greatest.
fn spread(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let median = f64::midpoint(figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
    [figures[0], median, figures[figures.len() - 1]]
}
