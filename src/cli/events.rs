//! `tunneld events`: what happens to the link of a running daemon, line by line.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde::Deserialize;

use super::client::{Client, Target, parse};
use crate::daemon::observer::Notice;

/// The last second that has four digits for its year: no later one can be written.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

/// What is asked for.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Print each event as one line of JSON
    #[arg(long)]
    json: bool,
}

/// A line of the stream.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Missed { missed: u64 },
    Notice(Notice),
}

/// Prints what happens until the daemon ends, or the reader of the output goes away.
///
/// # Errors
/// There is no daemon, or it has ended; or standard output.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut client = Client::connect(&options.target)?;
    client.listen()?;
    loop {
        let line = client.line()?;
        if options.json {
            super::print(&line)?;
        } else {
            let entry: Entry = parse(&line)?;
            super::print(&format!("{}\n", in_words(&entry)))?;
        }
    }
}

fn in_words(entry: &Entry) -> String {
    match entry {
        Entry::Missed { missed } => format!("{missed} events were not read in time"),
        Entry::Notice(Notice { unix_seconds, event, state, reason, endpoint, trial }) => {
            let place = endpoint.map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            let trial = trial.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
            let (time, state) = (time(*unix_seconds), state.name());
            format!("{time} {event}{trial}: {state}{place}: {reason}")
        }
    }
}

/// When the daemon says that it happened, as date and time in UTC.
fn time(unix_seconds: f64) -> String {
    let since = Duration::try_from_secs_f64(unix_seconds).unwrap_or_default();
    let time = UNIX_EPOCH.checked_add(since.min(YEAR_9999)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_a_line_and_so_do_those_that_were_missed() {
        let event = r#"{"unix_seconds":1800000000.9,"event":"peer_silent","state":"silent","reason":"nothing heard","endpoint":"192.0.2.1:7"}"#;
        let trial =
            event.replace("peer_silent", "trial_begun").replace('}', ",\"trial\":\"3f9a1c\"}");
        for (line, words) in [
            (
                trial.as_str(),
                "2027-01-15T08:00:00Z trial_begun 3f9a1c: silent at 192.0.2.1:7: nothing heard",
            ),
            (event, "2027-01-15T08:00:00Z peer_silent: silent at 192.0.2.1:7: nothing heard"),
            (r#"{"missed":3}"#, "3 events were not read in time"),
        ] {
            assert_eq!(in_words(&parse(line).unwrap()), words);
        }
        assert_eq!(time(-1.0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1e15), "9999-12-31T23:59:59Z");
    }
}
