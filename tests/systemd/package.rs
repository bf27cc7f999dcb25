//! The Debian package, built as docs/operations.md says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::netns::lab::expect_success;

/// The package with this revision.
pub(crate) fn package(revision: u32) -> PathBuf {
    // The builds share a directory.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tunneld-{revision}.deb"));
    let mut build = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.deb/build"));
    build.args(["--fast", "--deb-revision", &revision.to_string(), "--output"]).arg(&path);
    expect_success(&build.output().unwrap());
    path
}
