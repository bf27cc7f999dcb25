//! Each mistake in a configuration is refused with exit code 2, and the message names the file, the place, the key,
//! the value and what would be accepted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::host::{Answer, Host, PROGRAM, check, good, key};

/// The message of one mistake: everything after the file name, which it must begin with.
fn message(host: &Host, text: &str) -> String {
    let answer = host.check(text);
    let begin = format!("tunneld: error: {}:", host.path("tunneld.toml").display());
    after(answer, &begin, text)
}

fn after(answer: Answer, begin: &str, what: &str) -> String {
    assert_eq!(answer.code, Some(2), "{what}\n{answer:?}");
    assert_eq!(answer.stdout, "", "{what}");
    assert_eq!(answer.stderr.lines().count(), 1, "{what}\n{}", answer.stderr);
    let message = answer.stderr.strip_prefix(begin);
    message.unwrap_or_else(|| panic!("{what}\n{}", answer.stderr)).trim_end().to_owned()
}

/// `good()` with `line` added at the end of `[interface]` (line 4) or of `[peer]` (line 6).
fn with(section: &str, line: &str) -> String {
    match section {
        "interface" => good().replace("[peer]", &format!("{line}\n[peer]")),
        _ => good() + line + "\n",
    }
}

#[test]
fn one_value_at_fault_is_named_with_its_place_and_what_would_do() {
    let host = Host::new();
    let name =
        r#"1 to 15 letters, digits and signs, without "/", ":", "%" and spaces, like "tun0""#;
    let table = r#""auto", "off" or a number from 1 to 4294967295"#;
    let port = "a number from 0 to 65535";
    let mark = "a number from 0 to 4294967295";
    for (line, column, problem, accepted) in [
        ("listen_port = \"x\"", 15, "\"x\" is not a number", port),
        ("listen_port = -1", 15, "-1 is out of range", port),
        ("listen_port = 65536", 15, "65536 is out of range", port),
        ("listen_port = 1.5", 15, "1.5 is not a number", port),
        ("listen_port = true", 15, "true is not a number", port),
        ("name = \"\"", 8, "\"\" is not a name for a network card", name),
        ("name = \"a/b\"", 8, "\"a/b\" is not a name for a network card", name),
        ("name = \"tun%d\"", 8, "\"tun%d\" is not a name for a network card", name),
        ("name = \"sixteen-letters-\"", 8, "\"sixteen-letters-\" has 16 bytes", name),
        ("name = \"..\"", 8, "\"..\" is a name with another meaning", name),
        ("name = 7", 8, "7 is not text in quotes", name),
        ("mtu = 575", 7, "575 is out of range", "a number from 576 to 65535"),
        ("mtu = 65536", 7, "65536 is out of range", "a number from 576 to 65535"),
        ("mtu = 1279", 7, "1279 is too small for the IPv6 address", "a number from 1280 to 65535"),
        ("table = \"main\"", 9, "\"main\" is not a routing table", table),
        ("table = 0", 9, "0 is out of range", table),
        ("table = 4294967296", 9, "4294967296 is out of range", table),
        ("table = []", 9, "[] is not a number", table),
        ("fwmark = -1", 10, "-1 is out of range", mark),
        ("fwmark = 0x1_0000_0000", 10, "0x100000000 is out of range", mark),
        ("fwmark = \"0x1\"", 10, "\"0x1\" is not a number", mark),
    ] {
        let key = line.split(' ').next().unwrap();
        assert_eq!(
            message(&host, &with("interface", line)),
            format!("4:{column}: [interface] {key}: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn one_value_of_the_peer_at_fault_is_named_likewise() {
    let host = Host::new();
    let endpoint = r#"like "host-b.example.net:51820", "192.0.2.1:51820" or "[2001:db8::1]:51820""#;
    let network = r#"like "10.77.0.0/30" or "fd77::/64""#;
    let seconds = "a number from 0 to 65535";
    for (line, column, problem, accepted) in [
        ("endpoint = \"host-b\"", 12, "\"host-b\" has no port", endpoint),
        (
            "endpoint = \"h:0\"",
            12,
            "\"h:0\" has no port from 1 to 65535 after its last colon",
            endpoint,
        ),
        ("endpoint = \"::1:1\"", 12, "\"::1:1\" has an IPv6 address without brackets", endpoint),
        ("endpoint = [\"a:1\", \"b\"]", 20, "\"b\" has no port", endpoint),
        ("endpoint = [\"a:1\", \"a:1\"]", 20, "\"a:1\" is given twice", "each endpoint once"),
        ("endpoint = []", 12, "[] is empty", endpoint),
        ("endpoint = 51820", 12, "51820 is not a list", endpoint),
        ("allowed_ips = []", 15, "[] is empty", network),
        ("allowed_ips = \"10.0.0.0/8\"", 15, "\"10.0.0.0/8\" is not a list", network),
        ("allowed_ips = [7]", 16, "7 is not text in quotes", network),
        (
            "allowed_ips = [\"10.0.0.0\"]",
            16,
            "\"10.0.0.0\" is not a network with a prefix length",
            network,
        ),
        ("persistent_keepalive = 65536", 24, "65536 is out of range", seconds),
        ("persistent_keepalive = \"25\"", 24, "\"25\" is not a number", seconds),
    ] {
        let key = line.split(' ').next().unwrap();
        assert_eq!(
            message(&host, &with("peer", line)),
            format!("6:{column}: [peer] {key}: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn addresses_are_those_of_a_host() {
    let host = Host::new();
    let like = r#"like "10.77.0.1/30" or "fd77::1/64""#;
    let of_host = format!("a host's address {like}");
    let no_prefix = "is not an address with a prefix length";
    for (list, column, problem, accepted) in [
        ("[]", 13, "[] is empty", like),
        ("\"10.77.0.1/30\"", 13, "\"10.77.0.1/30\" is not a list", like),
        ("[\"10.77.0.1/33\"]", 14, &format!("\"10.77.0.1/33\" {no_prefix}"), like),
        ("[\"10.77.0.1\"]", 14, &format!("\"10.77.0.1\" {no_prefix}"), like),
        ("[\"10.77.0.256/24\"]", 14, &format!("\"10.77.0.256/24\" {no_prefix}"), like),
        ("[\"fd77::1/129\"]", 14, &format!("\"fd77::1/129\" {no_prefix}"), like),
        ("[\"10.77.0.1/30\", 7]", 30, "7 is not text in quotes", like),
        ("[\"224.0.0.1/24\"]", 14, "\"224.0.0.1/24\" is a multicast address", &of_host),
        (
            "[\"10.7.0.1/24\", \"10.7.0.1/16\"]",
            29,
            "\"10.7.0.1/16\" is given twice",
            "each address once",
        ),
    ] {
        let text = good().replace(r#"["10.77.0.1/30", "fd77::1/64"]"#, list);
        assert_eq!(
            message(&host, &text),
            format!("2:{column}: [interface] addresses: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn allowed_ips_are_networks_apart_of_a_family_that_we_have() {
    let host = Host::new();
    let apart = "networks that have no address in common";
    for (list, column, problem, accepted) in [
        (
            r#"["10.0.0.5/24"]"#,
            16,
            "\"10.0.0.5/24\" is not the first address of its network",
            r#""10.0.0.0/24", or "10.0.0.5/32""#,
        ),
        (r#"["10.0.0.0/8", "10.0.0.0/8"]"#, 30, r#""10.0.0.0/8" overlaps "10.0.0.0/8""#, apart),
        (r#"["10.0.0.0/8", "10.1.0.0/16"]"#, 30, r#""10.1.0.0/16" overlaps "10.0.0.0/8""#, apart),
        (
            r#"["fd77::/64"]"#,
            16,
            "\"fd77::/64\" is IPv6, but [interface] addresses has no IPv6 address",
            "networks of the families that addresses has",
        ),
        (
            r#"["0.0.0.0/0"]"#,
            16,
            "\"0.0.0.0/0\" would route the tunnel's own packets into the tunnel: \
             this version cannot yet take the default route",
            "[interface] table = \"off\" or the number of another table, with routing rules of your own",
        ),
    ] {
        let text = with("peer", &format!("allowed_ips = {list}")).replace(r#", "fd77::1/64""#, "");
        assert_eq!(
            message(&host, &text),
            format!("6:{column}: [peer] allowed_ips: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn keys_that_are_none_are_refused_and_secret_ones_not_shown() {
    let host = Host::new();
    let theirs = "the peer's public key, as printed by tunneld pubkey or tunneld check on its host";
    for (value, problem) in [
        ("?", "\"?\" is not base64"),
        ("AAAA", "\"AAAA\" is base64 of 3 bytes, not 32"),
        (&*key(1).public_key().to_base64(), "is this host's own key"),
    ] {
        let text = good().replace(&*key(2).public_key().to_base64(), value);
        assert_eq!(
            message(&host, &text),
            format!("5:14: [peer] public_key: {problem}; accepted: {theirs}")
        );
    }
    let text = with("peer", "preshared_key = \"hush\"");
    assert_eq!(
        message(&host, &text),
        "6:17: [peer] preshared_key: the value is base64 of 3 bytes, not 32; \
         accepted: a key as made by: tunneld genpsk"
    );
}

#[test]
fn a_key_comes_from_one_source() {
    let host = Host::new();
    let both = "the key is already given in the other way; \
                accepted: either the key itself or its file, not both";
    let inline = format!("private_key = \"{}\"", key(1).to_base64().as_str());
    host.write("tunneld.toml", "", 0o600);
    let path = host.write("tunneld.toml", &with("interface", &inline), 0o600);
    let begin = format!("tunneld: error: {}:", path.display());
    assert_eq!(
        after(check(&path), &begin, "both private keys"),
        format!("3:20: [interface] private_key_file: {both}")
    );
    let lines = format!(
        "preshared_key = \"{}\"\npreshared_key_file = \"psk\"",
        key(3).to_base64().as_str()
    );
    let path = host.write("tunneld.toml", &with("peer", &lines), 0o600);
    assert_eq!(
        after(check(&path), &begin, "both preshared keys"),
        format!("7:22: [peer] preshared_key_file: {both}")
    );
}

#[test]
fn a_key_file_must_be_there_private_and_hold_a_key() {
    let host = Host::new();
    let file = |name: &str| host.path(name).display().to_string();
    host.write("open", "", 0o644);
    host.write("open", &format!("{}\n", key(1).to_base64().as_str()), 0o644);
    host.write("text", "not a key\n", 0o600);
    host.write("empty", "", 0o600);
    let made = |name: &str| {
        let path = file(name);
        format!("a private file with one line, as made by: (umask 077; tunneld genkey > {path})")
    };
    for (name, problem, accepted) in [
        ("absent", "cannot be read: No such file or directory (os error 2)", made("absent")),
        (
            "open",
            "is readable by others (mode 0644)",
            format!("a private file: chmod 600 {}", file("open")),
        ),
        ("text", "holds no key: not base64", made("text")),
        ("empty", "holds no key: not one line of text", made("empty")),
        (".", "is a directory", made(".")),
    ] {
        let text = good().replace("private.key", name);
        assert_eq!(
            message(&host, &text),
            format!(
                "3:20: [interface] private_key_file: \"{name}\" {problem}; accepted: {accepted}"
            )
        );
    }
}

#[test]
fn a_file_with_a_secret_in_it_must_be_private() {
    let host = Host::new();
    let text = good().replace(
        "private_key_file = \"private.key\"",
        &format!("private_key = \"{}\"", key(1).to_base64().as_str()),
    );
    let path = host.path("tunneld.toml").display().to_string();
    assert_eq!(
        message(&host, &text),
        format!(
            "3:15: [interface] private_key: a secret stands in this file, and it is readable by others (mode 0644); \
             accepted: a private file: chmod 600 {path}"
        )
    );
    let answer = check(&host.write("tunneld.toml", &text, 0o600));
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

#[test]
fn what_is_unknown_twice_or_missing_is_named() {
    let host = Host::new();
    for (text, expected) in [
        (
            with("interface", "adresses = 1"),
            "4:1: [interface] \"adresses\": is not a key; accepted: did you mean addresses?",
        ),
        (
            with("interface", "ListenPort = 1"),
            "4:1: [interface] \"ListenPort\": is not a key; accepted: did you mean listen_port?",
        ),
        (
            with("interface", "endpoint = 1"),
            "4:1: [interface] \"endpoint\": is not a key; accepted: a key like this only under [peer]",
        ),
        (
            with("peer", "colour = 1"),
            "6:1: [peer] \"colour\": is not a key; accepted: public_key, preshared_key, preshared_key_file, endpoint, allowed_ips, persistent_keepalive",
        ),
        (
            format!("mtu = 1420\n{}", good()),
            "1:1: \"mtu\": is not known here; accepted: mtu under [interface]",
        ),
        (
            with("peer", "[peers]"),
            "6:2: \"peers\": is not known here; accepted: the sections [interface] and [peer]",
        ),
        (
            with("interface", "mtu = 1420\nmtu = 1400"),
            "5:1: [interface] mtu: is given twice; accepted: each section and each key once",
        ),
        (
            with("peer", "[interface]"),
            "6:2: [interface]: is given twice; accepted: each section and each key once",
        ),
        (
            String::new(),
            " [interface]: is missing; accepted: a file with the sections [interface] and [peer]",
        ),
        (
            good().split("[peer]").next().unwrap().to_owned(),
            " [peer]: is missing; accepted: a file with the sections [interface] and [peer]",
        ),
        (
            format!("interface = 1\n{}", good().split("[peer]").nth(1).unwrap()),
            "1:13: interface: is not a section; accepted: [interface] once, on its own line",
        ),
    ] {
        if text.starts_with("interface = 1") {
            let text = "interface = 1\n[peer]\n";
            assert_eq!(message(&host, text), expected);
        } else {
            assert_eq!(message(&host, &text), expected, "{text}");
        }
    }
    for (key, place, accepted) in [
        ("addresses", "1:1: [interface] addresses", "a list of addresses like"),
        (
            "private_key_file",
            "1:1: [interface] private_key_file",
            "the name of a file made by: tunneld genkey",
        ),
        ("public_key", "4:1: [peer] public_key", "the peer's public key"),
    ] {
        let line = good().lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        let text = good().replace(&line, "");
        let found = message(&host, &text);
        let place = if key == "public_key" { place } else { place };
        assert!(
            found.starts_with(&format!("{place}: is missing; accepted: {accepted}")),
            "{found}"
        );
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
    let begin = format!("tunneld: error: {}:", host.path("latin1").display());
    assert_eq!(
        after(check(&host.path("latin1")), &begin, "latin1"),
        "2:9: is not text in UTF-8; accepted: a text file"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let host = Host::new();
    let begin = |name: &str| format!("tunneld: error: {}:", host.path(name).display());
    let accepted = "a configuration that tunneld can read";
    assert_eq!(
        after(check(&host.path("none.toml")), &begin("none.toml"), "missing"),
        format!(" cannot be read: No such file or directory (os error 2); accepted: {accepted}")
    );
    fs::create_dir(host.path("dir")).unwrap();
    assert_eq!(
        after(check(&host.path("dir")), &begin("dir"), "directory"),
        format!(" is a directory; accepted: {accepted}")
    );
    let path = host.write("big", &"#".repeat(65_537), 0o644);
    assert_eq!(
        after(check(&path), &begin("big"), "too long"),
        format!(" is longer than 65536 bytes; accepted: {accepted}")
    );
}

#[test]
fn files_that_we_may_not_read_are_named() {
    let host = Host::new();
    // Root may read everything, so it lets go of that first; the program must then be where anyone can run it.
    let dir = host.path("");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(PROGRAM, host.path("tunneld")).unwrap();
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
