//! What several test programs use.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::env;
use std::io::{self, Write};
use std::thread;

/// Whether `program` is installed. If it is not, says so, and the calling test returns early; with
/// `TUNNELD_TEST_REQUIRE=all` it fails instead.
pub(crate) fn require(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path).any(|dir| dir.join(program).is_file());
    installed || skip(&format!("{program} not installed"))
}

/// Says that the running test is skipped; returns `false`.
///
/// # Panics
/// With `TUNNELD_TEST_REQUIRE=all`.
pub(crate) fn skip(reason: &str) -> bool {
    let current = thread::current();
    let line = format!("SKIPPED: {}: {reason}", current.name().unwrap_or("test"));
    let required = env::var_os("TUNNELD_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "{line}");
    // Not `eprintln!`: the test harness keeps that to itself when a test passes.
    let _ = writeln!(io::stderr(), "{line}");
    false
}
