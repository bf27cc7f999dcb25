//! What is done to a subject that is up.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::{Lab, Side};
use crate::peers::Link;
use crate::report::{Cpus, Measure};
use crate::traffic::{Counted, Flow, Payload, Trips, round_trips};
use crate::usage::Usage;

/// A stream that loads the link while something else is measured ends when that does, before this.
const LONG: Duration = Duration::from_secs(60);

const ONE_STREAM: Payload = Payload::Tcp { streams: 1 };

/// A figure, or why there is none.
pub(crate) type Figure = (Measure, Result<f64>);

/// Measures a link.
pub(crate) struct Bench<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) link: &'a Link,
    pub(crate) seconds: Duration,
}

impl Bench<'_> {
    /// Everything that is measured round by round.
    pub(crate) fn run(&self) -> Vec<Figure> {
        match self.lab.cpus() {
            Cpus::All => [
                self.pings_when_idle(),
                self.one_stream_each_way(),
                vec![
                    (Measure::TcpFour, self.gigabits(Payload::Tcp { streams: 4 })),
                    (Measure::TcpBoth, self.both_ways()),
                ],
                self.pings_under_load(),
                vec![
                    (Measure::Udp100, self.kilopackets(100)),
                    (Measure::Udp1300, self.kilopackets(1300)),
                ],
                self.memory(),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Cpus::One => vec![
                (
                    Measure::TcpThere,
                    self.one_stream(Side::A).map(|stream| gigabits(stream.counted)),
                ),
                (Measure::TcpBack, self.one_stream(Side::B).map(|stream| gigabits(stream.counted))),
                (Measure::TcpBoth, self.both_ways()),
                (Measure::Udp100, self.kilopackets(100)),
            ],
        }
    }

    /// The speed of one stream either way, and the CPU time that a GB of them took.
    fn one_stream_each_way(&self) -> Vec<Figure> {
        let streams = [Side::A, Side::B].map(|from| self.one_stream(from));
        let cpu = match &streams {
            [Ok(there), Ok(back)] => there.cpu.zip(back.cpu).map(|(one, other)| {
                (one + other) / ((there.counted.count + back.counted.count) / 1e9)
            }),
            _ => None,
        };
        let measures = [Measure::TcpThere, Measure::TcpBack];
        let mut figures: Vec<Figure> = measures
            .into_iter()
            .zip(streams)
            .map(|(measure, stream)| (measure, stream.map(|stream| gigabits(stream.counted))))
            .collect();
        figures.extend(cpu.map(|cpu| (Measure::Cpu, Ok(cpu))));
        figures
    }

    fn one_stream(&self, from: Side) -> Result<Stream> {
        let mut flow = self.flow(ONE_STREAM, from, self.seconds)?;
        flow.wait_for_counting()?;
        let before = self.cpu()?;
        let counted = flow.finish()?;
        let after = self.cpu()?;
        Ok(Stream { counted, cpu: after.zip(before).map(|(after, before)| after - before) })
    }

    /// The speed of some TCP streams from host a to host b.
    fn gigabits(&self, payload: Payload) -> Result<f64> {
        Ok(gigabits(self.flow(payload, Side::A, self.seconds)?.finish()?))
    }

    /// The sum of a stream each way at the same time.
    fn both_ways(&self) -> Result<f64> {
        let there = self.flow(ONE_STREAM, Side::A, self.seconds)?;
        let back = self.flow(ONE_STREAM, Side::B, self.seconds)?;
        Ok(gigabits(there.finish()?) + gigabits(back.finish()?))
    }

    /// Thousands of datagrams of so many bytes that arrive in a second.
    fn kilopackets(&self, bytes: usize) -> Result<f64> {
        let flow = self.flow(Payload::Udp { bytes }, Side::A, self.seconds)?;
        Ok(flow.finish()?.rate() / 1e3)
    }

    fn pings_when_idle(&self) -> Vec<Figure> {
        let trips = round_trips(self.lab, self.link.address(Side::B));
        percentiles([Measure::PingIdle, Measure::PingIdle99], &trips)
    }

    /// The stream goes the way of the requests.
    fn pings_under_load(&self) -> Vec<Figure> {
        let trips = self.flow(ONE_STREAM, Side::A, LONG).and_then(|mut flow| {
            flow.wait_for_counting()?;
            round_trips(self.lab, self.link.address(Side::B))
        });
        percentiles([Measure::PingLoaded, Measure::PingLoaded99], &trips)
    }

    /// What the larger of the daemons has come to after all the traffic.
    fn memory(&self) -> Vec<Figure> {
        let larger = |usages: [Usage; 2]| usages[0].resident.max(usages[1].resident) / 1e6;
        match self.usage() {
            Ok(None) => vec![],
            Ok(Some(usages)) => vec![(Measure::Memory, Ok(larger(usages)))],
            Err(error) => vec![(Measure::Memory, Err(error))],
        }
    }

    fn flow(&self, payload: Payload, from: Side, seconds: Duration) -> Result<Flow> {
        Flow::begin(self.lab, payload, from, self.link.address(from.other()), seconds)
    }

    /// CPU time of both daemons; `None` without a tunnel.
    fn cpu(&self) -> Result<Option<f64>> {
        Ok(self.usage()?.map(|usages| usages[0].cpu + usages[1].cpu))
    }

    fn usage(&self) -> Result<Option<[Usage; 2]>> {
        self.link.usage().context("cannot see what the daemons use")
    }
}

/// One TCP stream.
struct Stream {
    counted: Counted,
    /// Of both daemons.
    cpu: Option<f64>,
}

fn gigabits(counted: Counted) -> f64 {
    counted.rate() * 8.0 / 1e9
}

/// The median and the 99th percentile, under these names.
fn percentiles(names: [Measure; 2], trips: &Result<Trips>) -> Vec<Figure> {
    let figure = |percent| match trips {
        Ok(trips) => trips.percentile(percent),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    vec![(names[0], figure(50)), (names[1], figure(99))]
}
