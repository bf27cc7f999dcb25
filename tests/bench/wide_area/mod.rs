//! TCP over a wide-area path, through tunneld and without.
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

use std::time::Duration;

use anyhow::Result;

use lab::{Lab, Way};
use relay::Weather;
use stream::throughput;

/// A path, and who uses it.
pub(crate) struct Conditions<'a> {
    /// Milliseconds there and back.
    pub(crate) rtt: u64,
    /// Of a thousand packets, in either direction.
    pub(crate) loss: u32,
    /// Megabits per second that pass, headers included.
    pub(crate) rate: u64,
    /// Congestion control of the streams; `None` is that of the system.
    pub(crate) congestion: Option<&'a str>,
}

/// Megabits per second of each round, directly and through the tunnel; which goes first alternates. Each is measured for
/// `time`, after two seconds that are not.
pub(crate) fn compare(
    conditions: &Conditions<'_>,
    rounds: u64,
    time: Duration,
) -> Result<Vec<[f64; 2]>> {
    let Conditions { rtt, loss, rate, congestion } = *conditions;
    let clear =
        Weather { rate: Some(rate * 1_000_000), ..Weather::clear(Duration::from_millis(rtt) / 2) };
    let lossy = Weather { loss: f64::from(loss) / 1000.0, ..clear };
    let lab = Lab::new(clear)?;
    let mut results = Vec::new();
    for round in 0..rounds {
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
        results.push(figures);
    }
    Ok(results)
}
