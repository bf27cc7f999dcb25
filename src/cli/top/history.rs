//! What was seen of a daemon, second by second: the rates between one status and the next.

use std::collections::VecDeque;

use crate::daemon::status::Status;

/// Samples that are kept: five minutes of seconds.
const SAMPLES: usize = 300;

/// Rates between two statuses, in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// When it was taken, in seconds of the daemon's uptime.
    pub(super) at: f64,
    pub(super) sent_bits: f64,
    pub(super) received_bits: f64,
    pub(super) sent_packets: f64,
    pub(super) received_packets: f64,
    /// Discards of all reasons and places.
    pub(super) discards: f64,
    /// Handshakes since the status before.
    pub(super) handshakes: u64,
}

/// The latest status, and samples up to it.
#[derive(Default)]
pub(super) struct History {
    latest: Option<Status>,
    samples: VecDeque<Sample>,
}

impl History {
    /// Takes in the next status. One of a daemon that was started anew begins a new history.
    pub(super) fn push(&mut self, status: Status) {
        let before = self.latest.take();
        if before.as_ref().is_some_and(|before| before.uptime_seconds > status.uptime_seconds) {
            self.samples.clear();
        } else if let Some(before) = before {
            self.samples.extend(sample(&before, &status));
        }
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        self.latest = Some(status);
    }

    pub(super) fn latest(&self) -> Option<&Status> {
        self.latest.as_ref()
    }

    /// The rates up to the latest status.
    pub(super) fn now(&self) -> Sample {
        self.samples.back().copied().unwrap_or_default()
    }

    /// A line to plot: `value` of each sample over its age, which is negative.
    pub(super) fn line(&self, value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        let end = self.now().at;
        self.samples.iter().map(|sample| (sample.at - end, value(sample))).collect()
    }
}

/// The rates between two statuses; `None` if no time has passed.
fn sample(before: &Status, after: &Status) -> Option<Sample> {
    let seconds = after.uptime_seconds - before.uptime_seconds;
    if seconds <= 0.0 {
        return None;
    }
    let rate =
        |count: fn(&Status) -> u64| count(after).saturating_sub(count(before)) as f64 / seconds;
    Some(Sample {
        at: after.uptime_seconds,
        sent_bits: 8.0 * rate(|status| status.sent.bytes),
        received_bits: 8.0 * rate(|status| status.received.bytes),
        sent_packets: rate(|status| status.sent.packets),
        received_packets: rate(|status| status.received.packets),
        discards: rate(discards),
        handshakes: after.peer.handshakes.saturating_sub(before.peer.handshakes),
    })
}

fn discards(status: &Status) -> u64 {
    let all = [&status.discards, &status.underlay.discards, &status.device.discards];
    all.into_iter()
        .flat_map(|counts| counts.values())
        .fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::example;

    /// The example, `seconds` later, with so many bytes more.
    fn later(seconds: f64, bytes: u64) -> Status {
        let mut status = example();
        status.uptime_seconds += seconds;
        status.sent.bytes += bytes;
        status
    }

    #[test]
    fn rates_are_those_between_two_statuses_whatever_time_lies_between() {
        let mut history = History::default();
        history.push(later(0.0, 0));
        assert_eq!(history.now(), Sample::default());
        history.push(later(2.0, 1000));
        assert_eq!(history.now().sent_bits, 4000.0);
        history.push(later(2.0, 1000));
        history.push(later(2.5, 1500));
        let line = history.line(|sample| sample.sent_bits);
        assert_eq!(line, [(-0.5, 4000.0), (0.0, 8000.0)]);
    }

    #[test]
    fn a_daemon_that_was_started_anew_has_a_new_history() {
        let mut history = History::default();
        history.push(later(5.0, 5000));
        history.push(later(6.0, 6000));
        history.push(later(1.0, 0));
        assert_eq!(history.line(|sample| sample.at), []);
        history.push(later(2.0, 100));
        assert_eq!(history.now().sent_bits, 800.0);
    }

    #[test]
    fn no_more_than_five_minutes_are_kept() {
        let mut history = History::default();
        for second in 0..1000 {
            history.push(later(f64::from(second), 0));
        }
        assert_eq!(history.line(|_| 0.0).len(), SAMPLES);
    }
}
