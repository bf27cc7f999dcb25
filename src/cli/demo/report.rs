//! What the demonstration found: a table as it goes, or one JSON object at the end.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::tcp::Transfer;

/// What was measured; `null` where it did not come to that.
#[derive(Default, Serialize)]
pub(super) struct Figures {
    /// Whether everything passed.
    ok: bool,
    /// Median round trip over both directions, in microseconds.
    pub(super) ping_ipv4_us: Option<f64>,
    /// The same over IPv6.
    pub(super) ping_ipv6_us: Option<f64>,
    /// TCP from host a to host b, in 10^9 bits per second.
    pub(super) tcp_a_to_b_gbps: Option<f64>,
    /// TCP from host b to host a.
    pub(super) tcp_b_to_a_gbps: Option<f64>,
    /// What failed.
    error: Option<String>,
}

/// The report in the making.
pub(super) struct Report {
    json: bool,
    pub(super) figures: Figures,
}

impl Report {
    /// A report with its heading printed.
    pub(super) fn new(json: bool) -> Result<Self> {
        let report = Self { json, figures: Figures::default() };
        report.print(
            "Two hosts, a and b, on this machine; a daemon in each; a tunnel between them.\n",
        )?;
        Ok(report)
    }

    /// Prints the line of a step that passed, as `describe` puts it, or failed.
    pub(super) fn step<T>(
        &self,
        name: &str,
        outcome: Result<T>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        match &outcome {
            Ok(value) => self.print(format_args!("{name:<11} ok      {}", describe(value)))?,
            Err(error) => self.print(format_args!("{name:<11} FAILED  {error:#}"))?,
        }
        outcome.map_err(|error| error.context(format!("{name} failed")))
    }

    /// The step of pings; gives the median in microseconds.
    pub(super) fn ping(&self, name: &str, outcome: Result<Vec<Duration>>) -> Result<f64> {
        let outcome = outcome.map(|mut trips| {
            trips.sort_unstable();
            (trips.len(), trips[trips.len() / 2].as_secs_f64() * 1e6)
        });
        let (_, median) = self.step(name, outcome, |(trips, median)| {
            format!("{median:.0} µs, the median of {trips} round trips")
        })?;
        Ok(rounded(median, 10.0))
    }

    /// The step of a transfer; gives its rate in 10^9 bits per second.
    pub(super) fn transfer(&self, name: &str, outcome: Result<Transfer>) -> Result<f64> {
        let transfer = self.step(name, outcome, |transfer| {
            format!(
                "{:.2} Gb/s, {} MB in {:.1} s, every byte compared",
                transfer.gbps(),
                transfer.bytes / 1_000_000,
                transfer.took.as_secs_f64()
            )
        })?;
        Ok(rounded(transfer.gbps(), 1000.0))
    }

    /// Shows the log of a daemon, for a person who looks for what went wrong.
    pub(super) fn log(&self, host: &str, log: &str) -> Result<()> {
        writeln!(io::stderr(), "\n--- log of the daemon of host {host}\n{log}---")?;
        Ok(())
    }

    /// Prints how it ended, and passes the outcome on.
    pub(super) fn finish(mut self, outcome: Result<()>) -> Result<()> {
        self.figures.ok = outcome.is_ok();
        self.figures.error = outcome.as_ref().err().map(|error| format!("{error:#}"));
        if self.json {
            crate::cli::print(&crate::cli::json(&self.figures)?)?;
        } else if outcome.is_ok() {
            self.print("\nEverything passed.")?;
        }
        outcome.map_err(|error| anyhow!("the demo did not pass: {error:#}"))
    }

    /// A line for a person; nothing where a program reads.
    fn print(&self, line: impl Display) -> Result<()> {
        if !self.json {
            writeln!(io::stdout(), "{line}")?;
        }
        Ok(())
    }
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// `value` to so many parts of one.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
