//! What several test programs use.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

/// Whether `program` is installed. If it is not, says so and the calling test returns early; with
/// `TUNNELD_TEST_REQUIRE=all` it fails instead.
pub fn require(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path).any(|dir| dir.join(program).is_file());
    installed || skip(&format!("{program} not installed"))
}

/// Says that the running test is skipped; returns `false`.
///
/// # Panics
/// With `TUNNELD_TEST_REQUIRE=all`.
pub fn skip(reason: &str) -> bool {
    let current = thread::current();
    let line = format!("SKIPPED: {}: {reason}", current.name().unwrap_or("test"));
    assert!(env::var_os("TUNNELD_TEST_REQUIRE").is_none_or(|value| value != "all"), "{line}");
    // Past the test harness, which keeps what a passing test prints to itself.
    let terminal = Path::new("/dev/stderr");
    let _ = match std::fs::OpenOptions::new().append(true).open(terminal) {
        Ok(mut stderr) => writeln!(stderr, "{line}"),
        Err(_) => writeln!(io::stderr(), "{line}"),
    };
    false
}
