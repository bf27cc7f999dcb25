//! A key that is none, or that others can read, is refused; the message shows no secret.

use crate::host::{Host, after, check, good, key, message, with};

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
    let path = host.write("tunneld.toml", &with("peer", "preshared_key = \"hush\""), 0o600);
    assert_eq!(
        after(check(&path), &path),
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
    let path = host.write("tunneld.toml", &with("interface", &inline), 0o600);
    assert_eq!(after(check(&path), &path), format!("3:20: [interface] private_key_file: {both}"));
    let lines = format!(
        "preshared_key = \"{}\"\npreshared_key_file = \"psk\"",
        key(3).to_base64().as_str()
    );
    let path = host.write("tunneld.toml", &with("peer", &lines), 0o600);
    assert_eq!(after(check(&path), &path), format!("7:22: [peer] preshared_key_file: {both}"));
}

#[test]
fn a_key_file_must_be_there_private_and_hold_a_key() {
    let host = Host::new();
    let file = |name: &str| host.path(name).display().to_string();
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
fn a_configuration_that_anybody_can_write_is_refused() {
    let host = Host::new();
    let path = host.write("tunneld.toml", &good(), 0o666);
    assert_eq!(
        after(check(&path), &path),
        format!(
            " is writable by others than its owner (mode 0666); accepted: a file of yours or root's that others \
             may not write: chmod 644 {}",
            path.display()
        )
    );
}

#[test]
fn a_file_that_belongs_to_a_stranger_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        crate::common::skip("only root can give files away");
        return;
    }
    let host = Host::new();
    for name in ["private.key", "tunneld.toml"] {
        let path = host.write("tunneld.toml", &good(), 0o600);
        std::os::unix::fs::chown(host.path(name), Some(65534), None).unwrap();
        let said = after(check(&path), &path);
        assert!(said.contains("belongs to another user (uid 65534): chown it"), "{said}");
        std::os::unix::fs::chown(host.path(name), Some(0), None).unwrap();
    }
}

#[test]
fn a_mistyped_secret_in_the_wrong_place_is_not_shown() {
    let host = Host::new();
    let secret = key(1).to_base64();
    let mistyped = secret.trim_end_matches('=');
    let text = good().replace(&*key(2).public_key().to_base64(), mistyped);
    let said = message(&host, &text);
    assert!(said.contains("[peer] public_key"), "{said}");
    assert!(!said.contains(&mistyped[..20]), "{said}");
}
