//! Reads configurations beside everything else: a disk that hangs holds up nothing but the reload. One is read at a time.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::{Config, ConfigError};

/// What is to be read, and what for.
pub(super) struct Request {
    /// Which file; `None`: the daemon's own.
    pub(super) file: Option<PathBuf>,
    /// How long it is to be tried; `None`: for good.
    pub(super) trial: Option<Duration>,
    /// Who wants to hear how it went; `None`: a signal asked.
    pub(super) answer: Option<oneshot::Sender<TakenOn>>,
}

/// Whether a file was taken on, and as which trial if it is one; or why not: it is wrong, the system refuses, or it is
/// not the time.
pub(super) type TakenOn = Result<Option<String>, String>;

/// What came of reading.
type Outcome = Result<Config, ConfigError>;

/// Owned by control.
pub(super) struct Reader {
    own: PathBuf,
    under_way: Option<(Request, JoinHandle<Outcome>)>,
    /// A signal came since it was begun: the file may be another one by now.
    again: bool,
}

impl Reader {
    /// Of a daemon that runs by the file `own`.
    pub(super) fn new(own: PathBuf) -> Self {
        Self { own, under_way: None, again: false }
    }

    /// The file that the daemon runs by.
    pub(super) fn own(&self) -> &Path {
        &self.own
    }

    /// Begins to read, unless that is under way for somebody else: then who asks is told so. To be called on the runtime.
    pub(super) fn begin(&mut self, request: Request) {
        if self.under_way.is_some() {
            let busy = "busy: another configuration is still being read; ask again";
            return request.answer(Err(busy.to_owned()));
        }
        let file = request.file.as_ref().unwrap_or(&self.own).clone();
        let reading = spawn_blocking(move || Config::load(&file));
        self.under_way = Some((request, reading));
    }

    /// Begins to read the daemon's own file, now or as soon as that can be.
    pub(super) fn read_own(&mut self) {
        if self.under_way.is_some() {
            self.again = true;
        } else {
            self.begin(Request { file: None, trial: None, answer: None });
        }
    }

    /// Waits until something is read, if anything is to be.
    pub(super) async fn done(&mut self) -> (Request, Outcome) {
        let Some((_, reading)) = &mut self.under_way else { return pending().await };
        let outcome = reading.await;
        let Some((request, _)) = self.under_way.take() else { return pending().await };
        // It cannot fail: a panic has aborted the process.
        let Ok(outcome) = outcome else { return pending().await };
        if std::mem::take(&mut self.again) {
            self.read_own();
        }
        (request, outcome)
    }
}

impl Request {
    /// Tells how it went; who has gone meanwhile does not hear it.
    pub(super) fn answer(self, result: TakenOn) {
        if let Some(answer) = self.answer {
            let _ = answer.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    fn asked(file: Option<&Path>) -> (Request, oneshot::Receiver<TakenOn>) {
        let (answer, answered) = oneshot::channel();
        let file = file.map(Path::to_owned);
        (Request { file, trial: None, answer: Some(answer) }, answered)
    }

    #[tokio::test]
    async fn the_daemons_own_file_is_read_unless_another_is_named() {
        let directory = tempdir().unwrap();
        let [own, other] = ["own", "other"].map(|name| directory.path().join(name));
        for file in [&own, &other] {
            std::fs::write(file, "broken").unwrap();
        }
        let mut reader = Reader::new(own.clone());
        for (file, place) in [(None, "/own:1"), (Some(other.as_path()), "/other:1")] {
            reader.begin(asked(file).0);
            let error = reader.done().await.1.unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }

    #[tokio::test]
    async fn who_asks_while_something_is_read_hears_so_and_a_signal_has_it_read_once_more() {
        let mut reader = Reader::new(PathBuf::from("/nonexistent"));
        reader.begin(asked(None).0);
        let (request, answered) = asked(None);
        reader.begin(request);
        let Ok(Err(reason)) = answered.await else { panic!("it is refused") };
        assert!(reason.contains("ask again"), "{reason}");
        reader.read_own();
        reader.read_own();
        assert!(reader.done().await.0.answer.is_some());
        assert!(reader.done().await.0.answer.is_none(), "that is the signal's");
        assert!(reader.under_way.is_none());
    }
}
