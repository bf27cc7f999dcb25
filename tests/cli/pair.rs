//! `pair`: two files that are the two ends of one link, private, and all or nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tunneld::config::Config;
use tunneld::crypto::Cipher;
use tunneld::wire::{Layer, Profile};

use crate::host::{Answer, Host, answer, check, tunneld};

fn pair(directory: &Path, words: &str) -> Answer {
    answer(tunneld().arg("pair").args(words.split_whitespace()).arg("-o").arg(directory))
}

/// Both ends as they are read, and what was said.
fn paired(host: &Host, words: &str) -> ([Config; 2], String) {
    let directory = host.path("new");
    let answer = pair(&directory, words);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer:?}");
    let ends = ["host-a.toml", "host-b.toml"].map(|name| {
        let path = directory.join(name);
        let checked = check(&path);
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
        assert!(!checked.stdout.contains("note:"), "{checked:?}");
        Config::load(&path).unwrap()
    });
    for end in &ends {
        for secret in [end.interface.private_key.to_base64(), end.peer.preshared_key.to_base64()] {
            assert!(!answer.stdout.contains(secret.as_str()), "a secret is shown");
        }
    }
    (ends, answer.stdout)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_pair_is_the_two_ends_of_one_link() {
    let host = Host::new();
    let ([a, b], said) = paired(&host, "--a a.example.net --b 192.0.2.2:7");
    assert_eq!([&a, &b].map(|end| end.peer.profile), [Profile::WireGuard; 2]);
    for (here, there) in [(&a, &b), (&b, &a)] {
        assert_eq!(here.peer.public_key, there.interface.private_key.public_key());
        assert_eq!(here.peer.preshared_key, there.peer.preshared_key);
        assert_eq!(here.peer.endpoints[0].port, there.interface.listen_port);
        assert_eq!(here.peer.allowed_ips, there.peer.allowed_ips);
        for (ours, theirs) in here.interface.addresses.iter().zip(&there.interface.addresses) {
            assert_eq!(ours.trunc(), theirs.trunc());
            assert_ne!(ours.addr(), theirs.addr());
            assert!(here.peer.allowed_ips.contains(&theirs.trunc()));
        }
    }
    assert_ne!(*a.peer.preshared_key.to_base64(), "A".repeat(43) + "=", "there is one");
    assert_eq!(a.interface.addresses[0].to_string(), "10.77.0.1/30");
    assert_eq!(a.interface.addresses.len(), 2);
    assert_eq!(b.peer.endpoints[0].to_string(), "a.example.net:51820");
    assert_eq!(a.peer.endpoints[0].to_string(), "192.0.2.2:7");
    for word in ["root@a.example.net:", "root@192.0.2.2:", "port 51820", "port 7", "ping 10.77.0.2"]
    {
        assert!(said.contains(word), "{word}\n{said}");
    }
    let directory = host.path("new");
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(["host-a.toml", "host-b.toml"].map(|name| mode(&directory.join(name))), [0o600; 2]);
}

#[test]
fn a_host_that_cannot_be_called_calls() {
    let host = Host::new();
    let ([a, b], said) = paired(&host, "--a 2001:db8::1 --b - --net fd00:7::/64");
    assert_eq!((a.peer.endpoints.len(), b.interface.listen_port), (0, 0));
    assert_eq!(b.peer.endpoints[0].to_string(), "[2001:db8::1]:51820");
    assert_eq!(a.interface.addresses.len(), 1);
    assert_eq!(b.interface.addresses[0].to_string(), "fd00:7::2/64");
    for word in ["root@[2001:db8::1]:\n", "ssh root@2001:db8::1\n", "root@HOST-B:"] {
        assert!(said.contains(word), "{word}\n{said}");
    }
    let again = Host::new();
    let ([other, _], _) = paired(&again, "--a - --b b --net 10.1.0.0/31 --net fd00:7::/126");
    assert_ne!(a.interface.private_key, other.interface.private_key);
    assert_eq!(other.interface.addresses[1].to_string(), "fd00:7::1/126");
}

#[test]
fn a_cipher_is_asked_for_on_both_ends_alike() {
    for cipher in Cipher::ALL {
        let host = Host::new();
        let (ends, _) = paired(&host, &format!("--a a --b b --cipher {cipher}"));
        let expected = Profile::Tunneld { cipher, layer: Layer::Ip };
        assert_eq!(ends.map(|end| end.peer.profile), [expected; 2]);
    }
}

#[test]
fn hosts_and_networks_that_make_no_link_are_a_mistake_of_the_user_and_leave_nothing() {
    let host = Host::new();
    for (words, expected) in [
        ("--a - --b -", "neither host could call the other; accepted: "),
        ("--a x --b x:51820", "they are one host; accepted: two hosts"),
        ("--a x --b y --net 10.0.0.0/30 --net 10.1.0.0/30", "are of one family; accepted: "),
        (
            "--a x --b y --net 10.0.0.0/30 --net fd00::/64 --net fd01::/64",
            "are too many; accepted: ",
        ),
        ("--a x --b y --net 10.0.0.1/30", "accepted: 10.0.0.0/30"),
        ("--a x --b y --net 10.0.0.1/32", "two hosts; accepted: "),
        ("--a x:0 --b y", "65535"),
        ("--a x", "--b <HOST>"),
        ("--a x --b y --cipher des", "no cipher; accepted: chacha20-poly1305 or aes-256-gcm"),
    ] {
        let answer = pair(&host.path("new"), words);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{words}: {answer:?}");
        assert!(answer.stderr.contains(expected), "{words}: {}", answer.stderr);
    }
    assert!(!host.path("new").exists());
    let noted = pair(&host.path("new"), "--a 10.77.0.2 --b -").stdout;
    assert!(
        noted.contains("note: host-b.toml: the endpoint 10.77.0.2:51820 lies in 10.77.0.0/30"),
        "{noted}"
    );
}

#[test]
fn nothing_is_overwritten_and_nothing_left_behind() {
    let host = Host::new();
    let path = host.write("host-b.toml", "mine", 0o644);
    let directory = path.parent().unwrap();
    let before = fs::read_dir(directory).unwrap().count();
    let answer = pair(directory, "--a x --b y");
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(1), ""), "{answer:?}");
    assert!(answer.stderr.contains("host-b.toml: exists already; accepted: "), "{}", answer.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(fs::read_dir(directory).unwrap().count(), before);
    for nowhere in [path.as_path(), &host.path("none/below")] {
        assert_eq!(pair(nowhere, "--a x --b y").code, Some(1));
    }
}
