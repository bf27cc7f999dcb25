//! `tunneld device` and `tunneld doctor`, as far as they touch nothing.

use crate::host::{Host, answer, tunneld};

#[test]
fn what_no_device_can_be_is_a_mistake_that_says_what_is_accepted() {
    for (arguments, words) in [
        (&["add", "a/b"][..], "accepted: 1 to 15 letters"),
        (&["add", "sixteen-bytes-16"], "has 16 bytes; accepted:"),
        (&["del", "lo"], "another meaning; accepted:"),
        (&["add", "tun9", "--user", "no such user"], "accepted: the name or the number of a user"),
        (
            &["add", "tun9", "--group", "no such group"],
            "accepted: the name or the number of a group",
        ),
        (&["add", "tun9", "--mac", "02:00:00:00:00:01"], "--tap"),
        (
            &["add", "tap9", "--tap", "--mac", "01:00:00:00:00:01"],
            "accepted: the address of one station",
        ),
        (&["add", "tun9", "--mtu", "67"], "68..=65535"),
        (&[], "Usage: tunneld device"),
    ] {
        let answer = answer(tunneld().arg("device").args(arguments));
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(answer.stderr.contains(words), "{}", answer.stderr);
    }
}

#[test]
fn a_configuration_that_is_wrong_is_a_finding_of_the_doctors_and_exit_code_2() {
    let host = Host::new();
    let file = host.write("tunneld.toml", "[interface]\n", 0o644);
    let answer = answer(tunneld().args(["doctor", "-c"]).arg(&file));
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stdout.starts_with("bad      configuration"), "{answer:?}");
    assert!(answer.stdout.contains("accepted: "), "{answer:?}");
    assert!(answer.stdout.contains("driver"), "the host is looked at all the same: {answer:?}");
    assert!(answer.stderr.contains("the link cannot start"), "{answer:?}");
}
