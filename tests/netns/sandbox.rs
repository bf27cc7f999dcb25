//! The sandbox of a running daemon: on every thread, in every hook, and in nobody's way.

use std::fs;
use std::path::Path;

use super::config::ends;
use super::lab::{Host, INNER_B, Lab, direct_v4, stop};
use super::needs::needs;

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
fn a_hook_may_write_where_the_daemon_may_and_nowhere_else() {
    needs!("ping", "sh", "unshare");
    let lab = Lab::direct();
    let here = lab.directory_of(Host::A).join("here");
    let there = format!("/run/tunneld-test-{}", std::process::id());
    let script = r#"echo x > "$0"; mkdir "$1" && echo made; unshare -n true && echo left; exit 0"#;
    let mut ends = ends(direct_v4);
    ends[0].hooks = format!("up = ['/bin/sh', '-c', '{script}', {here:?}, {there:?}]\n");
    let [a, _b] = lab.link(&ends);
    let told = a.wait_for("hook done");
    let escaped = fs::remove_dir(Path::new(&there)).is_ok();
    assert!(!escaped && !told.contains("made"), "{told}");
    assert!(told.contains("mkdir: cannot create directory"), "{told}");
    assert!(told.contains("unshare: ") && !told.contains("left"), "{told}");
    assert_eq!(fs::read_to_string(here).unwrap(), "x\n");
    assert!(lab.pings(Host::A, INNER_B[1]));
}
