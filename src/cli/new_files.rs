//! Files that hold secrets: new, for their owner alone, whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

/// Writes all of `files` or, on failure, none of them. What exists is never overwritten.
///
/// # Errors
/// A file of that name exists, or cannot be written.
pub(super) fn write(files: &[(PathBuf, &str)]) -> anyhow::Result<()> {
    // Before anything is written: the usual mistake.
    for (path, _) in files {
        if path.symlink_metadata().is_ok() {
            bail!("{}: exists already; accepted: a file that does not exist", path.display());
        }
    }
    let ready: Vec<_> = files
        .iter()
        .map(|(path, text)| prepare(path, text).with_context(|| format!("{}", path.display())))
        .collect::<anyhow::Result<_>>()?;
    for (done, ((path, _), file)) in files.iter().zip(ready).enumerate() {
        if let Err(error) = file.persist_noclobber(path) {
            for (earlier, _) in files.iter().take(done) {
                // It was made a moment ago, by us.
                let _ = fs::remove_file(earlier);
            }
            return Err(error.error).with_context(|| format!("{}", path.display()));
        }
    }
    Ok(())
}

/// The content beside its place, on the disk, under a name that is taken away again unless it is persisted.
fn prepare(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Such a file has mode 0600.
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn of_several_files_all_are_there_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| directory.path().join(name));
        write(&[(a.clone(), "of a"), (b.clone(), "of b")]).unwrap();
        assert_eq!(fs::read_to_string(&b).unwrap(), "of b");
        assert_eq!(a.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        let error = write(&[(c.clone(), "new"), (b.clone(), "other")]).unwrap_err().to_string();
        assert!(
            error.ends_with("/b: exists already; accepted: a file that does not exist"),
            "{error}"
        );
        // This one shows only when the first is in its place: the two are the same.
        write(&[(c.clone(), "1"), (c.clone(), "2")]).unwrap_err();
        let nowhere = directory.path().join("none/d");
        write(&[(c, "1"), (nowhere, "2")]).unwrap_err();
        assert_eq!(fs::read_to_string(&b).unwrap(), "of b");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "a and b");
    }
}
