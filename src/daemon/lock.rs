//! One daemon for each interface: a lock that the kernel lets go when its holder ends, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};

use super::runtime;
use crate::tun::namespace;

/// Why the lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error(
        "another tunneld already runs the interface {0}; stop it first, or choose another [interface] name"
    )]
    Held(String),
    #[error(
        "cannot lock the interface at {path}: {source}; tunneld needs to write there (run it as root, or set RUNTIME_DIRECTORY)"
    )]
    Io { path: PathBuf, source: io::Error },
}

/// Held as long as it lives. Its file stays: to remove it would let two daemons lock two files.
pub(crate) struct InterfaceLock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

impl InterfaceLock {
    /// Locks `interface` in the network namespace of this process.
    pub(crate) fn take(interface: &str) -> Result<Self, LockError> {
        let directory = runtime::directory();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(&directory).map_err(failed(&directory))?;
        let path = directory.join(file_name(interface));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(failed(&path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(LockError::Held(interface.to_owned())),
            Err((_, errno)) => Err(failed(&path)(errno.into())),
        }
    }
}

/// Interfaces of one name may exist in several network namespaces.
fn file_name(interface: &str) -> String {
    match namespace::here() {
        Some(number) => format!("{interface}.{number}.lock"),
        None => format!("{interface}.lock"),
    }
}
