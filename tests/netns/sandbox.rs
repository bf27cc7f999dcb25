//! The sandbox of a running daemon: on every thread, in every hook, and in nobody's way.

use std::fs;

use super::config::ends;
use super::lab::{Host, INNER_B, Lab, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};

/// Of each thread of a process its name, whether it may gain privileges, and how many filters its system calls pass.
fn threads(process: u32) -> Vec<(String, [String; 3])> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let about = threads.map(|thread| {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.expect("the kernel tells it").trim().to_owned()
        };
        (field("Name:"), ["NoNewPrivs:", "Seccomp:", "Seccomp_filters:"].map(field))
    });
    let mut threads: Vec<_> = about.collect();
    threads.sort();
    threads.dedup();
    threads
}

#[test]
fn every_thread_of_a_daemon_is_confined_and_the_data_threads_most() {
    needs!("ping");
    let lab = Lab::direct();
    let [a, _b] = lab.link(&ends(direct_v4));
    let expected = [("inbound", 3), ("outbound", 3), ("tokio-rt-worker", 2), ("tunneld", 2)];
    let expected = expected.map(|(name, filters)| {
        (name.to_owned(), ["1".to_owned(), "2".to_owned(), filters.to_string()])
    });
    assert_eq!(threads(a.pid()), expected);
    assert!(!stop(a).contains("running without"));
}

#[test]
fn a_hook_writes_where_systemd_has_named_a_directory_and_nowhere_else() {
    needs!("ping", "sh", "unshare");
    let lab = Lab::direct();
    // Not among temporary files, where everybody writes.
    let place = tempfile::Builder::new().prefix("tunneld-test-").tempdir_in("/run").unwrap();
    let [state, cache, there] = ["state", "cache", "there"].map(|name| place.path().join(name));
    for directory in [&cache, &there] {
        fs::create_dir(directory).unwrap();
    }
    let script = r#"echo x > "$0/x"; echo x > "$1/x"; unshare -n true && echo left; exit 0"#;
    let mut ends = ends(direct_v4);
    ends[0].hooks = format!("up = ['/bin/sh', '-c', '{script}', {cache:?}, {there:?}]\n");
    let mut command = lab.daemon_command(Host::A, &ends[0]);
    command.env("STATE_DIRECTORY", &state);
    command.env("CACHE_DIRECTORY", format!("/nonexistent:{}", cache.display()));
    let a = Process::start("daemon A", command);
    let told = a.wait_for("hook done");
    assert_eq!(fs::read_dir(there).unwrap().count(), 0, "{told}");
    assert!(told.contains("unshare: ") && !told.contains("left"), "{told}");
    assert_eq!(fs::read_to_string(cache.join("x")).unwrap(), "x\n");
    // The directory for the state, which was not there, is there in time.
    let _b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::A, INNER_B[1]));
    assert!(wait_until(BOUND, || fs::read_dir(&state).unwrap().count() > 0), "{}", a.said());
}
