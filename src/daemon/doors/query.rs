//! What others ask of control: a question, and the place for its answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::{http, local};
use crate::daemon::observer::Notice;
use crate::daemon::reader::{Request, TakenOn};
use crate::daemon::status::Status;
use crate::daemon::trial::Decision;

/// Questions that may wait for control. Each connection asks one at a time, so more than all of them never wait.
const WAITING: usize = 4 * local::CONNECTIONS + http::CONNECTIONS;

/// A question.
pub(in crate::daemon) enum Query {
    /// How is everything?
    Status(oneshot::Sender<Status>),
    /// Read a configuration, and take it on or try it.
    Read(Request),
    /// End the trial, if it is the one of this id; its id, or why that failed.
    Decide(Decision, Option<String>, oneshot::Sender<Result<String, String>>),
    /// Make this so, and say whether it could be.
    Change(Change, oneshot::Sender<bool>),
}

/// What others may change. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct Change {
    /// Where the peer is.
    pub(in crate::daemon) endpoint: Option<SocketAddr>,
    /// How quiet the link may be; `Some(None)`: as quiet as it likes.
    pub(in crate::daemon) persistent_keepalive: Option<Option<Duration>>,
}

/// Asks control, from its own runtime.
#[derive(Clone)]
pub(in crate::daemon) struct Asker {
    queries: mpsc::Sender<Query>,
    notices: broadcast::Sender<Notice>,
}

impl Asker {
    /// One who asks, and the questions as control gets them.
    pub(in crate::daemon) fn new(
        notices: broadcast::Sender<Notice>,
    ) -> (Self, mpsc::Receiver<Query>) {
        let (queries, asked) = mpsc::channel(WAITING);
        (Self { queries, notices }, asked)
    }

    /// How everything is; `None` if the daemon is ending.
    pub(in crate::daemon) async fn status(&self) -> Option<Status> {
        self.ask(Query::Status).await
    }

    /// Has the daemon's own file read and taken on for good; `None` if the daemon is ending.
    pub(in crate::daemon) async fn reload(&self) -> Option<TakenOn> {
        let request = |answer| Request { file: None, trial: None, answer: Some(answer) };
        self.ask(|answer| Query::Read(request(answer))).await
    }

    /// Has a file tried for so long; without one, the daemon's own. `None` if the daemon is ending.
    pub(in crate::daemon) async fn try_out(
        &self,
        file: Option<PathBuf>,
        time: Duration,
    ) -> Option<TakenOn> {
        let request = |answer| Request { file, trial: Some(time), answer: Some(answer) };
        self.ask(|answer| Query::Read(request(answer))).await
    }

    /// Ends the trial, if it is the one of this id; its id, or why that failed. `None` if the daemon is ending.
    pub(in crate::daemon) async fn decide(
        &self,
        decision: Decision,
        trial: Option<String>,
    ) -> Option<Result<String, String>> {
        self.ask(|answer| Query::Decide(decision, trial, answer)).await
    }

    /// Makes a change; whether it could be made.
    pub(in crate::daemon) async fn change(&self, change: Change) -> bool {
        self.ask(|answer| Query::Change(change, answer)).await.unwrap_or(false)
    }

    /// What happens from now on.
    pub(in crate::daemon) fn listen(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.queries.send(query(answer)).await.ok()?;
        answered.await.ok()
    }
}
