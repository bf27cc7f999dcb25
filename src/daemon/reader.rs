//! Reads configurations beside everything else: a disk that hangs holds up nothing but the reload. One is read at a time.

use std::fs;
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
    /// How long it is to be tried; `None`: it is the daemon's own, or it is not read.
    pub(super) trial: Option<Duration>,
    /// Who wants to hear how it went; `None`: a signal asked.
    pub(super) answer: Option<oneshot::Sender<Result<(), Refused>>>,
}

/// Why a file is not taken on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not the one that this daemon runs by.
    OtherFile,
    /// It is wrong, the system refuses, or it is not the time.
    Because(String),
}

/// What came of reading; `None`: it is not the daemon's own file.
type Outcome = Option<Result<Config, ConfigError>>;

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
            return request.answer(Err(Refused::Because(busy.to_owned())));
        }
        let (own, file, tried) = (self.own.clone(), request.file.clone(), request.trial.is_some());
        let reading = spawn_blocking(move || match file {
            Some(file) if tried => Some(Config::load(&file)),
            Some(file) if !is_same(&file, &own) => None,
            _ => Some(Config::load(&own)),
        });
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
        // It cannot fail: a panic has aborted the process.
        let outcome = reading.await.unwrap_or_default();
        let Some((request, _)) = self.under_way.take() else { return pending().await };
        if std::mem::take(&mut self.again) {
            self.read_own();
        }
        (request, outcome)
    }
}

impl Request {
    /// Tells how it went; who has gone meanwhile does not hear it.
    pub(super) fn answer(self, result: Result<(), Refused>) {
        if let Some(answer) = self.answer {
            let _ = answer.send(result);
        }
    }
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).ok().is_some_and(|one| fs::canonicalize(other).ok() == Some(one))
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    fn asked(file: &Path) -> (Request, oneshot::Receiver<Result<(), Refused>>) {
        let (answer, answered) = oneshot::channel();
        let request = Request { file: Some(file.to_owned()), trial: None, answer: Some(answer) };
        (request, answered)
    }

    #[tokio::test]
    async fn the_daemons_own_file_is_known_by_any_name_and_no_other_is_read() {
        let directory = tempdir().unwrap();
        let [own, link, other] = ["own", "link", "other"].map(|name| directory.path().join(name));
        fs::write(&own, "broken").unwrap();
        fs::write(&other, "broken").unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let mut reader = Reader::new(own.clone());
        for (file, is_read) in [(&own, true), (&link, true), (&other, false)] {
            reader.begin(asked(file).0);
            assert_eq!(reader.done().await.1.is_some(), is_read, "{}", file.display());
        }
        let tried = Request { trial: Some(Duration::from_secs(1)), ..asked(&other).0 };
        reader.begin(tried);
        let error = reader.done().await.1.unwrap().unwrap_err().to_string();
        assert!(error.contains("/other:1"), "{error}");
    }

    #[tokio::test]
    async fn who_asks_while_something_is_read_hears_so_and_a_signal_has_it_read_once_more() {
        let mut reader = Reader::new(PathBuf::from("/nonexistent"));
        let own = reader.own().to_owned();
        reader.begin(asked(&own).0);
        let (request, answered) = asked(&own);
        reader.begin(request);
        let Ok(Err(Refused::Because(reason))) = answered.await else { panic!("it is refused") };
        assert!(reason.contains("ask again"), "{reason}");
        reader.read_own();
        reader.read_own();
        assert!(reader.done().await.0.answer.is_some());
        assert!(reader.done().await.0.answer.is_none(), "that is the signal's");
        assert!(reader.under_way.is_none());
    }
}
