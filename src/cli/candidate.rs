//! A configuration that is to take the place of a daemon's own file, if it proves itself: a copy beside that file, with its
//! owner and mode. So the daemon can read what the user may have written anywhere, key files are looked for where they will
//! be, and what takes the place is to the byte what was tried.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::Mistake;
use crate::config::LONGEST;

/// The copy, which is gone when this is dropped.
pub(super) struct Candidate {
    copy: NamedTempFile,
    place: PathBuf,
}

impl Candidate {
    /// Of `file`, for the place of `own`; `None` if they are the same.
    ///
    /// # Errors
    /// `file` cannot be read, or nothing can be written beside `own`.
    pub(super) fn beside(own: &Path, file: &Path) -> anyhow::Result<Option<Self>> {
        let unreadable = |error: io::Error| {
            let accepted = "a configuration that you can read";
            Mistake(format!("{}: cannot be read: {error}; accepted: {accepted}", file.display()))
        };
        let source = File::open(file).map_err(unreadable)?;
        // A link stays: what it leads to is replaced.
        let place = fs::canonicalize(own).with_context(|| own.display().to_string())?;
        if fs::canonicalize(file).map_err(unreadable)? == place {
            return Ok(None);
        }
        let copy = copy(source, &place);
        let copy = copy.with_context(|| {
            format!("{}: cannot be copied beside {}", file.display(), place.display())
        })?;
        Ok(Some(Self { copy, place }))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.copy.path()
    }

    /// Where it is to be.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Puts it in its place, and gives that: whoever reads it sees one or the other, whole.
    pub(super) fn take_its_place(self) -> anyhow::Result<PathBuf> {
        let Self { copy, place } = self;
        let directory = parent(&place).to_owned();
        copy.persist(&place).map_err(|error| error.error).with_context(|| {
            let place = place.display();
            format!("{place}: cannot be replaced; it holds until the next reload or start of the daemon that you copy it there")
        })?;
        // It is in its place; that it outlasts a power failure is all that may be missing.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
        Ok(place)
    }
}

fn copy(source: File, place: &Path) -> io::Result<NamedTempFile> {
    let about = fs::metadata(place)?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let mut copy =
        tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(parent(place))?;
    let private = source.metadata()?.mode();
    // One byte more than is read shows that it is too long.
    io::copy(&mut source.take(LONGEST.saturating_add(1) as u64), copy.as_file_mut())?;
    fchown(copy.as_file(), Some(about.uid()), Some(about.gid()))?;
    // What is private stays so, wherever it lies.
    let others = about.mode() & private & 0o007;
    copy.as_file().set_permissions(Permissions::from_mode(about.mode() & 0o770 | others))?;
    copy.as_file().sync_all()?;
    Ok(copy)
}

fn parent(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_takes_the_place_with_owner_and_mode_of_what_was_there_also_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let [own, link, new] = ["own", "link", "new"].map(|name| directory.path().join(name));
        fs::write(&own, "old").unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o640)).unwrap();
        fs::write(&new, "new").unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let candidate = Candidate::beside(&link, &new).unwrap().unwrap();
        assert_eq!(candidate.path().metadata().unwrap().mode() & 0o7777, 0o640);
        fs::write(&new, "newer").unwrap();
        assert_eq!(fs::read_to_string(&own).unwrap(), "old");
        candidate.take_its_place().unwrap();
        assert_eq!(fs::read_to_string(&own).unwrap(), "new", "as it was tried");
        assert_eq!(own.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_copy_of_a_private_file_is_private_too() {
        let directory = tempfile::tempdir().unwrap();
        let [own, new] = ["own", "new"].map(|name| directory.path().join(name));
        for (path, mode) in [(&own, 0o644), (&new, 0o600)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let candidate = Candidate::beside(&own, &new).unwrap().unwrap();
        assert_eq!(candidate.path().metadata().unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn what_is_not_kept_leaves_nothing_and_the_file_itself_is_no_candidate() {
        let directory = tempfile::tempdir().unwrap();
        let [own, new] = ["own", "new"].map(|name| directory.path().join(name));
        fs::write(&own, "old").unwrap();
        fs::write(&new, "new").unwrap();
        assert!(Candidate::beside(&own, &own).unwrap().is_none());
        drop(Candidate::beside(&own, &new).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(&own).unwrap(), "old");
        let error = Candidate::beside(&own, &directory.path().join("none")).map(drop).unwrap_err();
        assert!(
            error.is::<Mistake>() && error.to_string().contains("/none: cannot be read"),
            "{error}"
        );
    }
}
