use std::future::pending;
use std::path::Path;
use std::{fs, io};

use futures_util::FutureExt as _;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::crypto::{PrivateKey, PublicKey};
use crate::proto::Role;
use crate::wire::Endpoint;

fn shell(script: &str, arguments: &[&str]) -> Job {
    let words = [&["/bin/sh", "-c", script], arguments].concat();
    let environment = vec![("PATH", PATH.to_owned()), ("TUNNELD_EVENT", "up".to_owned())];
    Job { event: UP, command: words.into_iter().map(str::to_owned).collect(), environment }
}

fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

/// Whether a process is there and has not ended.
fn lives(id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.trim()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until it is true.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hook_gets_its_arguments_as_they_are_and_nothing_of_our_environment() {
    let directory = tempdir().unwrap();
    let file = path(&directory, "seen");
    let words = ["a;b", "$(touch x)", "two\nlines", "`id`", ""];
    let mut arguments = vec![file.as_str()];
    arguments.extend(words);
    let script = r#"printf '%s|' "$@" > "$0"; tr '\0' '|' < /proc/self/environ; pwd; cat"#;
    let (outcome, said) = process::run(shell(script, &arguments), pending()).await;
    assert!(outcome.unwrap().success(), "{said}");
    assert_eq!(fs::read_to_string(file).unwrap(), words.join("|") + "|");
    let seen: Vec<_> = said.split('|').filter(|word| !word.starts_with("PWD=")).collect();
    assert_eq!(seen, [format!("PATH={PATH}").as_str(), "TUNNELD_EVENT=up", "/"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_hook_that_fails_says_so() {
    let (outcome, said) =
        process::run(shell("echo out; echo oops >&2; exit 3", &[]), pending()).await;
    assert_eq!((outcome.unwrap().code(), said.as_str()), (Some(3), "out\noops"));
    let missing = Job { command: vec!["/nonexistent".to_owned()], ..shell("", &[]) };
    let (outcome, _) = process::run(missing, pending()).await;
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_all_it_started() {
    let directory = tempdir().unwrap();
    let file = path(&directory, "child");
    let script = r#"trap '' TERM INT HUP; sleep 1000 & echo $! > "$0"; wait"#;
    let child = || fs::read_to_string(&file).unwrap_or_default();
    let hangs = until(|| child().ends_with('\n'));
    let (outcome, _) = process::run(shell(script, &[&file]), hangs).await;
    assert_eq!(outcome.unwrap_err().to_string(), "its time was up: killed");
    until(|| !lives(&child())).await;
}

#[tokio::test]
async fn what_a_hook_leaves_running_ends_with_it() {
    let (outcome, said) = process::run(shell("sleep 1000 & echo $!", &[]), pending()).await;
    assert!(outcome.unwrap().success());
    assert_ne!(said, "");
    until(|| !lives(&said)).await;
}

#[tokio::test]
async fn what_a_hook_says_is_bounded_and_does_not_hold_it_up() {
    let (outcome, said) =
        process::run(shell("head -c 300000 /dev/zero | tr '\\0' x", &[]), pending()).await;
    assert!(outcome.unwrap().success());
    assert_eq!(said, "x".repeat(1024));
    // Nor does it matter that it says nothing and closes its output.
    let (outcome, said) = process::run(shell("exec >&- 2>&-; exit 0", &[]), pending()).await;
    assert_eq!((outcome.unwrap().success(), said.as_str()), (true, ""));
}

/// Hooks that add a line for each event to a file, and the file.
fn recording(directory: &TempDir) -> (Hooks, String) {
    let file = path(directory, "events");
    let script = r#"echo "$TUNNELD_EVENT $TUNNELD_ENDPOINT" >> "$0""#;
    let words = || ["/bin/sh", "-c", script, &file].map(str::to_owned).to_vec();
    let programs = config::Hooks {
        up: words(),
        down: words(),
        peer_up: words(),
        peer_down: words(),
        endpoint_changed: words(),
    };
    (of(programs), file)
}

fn of(hooks: config::Hooks) -> Hooks {
    let key = PrivateKey::clamped([1; 32]).to_base64();
    let text = format!(
        "[interface]\naddresses = [\"10.77.0.1/30\"]\nprivate_key = {:?}\n[peer]\npublic_key = {:?}\n",
        key.as_str(),
        PublicKey::from([1; 32]).to_string()
    );
    let config = Config::parse(&text, Path::new("t")).unwrap();
    Hooks::new(&Config { hooks, ..config })
}

fn at(port: u16) -> Endpoint {
    Endpoint::new(([192, 0, 2, 1], port).into())
}

fn completed(port: u16) -> Event {
    Event::HandshakeCompleted { endpoint: at(port), role: Role::Initiator }
}

fn waiting(hooks: &Hooks) -> Vec<&'static str> {
    hooks.waiting.iter().map(|job| job.event).collect()
}

#[tokio::test]
async fn each_change_of_the_link_is_one_event() {
    let (mut hooks, _) = recording(&tempdir().unwrap());
    for (event, link_is_up, expected) in [
        (Event::HandshakeUnanswered { sent: 2 }, false, None),
        (completed(1), true, Some(PEER_UP)),
        (completed(1), true, None),
        (Event::EndpointMoved(at(2)), true, Some(ENDPOINT_CHANGED)),
        (Event::PeerSilent { silent_for: LIMIT }, true, None),
        (completed(3), true, Some(ENDPOINT_CHANGED)),
        (Event::HandshakeGivenUp, false, Some(PEER_DOWN)),
        (Event::KeysErased, false, None),
        (completed(3), true, Some(PEER_UP)),
    ] {
        hooks.waiting.clear();
        hooks.follow(&event, link_is_up);
        assert_eq!(waiting(&hooks), expected.into_iter().collect::<Vec<_>>(), "{event:?}");
    }
}

#[tokio::test]
async fn hooks_run_in_order_and_the_last_ones_also_when_the_link_ends() {
    let directory = tempdir().unwrap();
    let (mut hooks, file) = recording(&directory);
    hooks.up();
    hooks.follow(&completed(1), true);
    while hooks.running.is_some() || !hooks.waiting.is_empty() {
        hooks.turn().await;
    }
    hooks.follow(&Event::EndpointMoved(at(2)), true);
    hooks.finish().await;
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        "up \npeer_up 192.0.2.1:1\npeer_down 192.0.2.1:2\ndown \n"
    );
}

#[tokio::test]
async fn a_peer_that_moves_and_moves_takes_one_place_and_the_others_are_bounded() {
    let (mut hooks, _) = recording(&tempdir().unwrap());
    hooks.follow(&completed(1), true);
    for port in 2..1000 {
        hooks.follow(&Event::EndpointMoved(at(port)), true);
    }
    assert_eq!(waiting(&hooks), [PEER_UP, ENDPOINT_CHANGED]);
    assert!(hooks.waiting[1].environment.contains(&("TUNNELD_ENDPOINT", at(999).to_string())));
    for _ in 0..100 {
        hooks.follow(&Event::KeysErased, false);
        hooks.follow(&completed(1), true);
    }
    assert_eq!(hooks.waiting.len(), MOST_WAITING);
}

#[tokio::test]
async fn a_peer_that_moves_and_moves_costs_one_run_a_second() {
    let (mut hooks, _) = recording(&tempdir().unwrap());
    hooks.linked = Some(at(1).remote);
    hooks.moves.tick().await;
    hooks.follow(&Event::EndpointMoved(at(2)), true);
    assert!(hooks.turn().now_or_never().is_none());
    assert!(hooks.running.is_none());
    // Nothing else waits for that.
    hooks.waiting.clear();
    hooks.follow(&Event::KeysErased, false);
    assert!(hooks.turn().now_or_never().is_some());
    assert!(hooks.running.is_some());
}

#[tokio::test]
async fn without_hooks_nothing_runs() {
    let mut hooks = of(config::Hooks::default());
    hooks.up();
    hooks.follow(&completed(1), true);
    assert!(hooks.waiting.is_empty());
    hooks.finish().await;
}
