//! The control socket: each line is a request in JSON, each answer is one line of JSON.
//!
//! `{"command":"status"}` is answered by a [`Status`](crate::daemon::status::Status). `{"command":"events"}` is answered by one line
//! for each event from then on, of which the first says how the link is; the connection is then for nothing else.
//! `{"command":"reload"}` is answered by `{"done":"reload"}`. `{"command":"apply","seconds":60}`, perhaps with `"file"`,
//! begins a trial. `{"command":"confirm"}` and `{"command":"revert"}` end it; with `"trial"`, only if it is the one of
//! this id. These three are answered by `{"done":"...","trial":"..."}`. What is refused or no request is answered by
//! `{"error":"..."}`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::broadcast::error::RecvError;

use super::lines::{self, Line};
use super::local::Client;
use super::query::Asker;
use crate::daemon::observer::Notice;
use crate::daemon::reader::TakenOn;
use crate::daemon::trial::{Decision, TRIAL_SECONDS};

/// How long a listener may take to read, before its place is for others.
const LISTENER_TIME: Duration = Duration::from_secs(60);

/// A request.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Status,
    Events,
    /// With no fields: those of others are refused.
    Reload {},
    /// Try a file; without one, the daemon's own.
    Apply {
        file: Option<PathBuf>,
        seconds: u64,
    },
    /// Keep what is tried, if that is the trial of this id.
    Confirm {
        trial: Option<String>,
    },
    /// Go back to what was before, likewise.
    Revert {
        trial: Option<String>,
    },
}

impl Request {
    /// Whether it changes anything, which not everybody may who can connect.
    fn changes(&self) -> bool {
        match self {
            Self::Status | Self::Events => false,
            Self::Reload {} | Self::Apply { .. } | Self::Confirm { .. } | Self::Revert { .. } => {
                true
            }
        }
    }
}

/// A line of the event stream that is no event: so many were missed, as they were not read in time.
#[derive(Serialize)]
struct Missed {
    missed: u64,
}

/// What was asked for is done.
#[derive(Serialize)]
struct Done {
    done: &'static str,
    /// The trial that this began or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<String>,
}

#[derive(Serialize)]
struct Refusal<'t> {
    error: &'t str,
}

/// Answers one client until it goes away, or takes too long.
pub(super) async fn serve(client: Client, asker: Asker) {
    let Client { stream, may_change } = client;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = match lines::read(&mut reader).await {
            Line::Text(line) => line,
            Line::TooLong => {
                let _ =
                    lines::write(&mut writer, &refusal("a request has at most 4096 bytes")).await;
                return;
            }
            Line::End => return,
        };
        let answer = match serde_json::from_str::<Request>(&line) {
            Err(error) => refusal(&error.to_string()),
            Ok(request) if request.changes() && !may_change => {
                refusal("only root and the user that tunneld runs as may change anything")
            }
            Ok(Request::Events) => return stream_events(&asker, &mut reader, &mut writer).await,
            Ok(Request::Status) => match asker.status().await {
                Some(status) => json(&status),
                None => return,
            },
            Ok(request) => match change(&asker, request).await {
                Some(answer) => answer,
                None => return,
            },
        };
        if lines::write(&mut writer, &answer).await.is_err() {
            return;
        }
    }
}

/// Does what changes something; the answer, or `None` if the daemon is ending.
async fn change(asker: &Asker, request: Request) -> Option<String> {
    Some(match request {
        Request::Status | Request::Events => refusal("that changes nothing"),
        Request::Apply { seconds, .. } if !TRIAL_SECONDS.contains(&seconds) => {
            let (least, most) = TRIAL_SECONDS.into_inner();
            refusal(&format!("seconds: {seconds} is out of range; accepted: {least} to {most}"))
        }
        Request::Reload {} => answer("reload", asker.reload().await?),
        Request::Apply { file, seconds } => {
            answer("apply", asker.try_out(file, Duration::from_secs(seconds)).await?)
        }
        Request::Confirm { trial } => {
            answer("confirm", asker.decide(Decision::Keep, trial).await?.map(Some))
        }
        Request::Revert { trial } => {
            answer("revert", asker.decide(Decision::GoBack, trial).await?.map(Some))
        }
    })
}

fn answer(done: &'static str, result: TakenOn) -> String {
    match result {
        Ok(trial) => json(&Done { done, trial }),
        Err(reason) => refusal(&reason),
    }
}

/// Tells one listener all that happens, until it goes away.
async fn stream_events(
    asker: &Asker,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut OwnedWriteHalf,
) {
    // Before the state is asked for: nothing may happen between the two.
    let mut notices = asker.listen();
    let Some(status) = asker.status().await else { return };
    let first = Notice {
        unix_seconds: crate::daemon::clock::now().unix.as_secs_f64(),
        event: "now".to_owned(),
        state: status.link.state,
        reason: status.link.reason,
        endpoint: status.peer.endpoint,
        trial: None,
    };
    let mut line = json(&first);
    let mut byte = [0];
    loop {
        if lines::write_within(LISTENER_TIME, writer, &line).await.is_err() {
            return;
        }
        line = tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notice) => json(&notice),
                Err(RecvError::Lagged(missed)) => json(&Missed { missed }),
                Err(RecvError::Closed) => return,
            },
            // It has gone, or has something to say though it is to listen.
            _ = reader.read(&mut byte) => return,
        };
    }
}

fn refusal(error: &str) -> String {
    json(&Refusal { error })
}

/// One line.
fn json(value: &impl Serialize) -> String {
    // What is sent has only text for keys, and so cannot fail.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_refused_with_what_would_be_accepted() {
        let error = |line: &str| serde_json::from_str::<Request>(line).unwrap_err().to_string();
        assert!(
            error(r#"{"command":"fly"}"#)
                .contains("expected one of `status`, `events`, `reload`, `apply`")
        );
        assert!(error("{}").contains("command"));
        assert!(!error("status").is_empty());
    }

    #[test]
    fn answers_are_one_line_each() {
        assert_eq!(refusal("a\nb\"c"), "{\"error\":\"a\\nb\\\"c\"}\n");
    }
}
