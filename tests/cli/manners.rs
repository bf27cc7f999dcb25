//! What any command owes its user: help, exit codes, quiet ends.

use std::io::Read;
use std::process::{Command as Process, Stdio};

use crate::host::{Host, PROGRAM, answer, good, key, tunneld};

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "demo"]] {
        let answer = answer(tunneld().args(arguments));
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!answer.stdout.is_empty());
    }
    let help = answer(tunneld().arg("--help")).stdout;
    let commands = "run check doctor reload apply status top events genkey pubkey genpsk pair import export device demo bench completions manual";
    for word in commands.split(' ').chain(["Exit status", "TUNNELD_LOG"]) {
        assert!(help.contains(word), "{word}\n{help}");
    }
}

#[test]
fn a_mistake_in_the_command_line_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--fast"],
        &["check", "-c"],
        &["status", "-i", "a", "-c", "b"],
        &["demo", "--seconds", "x"],
        &["apply", "--confirm", "2h"],
        &["apply", "one", "two"],
    ] {
        let answer = answer(tunneld().args(arguments));
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(
            answer.stderr.contains("--help") || answer.stderr.contains("Usage: tunneld"),
            "{}",
            answer.stderr
        );
    }
}

#[test]
fn a_trial_needs_a_time_that_makes_sense_and_a_daemon() {
    let trial = |time: &str| {
        answer(
            tunneld()
                .args(["apply", &format!("--confirm={time}")])
                .env("RUNTIME_DIRECTORY", "/nonexistent"),
        )
    };
    for time in ["", "x", "9s", "61m", "-5s", "1d"] {
        let answer = trial(time);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{time}");
        assert!(
            answer.stderr.contains("accepted: a time from 10s to 1h, like 60s or 5m"),
            "{}",
            answer.stderr
        );
    }
    let answer = trial("5m");
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("no tunneld runs here"), "{}", answer.stderr);
}

#[test]
fn a_level_that_is_none_is_a_mistake_of_the_user() {
    let answer = answer(tunneld().arg("genkey").env("TUNNELD_LOG", "loud"));
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""));
    assert_eq!(
        answer.stderr,
        "tunneld: error: TUNNELD_LOG: \"loud\" is not a level; accepted: error, warn, info, debug, trace\n"
    );
}

#[test]
fn a_log_in_json_is_json_even_where_it_ends() {
    let run = ["run", "--log-format", "json", "-c", "/nonexistent.toml"];
    let answer = answer(tunneld().args(run));
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""));
    let event: serde_json::Value = serde_json::from_str(&answer.stderr).unwrap();
    assert_eq!(event["level"], "ERROR");
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with("/nonexistent.toml: cannot be read"), "{message}");
}

#[test]
fn a_log_in_another_format_is_a_mistake_of_the_user() {
    let answer = answer(tunneld().args(["run", "--log-format", "loud"]));
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""));
    assert!(answer.stderr.contains("[possible values: text, json, journald]"), "{answer:?}");
}

#[test]
fn the_completions_of_each_shell_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = answer(tunneld().args(["completions", shell])).stdout;
        for word in ["run", "check", "genkey", "pubkey", "genpsk", "demo", "log-format"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn check_says_what_the_configuration_means_without_secrets() {
    let host = Host::new();
    let text = good()
        .replace("[peer]", "listen_port = 51820\ntable = 7\noffload = { tun_gro = false, udp_gro = false }\n[peer]\npreshared_key_file = \"psk\"");
    let answer = host.check(&text);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    let (ours, theirs) = (key(1).public_key(), key(2).public_key());
    let path = host.path("tunneld.toml");
    assert_eq!(
        answer.stdout,
        format!(
            "{}: ok
interface
  name           tun0
  addresses      10.77.0.1/30, fd77::1/64
  public key     {ours}
  listen port    51820
  mtu            worked out from the path
  routes         in table 7
  fwmark         none
  offload        tun_gso, udp_gso
  kill switch    off
  dns            as it is
  search         none
  limit out      none
  limit in       none
  dscp           not copied
  mss            clamped to the mtu
peer
  public key     {theirs}
  preshared key  yes
  endpoint       none; waits for the peer to call
  allowed ips    10.77.0.0/30, fd77::/64
  keepalive      every 25 s
  profile        wireguard
  cipher         chacha20-poly1305
",
            path.display()
        )
    );
    let noted = host.check(&good()).stdout;
    assert!(noted.ends_with(
        "note: without an endpoint and a listen_port, neither end knows where to call the other\n"
    ));
}

#[test]
fn check_shows_hooks_as_they_will_be_run() {
    let host = Host::new();
    let hooks = "[hooks]\nup = ['/bin/sh', '-c', 'a; b']\nendpoint_changed = ['/bin/true']\n";
    let answer = host.check(&(good() + hooks));
    let expected = "hooks\n  up             [\"/bin/sh\", \"-c\", \"a; b\"]\n  endpoint changed [\"/bin/true\"]\n";
    assert!(answer.stdout.contains(expected), "{answer:?}");
    assert!(!host.check(&good()).stdout.contains("hooks"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Process::new(PROGRAM)
        .arg("genkey")
        .env_remove("TUNNELD_LOG")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Process::new(PROGRAM).arg("genkey").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "tunneld: error: cannot write to standard output: No space left on device (os error 28)\n"
    );
}

#[test]
fn an_error_that_goes_to_the_journal_has_its_level() {
    use std::os::unix::fs::MetadataExt;
    let host = Host::new();
    let log = std::fs::File::create(host.path("log")).unwrap();
    let about = log.metadata().unwrap();
    let status = Process::new(PROGRAM)
        .args(["check", "-c", "/nonexistent.toml"])
        .env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()))
        .stderr(log)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
    let said = std::fs::read_to_string(host.path("log")).unwrap();
    assert!(said.starts_with("<3>tunneld: error: /nonexistent.toml"), "{said}");
}
