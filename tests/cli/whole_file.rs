//! A file that is no configuration is refused with exit code 2, and the message names the file, the place and what is
//! wrong there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::host::{Host, PROGRAM, after, check, good, message, with};

const INTERFACE_KEYS: &str = "name, addresses, private_key, private_key_file, listen_port, mtu, table, fwmark, offload, kill_switch, dns, search, rate_limit_out, rate_limit_in, copy_dscp, clamp_mss, mode, mac, promisc, bridge, mac_limit, broadcast_limit, link_local_frames";
const PEER_KEYS: &str = "public_key, preshared_key, preshared_key_file, endpoint, allowed_ips, persistent_keepalive, profile, cipher";

#[test]
fn an_unknown_key_is_named_with_the_one_that_may_be_meant() {
    let host = Host::new();
    for (section, line, problem, keys) in [
        (
            "interface",
            "adresses = 1",
            "\"adresses\": is not a key; perhaps addresses is meant",
            INTERFACE_KEYS,
        ),
        (
            "interface",
            "ListenPort = 1",
            "\"ListenPort\": is not a key; perhaps listen_port is meant",
            INTERFACE_KEYS,
        ),
        (
            "interface",
            "endpoint = 1",
            "\"endpoint\": is not a key; endpoint belongs under [peer]",
            INTERFACE_KEYS,
        ),
        (
            "interface",
            "udp_gso = 1",
            "\"udp_gso\": is not a key; udp_gso belongs under [interface.offload]",
            INTERFACE_KEYS,
        ),
        ("peer", "mtu = 1420", "\"mtu\": is not a key; mtu belongs under [interface]", PEER_KEYS),
        ("peer", "colour = 1", "\"colour\": is not a key", PEER_KEYS),
    ] {
        let number = if section == "interface" { 4 } else { 6 };
        assert_eq!(
            message(&host, &with(section, line)),
            format!("{number}:1: [{section}] {problem}; accepted: {keys}")
        );
    }
}

#[test]
fn sections_are_there_and_there_are_no_others() {
    let host = Host::new();
    let both = "the sections [interface] and [peer]";
    let all = "the sections [interface], [peer], [hooks], [metrics] and [log]";
    let interface_only = good().split("[peer]").next().unwrap().to_owned();
    for (text, expected) in [
        (
            format!("mtu = 1420\n{}", good()),
            "1:1: \"mtu\": is not known here; accepted: mtu under [interface]".to_owned(),
        ),
        (with("peer", "[peers]"), format!("6:2: \"peers\": is not known here; accepted: {all}")),
        (String::new(), format!(" [interface]: is missing; accepted: a file with {both}")),
        (interface_only, format!(" [peer]: is missing; accepted: a file with {both}")),
        (
            "interface = 1\n[peer]\n".to_owned(),
            "1:13: [interface]: is not a section; accepted: [interface] once, on its own line"
                .to_owned(),
        ),
    ] {
        assert_eq!(message(&host, &text), expected, "{text}");
    }
}

#[test]
fn a_key_and_a_section_are_given_once() {
    let host = Host::new();
    let twice = "is given twice; accepted: each section and each key once";
    let keys = with("interface", "mtu = 1420\nmtu = 1400");
    assert_eq!(message(&host, &keys), format!("5:1: [interface] mtu: {twice}"));
    let sections = with("peer", "[interface]");
    assert_eq!(message(&host, &sections), format!("6:2: [interface]: {twice}"));
}

#[test]
fn a_key_that_must_be_there_is_missing_from_its_section() {
    let host = Host::new();
    for (key, place, accepted) in [
        ("addresses", "1:1: [interface] addresses", "a list of addresses like"),
        (
            "private_key_file",
            "1:1: [interface] private_key_file",
            "the name of a file made by: tunneld genkey",
        ),
        ("public_key", "4:1: [peer] public_key", "the peer's public key"),
    ] {
        let text: Vec<String> = good()
            .lines()
            .map(|line| if line.starts_with(key) { String::new() } else { line.to_owned() })
            .collect();
        let found = message(&host, &text.join("\n"));
        let expected = format!("{place}: is missing; accepted: {accepted}");
        assert!(found.starts_with(&expected), "{found}");
    }
}

#[test]
fn what_is_not_toml_has_its_place_and_no_line_of_the_file_in_the_message() {
    let host = Host::new();
    for (line, place) in [
        ("listen_port 51820", "4:"),
        ("listen_port = 51820 x", "4:"),
        ("listen_port = ", "4:"),
        ("private_key = hushhush=", "4:"),
        ("private_key = \"hushhush", "4:"),
    ] {
        let found = message(&host, &with("interface", line));
        assert!(found.starts_with(place), "{found}");
        assert!(
            found.contains("is not TOML: ") && found.contains("; accepted: lines like"),
            "{found}"
        );
        assert!(!found.contains("hush"), "{found}");
    }
    fs::write(host.path("latin1"), b"[interface]\nname = \"\xe9\"\n").unwrap();
    assert_eq!(
        after(check(&host.path("latin1")), &host.path("latin1")),
        "2:9: is not text in UTF-8; accepted: a text file"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let host = Host::new();
    let accepted = "a configuration that tunneld can read";
    assert_eq!(
        after(check(&host.path("none.toml")), &host.path("none.toml")),
        format!(" cannot be read: No such file or directory (os error 2); accepted: {accepted}")
    );
    fs::create_dir(host.path("dir")).unwrap();
    assert_eq!(
        after(check(&host.path("dir")), &host.path("dir")),
        format!(" is a directory; accepted: {accepted}")
    );
    let path = host.write("big", &"#".repeat(65_537), 0o644);
    assert_eq!(
        after(check(&path), &path),
        format!(" is longer than 65536 bytes; accepted: {accepted}")
    );
}

#[test]
fn files_that_we_may_not_read_are_named() {
    let host = Host::new();
    // Root may read everything, so it lets go of that first; the program must then be where anyone can run it.
    let dir = host.path("");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    // By another process: one that we fork meanwhile would hold the file open for writing, too busy to be run.
    let copied = Command::new("cp").arg(PROGRAM).arg(host.path("tunneld")).status().unwrap();
    assert!(copied.success());
    let check = |name: &str| {
        let mut command = Command::new(host.path("tunneld"));
        command.args(["check", "-c"]).arg(host.path(name)).env_remove("TUNNELD_LOG");
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    host.write("hidden.toml", &good(), 0o000);
    assert_eq!(
        check("hidden.toml"),
        format!(
            "tunneld: error: {}: cannot be read: Permission denied (os error 13); accepted: a configuration that tunneld can read\n",
            host.path("hidden.toml").display()
        )
    );
    host.write("private.key", "", 0o000);
    host.write("open.toml", &good(), 0o644);
    assert_eq!(
        check("open.toml"),
        format!(
            "tunneld: error: {}:3:20: [interface] private_key_file: \"private.key\" cannot be read: \
             Permission denied (os error 13); accepted: a key file that tunneld can read\n",
            host.path("open.toml").display()
        )
    );
}
