//! TCP over four wide-area paths, through tunneld and without: `cargo bench --bench wide_area -- [--rounds N] [--seconds S]`.

#[path = "mod.rs"]
mod wide_area;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use wide_area::{Conditions, compare};

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
            let congestion = options.congestion.as_deref();
            let conditions = Conditions { rtt, loss, rate: options.rate, congestion };
            let rounds =
                compare(&conditions, options.rounds, Duration::from_secs(options.seconds))?;
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

/// The least, the median and the greatest.
fn spread(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let median = f64::midpoint(figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
    [figures[0], median, figures[figures.len() - 1]]
}
