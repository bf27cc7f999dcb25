//! `genkey`, `pubkey` and `genpsk`, alone and against `wg`.

use std::fs::File;
use std::process::Command as Process;

use assert_cmd::Command;

use crate::common::require;
use crate::host::{Host, answer, key, tunneld};

fn line(command: &mut Command) -> String {
    let answer = answer(command);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    let line = answer.stdout.strip_suffix('\n').unwrap().to_owned();
    assert_eq!(line.len(), 44, "{line}");
    line
}

fn wg() -> Command {
    Command::new("wg")
}

#[test]
fn a_private_key_gives_its_public_key() {
    let private = line(tunneld().arg("genkey"));
    let public = line(tunneld().arg("pubkey").write_stdin(format!("{private}\n")));
    let parsed: tunneld::crypto::PrivateKey = private.parse().unwrap();
    assert_eq!(public, parsed.public_key().to_string());
    assert_ne!(private, line(tunneld().arg("genkey")));
    assert_ne!(line(tunneld().arg("genpsk")), line(tunneld().arg("genpsk")));
}

#[test]
fn keys_are_those_of_wg() {
    if !require("wg") {
        return;
    }
    for (ours, theirs) in [
        (line(tunneld().arg("genkey")), ""),
        (line(wg().arg("genkey")), "\n"),
        (line(tunneld().arg("genpsk")), "\n"),
        (line(wg().arg("genpsk")), "\n"),
    ] {
        let input = format!("{ours}{theirs}");
        assert_eq!(
            line(tunneld().arg("pubkey").write_stdin(input.clone())),
            line(wg().arg("pubkey").write_stdin(input))
        );
    }
}

#[test]
fn what_is_no_key_is_refused_and_not_shown() {
    let long = "A".repeat(1000);
    for input in ["", "hush", &format!("{0}{0}", key(1).to_base64().as_str()), &long, "\u{e9}"] {
        let answer = answer(tunneld().arg("pubkey").write_stdin(input));
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(1), ""), "{input}");
        let begin = "tunneld: error: standard input is no private key; accepted: one line as made by tunneld genkey: ";
        assert!(answer.stderr.starts_with(begin), "{}", answer.stderr);
        assert!(!answer.stderr.contains("hush"), "{}", answer.stderr);
    }
}

#[test]
fn a_secret_into_a_file_that_others_can_read_brings_a_warning() {
    let host = Host::new();
    for (mode, warned) in [(0o644, true), (0o600, false), (0o640, false)] {
        let path = host.write("out", "", mode);
        for command in ["genkey", "genpsk"] {
            let out = File::options().write(true).open(&path).unwrap();
            let output =
                Process::new(crate::host::PROGRAM).arg(command).stdout(out).output().unwrap();
            assert!(output.status.success());
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                stderr.starts_with("tunneld: warning: a secret is written"),
                warned,
                "{stderr}"
            );
        }
    }
}
