//! `tunneld events`: what happens to the link of a running daemon, line by line.

use clap::Args;
use serde::Deserialize;

use super::client::{Client, Target, parse};
use super::logging;
use crate::daemon::observer::Notice;

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
            super::print(&format!("{} {}\n", logging::time_of_day(), in_words(&entry)))?;
        }
    }
}

fn in_words(entry: &Entry) -> String {
    match entry {
        Entry::Missed { missed } => format!("{missed} events were not read in time"),
        Entry::Notice(Notice { event, state, reason, endpoint, .. }) => {
            let place = endpoint.map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            format!("{event}: {}{place}: {reason}", state.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_a_line_and_so_do_those_that_were_missed() {
        let event = r#"{"unix_seconds":1.5,"event":"peer_silent","state":"silent","reason":"nothing heard","endpoint":"192.0.2.1:7"}"#;
        for (line, words) in [
            (event, "peer_silent: silent at 192.0.2.1:7: nothing heard"),
            (r#"{"missed":3}"#, "3 events were not read in time"),
        ] {
            assert_eq!(in_words(&parse(line).unwrap()), words);
        }
    }
}
