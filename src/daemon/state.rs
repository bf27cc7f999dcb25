//! What outlives a restart: the newest timestamp of our initiations. A peer refuses what is not newer, so a host whose clock
//! was set back would stay locked out until its clock has caught up.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::task::{JoinHandle, spawn_blocking};

use super::runtime;
use crate::crypto::PublicKey;

/// How long the end of the daemon waits for a disk.
const PATIENCE: Duration = Duration::from_millis(500);

/// A file for each pair of hosts, as timestamps belong to a pair of keys.
pub(crate) struct State {
    path: PathBuf,
    /// The newest timestamp that was written or is being written.
    timestamp: Option<Duration>,
    writing: Option<JoinHandle<io::Result<()>>>,
    warned: bool,
}

impl State {
    /// Reads what an earlier run has left, if anything; that it cannot be read is told.
    pub(crate) fn load(ours: &PublicKey, theirs: &PublicKey) -> Self {
        let directory = runtime::state_directory();
        // Later the sandbox refuses it. If it cannot be made, the first write tells.
        let _ = make(&directory);
        Self::load_from(&directory, ours, theirs)
    }

    /// The same for whoever only looks: nothing is made.
    pub(crate) fn read(ours: &PublicKey, theirs: &PublicKey) -> Self {
        Self::load_from(&runtime::state_directory(), ours, theirs)
    }

    /// Turns to the file of this pair of keys; whether it is another pair. What is being written is waited for.
    pub(super) async fn switch(&mut self, ours: &PublicKey, theirs: &PublicKey) -> bool {
        let other = self.path.file_name() != Some(file_name(ours, theirs).as_ref());
        if other {
            self.finish().await;
            *self = Self::load_from(self.path.parent().unwrap_or(Path::new(".")), ours, theirs);
        }
        other
    }

    fn load_from(directory: &Path, ours: &PublicKey, theirs: &PublicKey) -> Self {
        let path = directory.join(file_name(ours, theirs));
        let mut state = Self { path, timestamp: None, writing: None, warned: false };
        match fs::read_to_string(&state.path) {
            Ok(text) => {
                state.timestamp = parse(&text);
                if state.timestamp.is_none() {
                    tracing::warn!(path = %state.path.display(), "the state of an earlier run is not legible, and ignored");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => state.warn(&error),
        }
        state
    }

    /// The newest timestamp that was sent, as far as it is known.
    pub(crate) fn timestamp(&self) -> Option<Duration> {
        self.timestamp
    }

    /// Writes the newest timestamp in the background, unless it is written already or the disk is still busy. To be called on the
    /// runtime.
    pub(super) async fn keep(&mut self, timestamp: Option<Duration>) {
        let Some(newest) = timestamp.filter(|_| timestamp != self.timestamp) else { return };
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.written().await;
        self.timestamp = timestamp;
        let path = self.path.clone();
        self.writing = Some(spawn_blocking(move || write(&path, newest)));
    }

    /// Waits for what is being written, but not for ever.
    pub(super) async fn finish(&mut self) {
        let _ = tokio::time::timeout(PATIENCE, self.written()).await;
    }

    async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let result = writing.await;
        self.writing = None;
        if let Ok(Err(error)) = result {
            self.warn(&error);
        }
    }

    /// Says so once: the link does not need it.
    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                path = %self.path.display(),
                %error,
                "the state cannot be kept: if this host's clock is set back across a restart, the peer may refuse us for that long"
            );
        }
    }
}

/// Writes a new file and puts it in the old one's place: whoever reads sees one or the other, whole.
fn write(path: &Path, timestamp: Duration) -> io::Result<()> {
    make(path.parent().unwrap_or(Path::new(".")))?;
    // Always the same name: what a crash leaves is overwritten.
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    // Where the service's user may write, root follows no link.
    options.write(true).create(true).truncate(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut file = options.open(&new)?;
    writeln!(file, "{}.{:09}", timestamp.as_secs(), timestamp.subsec_nanos())?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Makes the directory, if need be.
fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn parse(text: &str) -> Option<Duration> {
    let (seconds, nanos) = text.trim_end().split_once('.')?;
    let nanos = nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds.parse().ok()?, nanos))
}

fn file_name(ours: &PublicKey, theirs: &PublicKey) -> String {
    format!("{}-{}.timestamp", short(ours), short(theirs))
}

/// Enough of a public key to tell it from others.
fn short(key: &PublicKey) -> String {
    key.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    const SENT: Duration = Duration::new(1_800_000_000, 16_777_216);

    fn load(directory: &Path) -> State {
        State::load_from(directory, &PublicKey::from([1; 32]), &PublicKey::from([2; 32]))
    }

    #[tokio::test]
    async fn what_is_kept_is_found_again_and_only_by_the_same_pair_of_keys() {
        let directory = tempdir().unwrap();
        let below = directory.path().join("state/of/tunneld");
        let mut state = load(&below);
        assert_eq!(state.timestamp(), None);
        state.keep(Some(SENT)).await;
        state.finish().await;
        assert_eq!(load(&below).timestamp(), Some(SENT));
        fs::write(state.path.with_extension("new"), "of a crash").unwrap();
        state.keep(Some(SENT + Duration::from_secs(1))).await;
        state.finish().await;
        assert_eq!(load(&below).timestamp(), Some(SENT + Duration::from_secs(1)));
        let other = State::load_from(&below, &PublicKey::from([1; 32]), &PublicKey::from([3; 32]));
        assert_eq!(other.timestamp(), None);
        assert_eq!(fs::read_dir(&below).unwrap().count(), 1, "no other file is left");
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_written_is_told_once_and_harms_nothing() {
        let directory = tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let mut state = load(&file.join("below"));
        for seconds in 0..3 {
            state.keep(Some(SENT + Duration::from_secs(seconds))).await;
            state.finish().await;
            assert!(state.warned);
        }
    }

    #[test]
    fn a_file_of_something_else_is_ignored() {
        let directory = tempdir().unwrap();
        let path = load(directory.path()).path;
        for text in ["", "1800000000", "1.1000000000", "-1.5", "1.5 2", "\0"] {
            fs::write(&path, text).unwrap();
            assert_eq!(load(directory.path()).timestamp(), None, "{text:?}");
        }
        fs::write(&path, "1800000000.016777216\n").unwrap();
        assert_eq!(load(directory.path()).timestamp(), Some(SENT));
    }
}
