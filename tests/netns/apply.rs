//! Trials: a configuration that goes back by itself unless the peer answers and somebody confirms it.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tunneld::crypto::PrivateKey;

use super::config::{End, SOME_KEY, ends};
use super::lab::{HANDSHAKE, Host, INNER_A, INNER_B, Lab, PORT, direct_v4};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::socket::{ask, connect, socket};

/// What the daemon says when it is back.
const BACK: &str = "WARN back to the configuration before";

/// A linked pair, what a runs by, and its file.
fn linked() -> (Lab, [Process; 2], End, PathBuf) {
    let lab = Lab::direct();
    let both = ends(direct_v4);
    let daemons = lab.link(&both);
    let file = lab.directory_of(Host::A).join("tun0.toml");
    (lab, daemons, both[0].clone(), file)
}

/// One that the peer does not know.
fn unanswered(end: &End) -> End {
    End { public_key: PrivateKey::clamped([7; 32]).public_key().to_string(), ..end.clone() }
}

/// The words that name a's file and this one, which is to take its place.
fn instead<'a>(own: &'a Path, new: &'a Path) -> [&'a str; 3] {
    ["-c", own.to_str().unwrap(), new.to_str().unwrap()]
}

/// `tunneld apply` with these words for the daemon on host a, begun.
fn begin(lab: &Lab, words: &[&str]) -> Child {
    // Not by another program: signals are for this one.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tunneld"));
    command.arg("apply").args(words).env("RUNTIME_DIRECTORY", lab.directory_of(Host::A));
    command.env_remove("TUNNELD_LOG").stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Its exit code and what it said.
fn end(program: Child) -> (Option<i32>, String) {
    let output = program.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    (output.status.code(), said)
}

/// The same from beginning to end, with this answer.
fn apply(lab: &Lab, words: &[&str], answer: &str) -> (Option<i32>, String) {
    let program = begin(lab, words);
    program.stdin.as_ref().unwrap().write_all(answer.as_bytes()).unwrap();
    end(program)
}

/// What the daemon answers to this.
fn answer(lab: &Lab, request: &str) -> String {
    ask(&mut connect(&socket(lab)), request)
}

fn trial(lab: &Lab) -> Value {
    let status: Value = serde_json::from_str(&answer(lab, r#"{"command":"status"}"#)).unwrap();
    status["trial"].clone()
}

/// Whether the MTU of the device is this, sooner or later: it may follow the path.
fn mtu_is(lab: &Lab, mtu: u16) -> bool {
    let shown = format!("mtu {mtu} ");
    wait_until(BOUND, || lab.ip(Host::A, "link show tun0").contains(&shown))
}

/// How many copies of what was tried lie about.
fn copies(lab: &Lab) -> usize {
    let files = fs::read_dir(lab.directory_of(Host::A)).unwrap().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with('.')).count()
}

#[test]
fn what_the_peer_does_not_answer_goes_back_by_itself_and_the_link_passes_again() {
    needs!("ping");
    let (lab, [a, _b], good, own) = linked();
    let before = (fs::read(&own).unwrap(), lab.network(Host::A));
    let new = lab.write_file(Host::A, "new", &unanswered(&good).to_toml());
    let (code, said) =
        apply(&lab, &[&["--confirm", "10s"], &instead(&own, &new)[..]].concat(), "yes\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not kept: the time was over"), "{said}");
    assert!(said.contains("the configuration before is back") && !said.contains("mend"), "{said}");
    let line = a.wait_for(BACK);
    assert!(line.contains("WARN") && line.contains("the peer did not answer in time"), "{line}");
    assert!(lab.pings(Host::A, INNER_B[0]));
    assert!(lab.pings(Host::B, INNER_A[1]));
    assert_eq!((fs::read(&own).unwrap(), lab.network(Host::A)), before);
    assert_eq!(copies(&lab), 0);
}

#[test]
fn what_is_confirmed_is_kept_and_takes_the_place_of_the_daemons_file() {
    needs!("ping");
    let (lab, [a, _b], good, own) = linked();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o640)).unwrap();
    let mut events = connect(&socket(&lab));
    writeln!(events.get_ref(), r#"{{"command":"events"}}"#).unwrap();
    let text = End { mtu: Some(1300), ..good }.to_toml();
    let new = lab.write_file(Host::A, "new", &text);
    let handshakes = a.count(HANDSHAKE);
    let (code, said) = apply(&lab, &instead(&own, &new), "yes");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("The peer answers. Keep it? Type yes within"), "{said}");
    assert!(said.contains("tun0.toml is now what was tried"), "{said}");
    assert_eq!(fs::read_to_string(&own).unwrap(), text);
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(mtu_is(&lab, 1300));
    assert_eq!(trial(&lab), Value::Null);
    assert_eq!(a.count(HANDSHAKE), handshakes + 1, "that is how the peer answered");
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "trial_kept") {
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        names.push(event["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, ["now", "trial_begun", "handshake_completed", "trial_kept"]);
}

#[test]
fn any_other_answer_and_an_interruption_go_back_at_once() {
    needs!("ping");
    let (lab, [a, _b], good, own) = linked();
    // Edited where it is.
    lab.write_file(Host::A, "tun0", &End { mtu: Some(1300), ..good }.to_toml());
    let own = own.to_str().unwrap();
    for (times, text) in ["no\n", "", "\n", "YES\n", "yes, why not\n"].into_iter().enumerate() {
        let (code, said) = apply(&lab, &["-c", own], text);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("not kept: the answer was not yes"), "{text:?}: {said}");
        assert!(said.contains("still has what was tried: mend it"), "{said}");
        let line = a.wait_for_nth(times + 1, BACK);
        assert!(
            line.contains("as somebody asked") && line.contains("tun0.toml still has"),
            "{line}"
        );
        assert!(mtu_is(&lab, 1440));
    }
    for (signal, reason) in
        [(Signal::SIGINT, "interrupted"), (Signal::SIGHUP, "the terminal is gone")]
    {
        let program = begin(&lab, &[]);
        assert!(wait_until(BOUND, || trial(&lab)["peer_answered"] == true));
        kill(Pid::from_raw(program.id().cast_signed()), signal).unwrap();
        let (code, said) = end(program);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(reason) && said.contains("is back"), "{said}");
        assert!(mtu_is(&lab, 1440));
    }
}

#[test]
fn a_program_that_is_killed_keeps_nothing() {
    needs!("ping");
    let (lab, [a, _b], good, own) = linked();
    let new = lab.write_file(Host::A, "new", &End { mtu: Some(1300), ..good }.to_toml());
    let mut program = begin(&lab, &[&["--confirm=10s"], &instead(&own, &new)[..]].concat());
    assert!(wait_until(BOUND, || trial(&lab)["peer_answered"] == true));
    assert!(mtu_is(&lab, 1300));
    program.kill().unwrap();
    program.wait().unwrap();
    let line = a.wait_for(BACK);
    assert!(line.contains("the peer answered, but nobody confirmed in time"), "{line}");
    assert!(mtu_is(&lab, 1440));
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn nothing_is_kept_unheard_and_nothing_else_is_taken_on_during_a_trial() {
    needs!("ping");
    let (lab, [a, _b], good, own) = linked();
    let new = lab.write_file(Host::A, "new", &unanswered(&good).to_toml());
    let new = new.to_str().unwrap();
    let says = |request: &str, words: &str| {
        let answer = answer(&lab, request);
        assert!(answer.contains(words), "{request}: {answer}");
    };
    for seconds in [9, 3601] {
        let request = format!(r#"{{"command":"apply","file":"{new}","seconds":{seconds}}}"#);
        says(&request, "accepted: 10 to 3600");
    }
    says(r#"{"command":"confirm"}"#, "no configuration is being tried");
    says(r#"{"command":"revert"}"#, "no configuration is being tried");
    let apply = format!(r#"{{"command":"apply","file":"{new}","seconds":600}}"#);
    says(&apply, r#"{"done":"apply","trial":""#);
    says(r#"{"command":"confirm"}"#, "the peer has not answered");
    says(&apply, "a configuration is being tried");
    says(r#"{"command":"reload"}"#, "a configuration is being tried");
    a.signal(Signal::SIGHUP);
    a.wait_for_nth(3, "not reloaded");
    let trial = trial(&lab);
    assert_eq!((&trial["file"], &trial["peer_answered"]), (&new.into(), &false.into()));
    let left = trial["seconds_left"].as_f64().unwrap();
    assert!((500.0..=600.0).contains(&left), "{left}");
    let mut status = lab.command(Host::A, env!("CARGO_BIN_EXE_tunneld"));
    let status = status.arg("status").env("RUNTIME_DIRECTORY", lab.directory_of(Host::A)).output();
    let said = String::from_utf8(status.unwrap().stdout).unwrap();
    assert!(
        said.contains("trying a configuration: 9 min") && said.contains("has not answered"),
        "{said}"
    );
    says(r#"{"command":"revert"}"#, r#"{"done":"revert","trial":""#);
    assert!(lab.pings(Host::A, INNER_B[0]));
    assert_eq!(fs::read_to_string(own).unwrap(), good.to_toml());
}

#[test]
fn a_preshared_key_that_only_this_end_has_is_found_out_though_the_session_lives() {
    needs!("ping");
    let (lab, [_a, _b], good, own) = linked();
    let end = End { preshared_key: Some(SOME_KEY.to_owned()), ..good };
    let new = lab.write_file(Host::A, "new", &end.to_toml());
    let (code, said) =
        apply(&lab, &[&["--confirm=10s"], &instead(&own, &new)[..]].concat(), "yes\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the time was over"), "{said}");
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn a_file_that_is_broken_or_needs_a_restart_is_not_tried_at_all() {
    needs!("ping");
    let (lab, [_a, _b], good, own) = linked();
    let before = lab.network(Host::A);
    for (text, reason) in [
        (
            good.to_toml().replace("10.77.0.1/30", "10.77.0.1/33"),
            "new.toml:3:14: [interface] addresses",
        ),
        (
            End { name: "tun7".to_owned(), ..good.clone() }.to_toml(),
            "[interface] name needs a restart",
        ),
    ] {
        let new = lab.write_file(Host::A, "new", &text);
        let (code, said) = apply(&lab, &instead(&own, &new), "yes\n");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
        assert_eq!(trial(&lab), Value::Null);
    }
    assert_eq!((lab.network(Host::A), copies(&lab)), (before, 0));
}

#[test]
fn where_the_system_does_not_let_it_go_back_it_tries_again() {
    needs!("ping");
    let (lab, [a, _b], good, _) = linked();
    let new = End { listen_port: Some(51900), ..good };
    let new = lab.write_file(Host::A, "new", &new.to_toml());
    let request = format!(r#"{{"command":"apply","file":{new:?},"seconds":600}}"#);
    assert!(answer(&lab, &request).contains("apply"));
    let bind = || {
        let mut socket = None;
        // The data threads leave it a moment later.
        wait_until(BOUND, || {
            socket = UdpSocket::bind(("0.0.0.0", PORT)).ok();
            socket.is_some()
        });
        socket.expect("the daemon has left the port")
    };
    let taken = lab.inside(Host::A, bind).join().unwrap();
    let refused = answer(&lab, r#"{"command":"revert"}"#);
    assert!(refused.contains("cannot go back") && refused.contains("already in use"), "{refused}");
    assert!(!trial(&lab).is_null());
    drop(taken);
    a.wait_for(BACK);
    assert!(lab.pings(Host::A, INNER_B[0]));
}

#[test]
fn who_tried_one_configuration_neither_keeps_nor_ends_the_trial_of_somebody_else() {
    needs!("ping");
    let (lab, [_a, _b], good, own) = linked();
    let [first, second] = [1300, 1310].map(|mtu| {
        let text = End { mtu: Some(mtu), ..good.clone() }.to_toml();
        lab.write_file(Host::A, &format!("of-{mtu}"), &text)
    });
    let answered = || wait_until(BOUND, || trial(&lab)["peer_answered"] == true);
    let id = || trial(&lab)["id"].as_str().unwrap().to_owned();
    let program = begin(&lab, &instead(&own, &first));
    assert!(answered());
    let of_first = id();
    // By hand, where it need not be named and is told.
    let ended = answer(&lab, r#"{"command":"revert"}"#);
    assert_eq!(ended, format!("{{\"done\":\"revert\",\"trial\":\"{of_first}\"}}\n"));
    let request = format!(r#"{{"command":"apply","file":{second:?},"seconds":600}}"#);
    let of_second: Value = serde_json::from_str(&answer(&lab, &request)).unwrap();
    assert_eq!(of_second["trial"], id());
    assert!(answered());
    // Too late, also if it has not noticed yet.
    let _ = program.stdin.as_ref().unwrap().write_all(b"yes\n");
    let (code, said) = end(program);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("as trial {of_first}, and waiting")), "{said}");
    assert!(said.contains("the configuration before is back"), "{said}");
    for command in ["confirm", "revert"] {
        let request = format!(r#"{{"command":"{command}","trial":"{of_first}"}}"#);
        let refused = answer(&lab, &request);
        assert!(refused.contains(&format!("trial {of_first} is over")), "{refused}");
        assert!(refused.contains(&id()), "{refused}");
    }
    assert_eq!(of_second["trial"], id(), "it goes on");
    let kept = answer(&lab, r#"{"command":"confirm"}"#);
    assert!(kept.contains(r#"{"done":"confirm","trial":""#), "{kept}");
    assert!(mtu_is(&lab, 1310));

    // What somebody else has kept is not said to be gone.
    let program = begin(&lab, &instead(&own, &first));
    assert!(answered());
    answer(&lab, r#"{"command":"confirm"}"#);
    let (code, said) = end(program);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it was confirmed, and runs on"), "{said}");
    assert!(mtu_is(&lab, 1300));
    assert_eq!(fs::read_to_string(own).unwrap(), good.to_toml());
}

#[test]
fn no_file_is_replaced_that_only_the_daemon_names() {
    needs!("ping");
    let (lab, [_a, _b], good, own) = linked();
    let new = lab.write_file(Host::A, "new", &End { mtu: Some(1300), ..good.clone() }.to_toml());
    for words in [&[][..], &["-i", "tun0"]] {
        let words = [words, &[new.to_str().unwrap()]].concat();
        let (code, said) = apply(&lab, &words, "yes\n");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("name the file to be replaced with -c FILE"), "{said}");
        assert!(said.contains(own.to_str().unwrap()), "{said}");
    }
    assert_eq!((trial(&lab), copies(&lab)), (Value::Null, 0));
    assert_eq!(fs::read_to_string(own).unwrap(), good.to_toml());
}
