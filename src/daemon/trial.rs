//! A trial: a configuration that is taken on for a time. The daemon goes back to the one before by itself, unless the peer has
//! answered under the new one and a person confirms it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control::Control;
use super::{clock, entropy, service, status};
use crate::config::Config;
use crate::proto::Instant;

/// How long a trial may take. A handshake may have to wait for 5 s after the one before.
pub(crate) const TRIAL_SECONDS: RangeInclusive<u64> = 10..=3600;

/// Between attempts to go back, if the system refuses.
const RETRY: Duration = Duration::from_secs(10);

/// A trial under way.
pub(super) struct Trial {
    id: String,
    file: PathBuf,
    before: Config,
    ends: Instant,
    answered: bool,
}

/// What to do with what is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is kept for good.
    Keep,
    /// The one before is taken on again, at once.
    GoBack,
}

impl Trial {
    /// Of the configuration in `file`, for so long; `before` is what the daemon goes back to.
    fn new(id: String, now: Instant, time: Duration, file: PathBuf, before: Config) -> Self {
        Self { id, file, before, ends: now + time, answered: false }
    }

    /// A handshake completed: the peer has what we sent under what is tried, and we have its answer.
    pub(super) fn peer_answered(&mut self) {
        self.answered = true;
    }

    /// When the daemon goes back.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// How it is.
    pub(super) fn status(&self, now: Instant) -> status::Trial {
        status::Trial {
            id: self.id.clone(),
            file: self.file.to_string_lossy().into_owned(),
            seconds_left: self.ends.since(now).as_secs_f64(),
            peer_answered: self.answered,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends <= now
    }

    fn may_be_kept(&self) -> bool {
        self.answered
    }
}

/// An id that the trials before did not have, as good as surely.
///
/// # Errors
/// The system gives no randomness.
pub(super) fn new_id() -> anyhow::Result<String> {
    Ok(format!("{:06x}", entropy::seed()? >> 40))
}

/// Refuses a decision that is meant for another trial than the one that runs, and says how that one ended if it was the
/// last. Who names none means whichever there is.
fn refuse_another(
    running: Option<&str>,
    last: Option<&(String, &'static str)>,
    meant: Option<&str>,
) -> Result<(), String> {
    if running.is_some() && (meant.is_none() || meant == running) {
        return Ok(());
    }
    let meant = meant.ok_or(NO_TRIAL)?;
    let how = match last {
        Some((id, how)) if id == meant => how,
        _ => "it was kept, or gone back from",
    };
    let another = running.map_or(String::new(), |id| {
        format!("; somebody tries another configuration, as trial {id}")
    });
    Err(format!("trial {meant} is over: {how}{another}"))
}

const NOT_ANSWERED: &str = "the peer has not answered since: without a handshake nothing is kept";
const NO_TRIAL: &str =
    "no configuration is being tried: it was kept, gone back from, or its time was over";

impl Control {
    /// Goes back to `before` after `time`, unless this is kept.
    pub(super) fn begin_trial(
        &mut self,
        id: String,
        time: Duration,
        file: PathBuf,
        before: Config,
    ) {
        let now = clock::now();
        tracing::warn!(
            trial = id,
            file = %file.display(),
            seconds = time.as_secs(),
            "trying a configuration: back to the one before unless it is confirmed in time"
        );
        self.tell_listeners("trial_begun", Some(&id));
        self.trial = Some(Trial::new(id, now.boot, time, file, before));
        // The session, which may live on, proves nothing about what is new.
        self.tunnel.call_anew(now);
    }

    /// Ends the trial one way or the other, if it is the one that is meant, and gives its id. Who names none means
    /// whichever there is.
    ///
    /// # Errors
    /// There is none, or another one; it may not be kept; or the system does not let us go back, which is then tried
    /// again.
    pub(super) async fn decide(
        &mut self,
        decision: Decision,
        meant: Option<&str>,
    ) -> Result<String, String> {
        let running = self.trial.as_ref().map(|trial| trial.id.as_str());
        refuse_another(running, self.last_trial.as_ref(), meant)?;
        match decision {
            Decision::Keep => self.keep(),
            Decision::GoBack => self.go_back("as somebody asked").await,
        }
    }

    /// Goes back if the time is over.
    pub(super) async fn end_trial_if_due(&mut self) {
        let Some(trial) = self.trial.as_ref().filter(|trial| trial.is_over(clock::boot())) else {
            return;
        };
        let why = if trial.answered {
            "the peer answered, but nobody confirmed in time"
        } else {
            "the peer did not answer in time"
        };
        // It is logged.
        let _ = self.go_back(why).await;
    }

    fn keep(&mut self) -> Result<String, String> {
        let kept = self.trial.take_if(|trial| trial.may_be_kept());
        let Trial { id, .. } = kept.ok_or(NOT_ANSWERED)?;
        tracing::info!(trial = id, "the configuration that was tried is kept");
        self.last_trial = Some((id.clone(), "it was confirmed, and runs on"));
        self.tell_listeners("trial_kept", Some(&id));
        service::ready(&self.running());
        Ok(id)
    }

    async fn go_back(&mut self, why: &str) -> Result<String, String> {
        let Some(mut trial) = self.trial.take() else { return Err(NO_TRIAL.to_owned()) };
        if let Err(error) = self.take_on(&trial.before).await {
            let reason = format!("cannot go back to the configuration before: {error:#}");
            tracing::error!("{reason}; trying again in {} s", RETRY.as_secs());
            trial.ends = clock::boot() + RETRY;
            self.trial = Some(trial);
            return Err(reason);
        }
        tracing::warn!(
            trial = trial.id,
            "back to the configuration before: {why}{}",
            advice(&trial.file, self.reader.own())
        );
        self.config = trial.before;
        self.last_trial = Some((trial.id.clone(), "the configuration before is back"));
        self.tell_listeners("trial_undone", Some(&trial.id));
        service::ready(&self.running());
        self.tunnel.call_anew(clock::now());
        Ok(trial.id)
    }
}

/// What to do about a file that still holds what was not kept.
fn advice(tried: &Path, own: &Path) -> String {
    if tried != own {
        return String::new();
    }
    format!("; {} still has the other one: mend it before the next reload or start", own.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;

    fn config() -> Config {
        let key = |byte| PrivateKey::clamped([byte; 32]);
        let text = format!(
            "[interface]\naddresses = ['10.77.0.1/30']\nprivate_key = '{}'\n[peer]\npublic_key = '{}'",
            key(1).to_base64().as_str(),
            key(2).public_key()
        );
        Config::parse(&text, Path::new("t")).unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(1) + Duration::from_secs(seconds)
    }

    fn trial() -> Trial {
        Trial::new(
            "3f9a1c".to_owned(),
            at(100),
            Duration::from_secs(60),
            "/etc/new.toml".into(),
            config(),
        )
    }

    #[test]
    fn a_trial_is_over_when_its_time_is_and_says_how_much_is_left() {
        let trial = trial();
        let left = |now| trial.status(now).seconds_left;
        assert_eq!([at(100), at(130), at(160), at(200)].map(left), [60.0, 30.0, 0.0, 0.0]);
        let over = |now| trial.is_over(now);
        assert_eq!([at(100), at(159), at(160), at(200)].map(over), [false, false, true, true]);
        assert_eq!(trial.ends(), at(160));
    }

    #[test]
    fn nothing_is_kept_before_the_peer_has_answered() {
        let mut trial = trial();
        assert!(!trial.may_be_kept());
        trial.peer_answered();
        assert!(trial.may_be_kept());
        assert!(trial.status(at(100)).peer_answered);
    }

    #[test]
    fn who_names_a_trial_means_no_other_and_hears_how_it_ended() {
        let last = ("3f9a1c".to_owned(), "it is so");
        let of = |running, meant| refuse_another(running, Some(&last), meant);
        assert_eq!(of(Some("e1e1e1"), None), Ok(()));
        assert_eq!(of(Some("e1e1e1"), Some("e1e1e1")), Ok(()));
        assert_eq!(of(None, None), Err(NO_TRIAL.to_owned()));
        let over = "trial 3f9a1c is over: it is so";
        assert_eq!(of(None, Some("3f9a1c")), Err(over.to_owned()));
        let error = of(Some("e1e1e1"), Some("3f9a1c")).unwrap_err();
        assert!(error.starts_with(over) && error.contains("as trial e1e1e1"), "{error}");
        let error = of(Some("e1e1e1"), Some("000000")).unwrap_err();
        assert!(error.contains("trial 000000 is over: it was kept, or gone back from"), "{error}");
    }

    #[test]
    fn two_trials_have_two_ids() {
        let ids = [(); 2].map(|()| new_id().unwrap());
        assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 6), "{ids:?}");
    }

    #[test]
    fn only_a_file_that_the_next_start_reads_must_be_mended() {
        let own = Path::new("/etc/tunneld.toml");
        assert!(advice(own, own).contains("mend it before the next reload or start"));
        assert_eq!(advice(Path::new("/etc/new.toml"), own), "");
    }
}
