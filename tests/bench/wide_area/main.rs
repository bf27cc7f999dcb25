//! TCP over a wide-area path, through tunneld and without: `cargo bench --bench wide_area -- [--rounds N] [--seconds S]`.
//!
//! Two namespaces, a [`relay`] between them, one TCP stream from one to the other. Both ways have the same MTU
//! of 1420 bytes inside, thus the same segments: otherwise the 80 bytes that a datagram has more would already
//! make a difference of 5 %, which no tunnel can avoid. In each round both meet the same losses, packet by
//! packet, so their ratio varies far less than either figure.

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
    let clear = Weather::clear(Duration::from_millis(rtt) / 2);
    let lossy = Weather { loss: f64::from(loss) / 1000.0, ..clear };
    let lab = Lab::new(clear, options.congestion.as_deref())?;
    let time = Duration::from_secs(options.seconds);
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
            figures[way as usize] =
                throughput(&lab, way, time, || lab.relay.turn(lossy, round))? / 1e6;
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
