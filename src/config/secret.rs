//! Files that hold a secret: who may read them, and what must stand in them.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::crypto::keys::KeyError;

/// What a file held, and who else may read or write it.
pub(super) struct Contents {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    exposed: Exposed,
}

/// Why a file gives no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is a directory")]
    Directory,
    #[error("is not a regular file")]
    NotRegular,
    #[error("is longer than {0} bytes")]
    TooLong(usize),
}

/// Why a key file gives no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Exposed(Exposed),
    #[error("holds no key: {0}")]
    NoKey(KeyError),
    #[error("holds no key: not one line of text")]
    NotOneLine,
}

/// Mode and owner of a file that more people may read or write than should.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposed {
    mode: u32,
    owner: u32,
}

/// All that others may do, and that the group may write. The group may read: a service can have its own.
const FORBIDDEN: u32 = 0o027;
/// A key is 44 bytes; more than this is another file.
const LONGEST_KEY_FILE: usize = 1024;

/// Reads a regular file of at most `longest` bytes into memory that is erased. Never waits for a pipe.
pub(super) fn read(path: &Path, longest: usize) -> Result<Contents, ReadError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ReadError::Directory);
    }
    if !about.is_file() {
        return Err(ReadError::NotRegular);
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let room = longest.saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(room as u64).read_to_end(&mut bytes)?;
    if bytes.len() > longest {
        return Err(ReadError::TooLong(longest));
    }
    let exposed = Exposed { mode: about.mode() & 0o7777, owner: about.uid() };
    Ok(Contents { bytes, exposed })
}

/// Reads the one key that a file holds.
pub(super) fn read_key<K: FromStr<Err = KeyError>>(path: &Path) -> Result<K, KeyFileError> {
    let contents = read(path, LONGEST_KEY_FILE)?;
    contents.refuse_exposed().map_err(KeyFileError::Exposed)?;
    let text = str::from_utf8(&contents.bytes).map_err(|_| KeyFileError::NotOneLine)?;
    let line = text.trim_ascii();
    if line.is_empty() || line.contains(['\n', '\r']) {
        return Err(KeyFileError::NotOneLine);
    }
    line.parse().map_err(KeyFileError::NoKey)
}

impl Contents {
    /// Refuses a secret that others may read or write, or the group write, or that belongs to a stranger.
    pub(super) fn refuse_exposed(&self) -> Result<(), Exposed> {
        self.exposed.unless(FORBIDDEN)
    }

    /// Refuses a file whose content anybody could have written.
    pub(super) fn refuse_foreign(&self) -> Result<(), Exposed> {
        self.exposed.unless(0o002)
    }
}

impl Exposed {
    fn unless(self, forbidden: u32) -> Result<(), Self> {
        if self.mode & forbidden == 0 && self.owner_is_trusted() { Ok(()) } else { Err(self) }
    }

    /// The owner may write it at any time: it must be root or whoever runs this.
    fn owner_is_trusted(self) -> bool {
        self.owner == 0 || self.owner == geteuid().as_raw()
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, owner } = self;
        if !self.owner_is_trusted() {
            return write!(f, "belongs to another user (uid {owner}): chown it");
        }
        let who = if mode & 0o022 != 0 {
            "is writable by others than its owner"
        } else if mode & 0o004 != 0 {
            "is readable by others"
        } else {
            "is open to others"
        };
        write!(f, "{who} (mode {mode:04o})")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::crypto::PrivateKey;

    fn key_file(text: &[u8], mode: u32) -> Result<PrivateKey, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read_key(&path).map_err(|error| error.to_string())
    }

    const KEY: &str = "cMzDf1jM+XG/qy3pfjZSMZ+PYbYaAacTk4QtAZRJxXA=";

    #[test]
    fn one_line_is_a_key_with_or_without_its_newline() {
        for end in ["", "\n", "\r\n", " \n\n"] {
            assert!(key_file(format!("{KEY}{end}").as_bytes(), 0o600).is_ok());
        }
        let one_line = Err("holds no key: not one line of text".to_owned());
        for text in ["", "\n", &format!("{KEY}\n{KEY}\n"), &format!("# key\n{KEY}")] {
            assert_eq!(key_file(text.as_bytes(), 0o600), one_line, "{text:?}");
        }
        assert_eq!(key_file(b"\xff\xfe", 0o600), one_line);
        assert_eq!(
            key_file(&KEY.as_bytes()[..40], 0o600),
            Err("holds no key: base64 of 30 bytes, not 32".to_owned())
        );
        assert_eq!(key_file(&[b'A'; 1025], 0o600), Err("is longer than 1024 bytes".to_owned()));
    }

    #[test]
    fn only_the_owner_and_a_reading_group_may_have_it_open() {
        for mode in [0o400, 0o600, 0o640, 0o440, 0o700] {
            assert!(key_file(KEY.as_bytes(), mode).is_ok(), "{mode:o}");
        }
        for (mode, error) in [
            (0o644, "is readable by others (mode 0644)"),
            (0o604, "is readable by others (mode 0604)"),
            (0o620, "is writable by others than its owner (mode 0620)"),
            (0o602, "is writable by others than its owner (mode 0602)"),
            (0o601, "is open to others (mode 0601)"),
        ] {
            assert_eq!(key_file(KEY.as_bytes(), mode), Err(error.to_owned()));
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path(), 10), Err(ReadError::Directory)));
        assert!(matches!(read(Path::new("/dev/zero"), 10), Err(ReadError::NotRegular)));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(read(&pipe, 10), Err(ReadError::NotRegular)));
    }
}
