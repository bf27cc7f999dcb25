//! What a test needs of the machine, and what happens where it is missing.

use std::fs::File;
use std::io::Write as _;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Whether the test may go on: if something is missing, says what; where all is required, fails.
pub(crate) fn ready(test: &str, programs: &[&str]) -> bool {
    let Some(missing) = missing(programs) else {
        return true;
    };
    let test = test.trim_start_matches("netns::").trim_end_matches("::here");
    assert!(
        std::env::var("TUNNELD_TEST_REQUIRE").as_deref() != Ok("all"),
        "{test} needs {missing}"
    );
    // Past the harness, which shows only what failing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {missing}");
    false
}

/// Returns from a test that needs what is not here: root, iproute2, and the programs or files named.
macro_rules! needs {
    ($($program:literal),*) => {
        fn here() {}
        if !$crate::netns::needs::ready(std::any::type_name_of_val(&here), &[$($program),*]) {
            return;
        }
    };
}
pub(crate) use needs;

fn missing(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root".to_owned());
    }
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    if let Some(program) = ["ip"].iter().chain(programs).find(|name| !on_path(name)) {
        return Some(program.to_string());
    }
    if File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        return Some("/dev/net/tun".to_owned());
    }
    let own = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET));
    match own.join() {
        Ok(Ok(())) => None,
        _ => Some("permission to make network namespaces".to_owned()),
    }
}
