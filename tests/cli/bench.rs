//! `bench`: what it prints, whatever this processor makes of it.

use serde_json::Value;

use crate::host::{answer, tunneld};

#[test]
fn each_cipher_is_measured_with_both_sizes_and_one_of_them_is_advised() {
    let answer = answer(tunneld().args(["bench", "--json"]));
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer:?}");
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let figures = report["figures"].as_array().unwrap();
    let what: Vec<_> = figures
        .iter()
        .map(|figure| {
            (figure["cipher"].as_str().unwrap(), figure["packet_bytes"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("chacha20-poly1305", 1420),
        ("aes-256-gcm", 1420),
        ("chacha20-poly1305", 64),
        ("aes-256-gcm", 64),
    ];
    assert_eq!(what, expected);
    let time = |at: usize| {
        let each = ["seal_ns", "open_ns"].map(|key| figures[at][key].as_f64().unwrap());
        assert!(each.iter().all(|time| *time > 0.0), "{answer:?}");
        each[0] + each[1]
    };
    let (faster, factor) = if time(1) < time(0) {
        ("aes-256-gcm", time(0) / time(1))
    } else {
        ("chacha20-poly1305", time(1) / time(0))
    };
    assert_eq!(report["faster"], faster);
    // Text has rounded them all.
    assert!((report["factor"].as_f64().unwrap() - factor).abs() < 1e-9, "{answer:?}");
    let advice = match faster {
        "aes-256-gcm" if factor >= 1.1 => ("tunneld", "aes-256-gcm"),
        _ => ("wireguard", "chacha20-poly1305"),
    };
    assert_eq!((report["profile"].as_str().unwrap(), report["cipher"].as_str().unwrap()), advice);
}
