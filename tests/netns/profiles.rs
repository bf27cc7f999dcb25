//! Profiles: two ends that chose alike, and ends that did not.

use nix::sys::signal::Signal;

use super::config::{End, ends};
use super::lab::{HANDSHAKE, Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, wait_until};
use super::transfer::Transfer;

const WIREGUARD: &str = "";
const CHACHA: &str = "profile = 'tunneld'";
const AES: &str = "profile = 'tunneld'\ncipher = 'aes-256-gcm'";

/// Both ends, with these lines of `[peer]`.
fn speaking(profiles: [&'static str; 2]) -> [End; 2] {
    let mut both = ends(direct_v4);
    for (end, profile) in both.iter_mut().zip(profiles) {
        end.more_peer = profile;
    }
    both
}

#[test]
fn a_transfer_is_byte_exact_with_either_cipher() {
    needs!("ping");
    for profile in [CHACHA, AES] {
        let lab = Lab::direct();
        let daemons = lab.link(&speaking([profile; 2]));
        Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 10_000_001).finish();
        Transfer::begin(&lab, Host::B, Host::A, INNER_A[1], 10_000_001).finish();
        daemons.into_iter().for_each(|daemon| drop(stop(daemon)));
    }
}

#[test]
fn ends_of_different_profiles_exchange_nothing_and_both_logs_say_why() {
    needs!("ping");
    for profiles in [[WIREGUARD, CHACHA], [CHACHA, AES], [AES, WIREGUARD]] {
        let lab = Lab::direct();
        let both = speaking(profiles);
        let daemons = [lab.start(Host::A, &both[0]), lab.start(Host::B, &both[1])];
        daemons.iter().for_each(|daemon| drop(daemon.wait_for(STARTED)));
        let said = wait_until(BOUND, || {
            for (host, address) in [(Host::A, INNER_B[0]), (Host::B, INNER_A[0])] {
                let answered = lab.ping(host, &format!("-c 1 -W 1 {address}"));
                assert!(!answered.status.success(), "nothing passes");
            }
            let reason =
                "does not decrypt: [peer] profile and cipher must be the same on both ends";
            daemons.iter().all(|daemon| daemon.count(reason) > 0)
        });
        assert!(said, "both name the profile: {profiles:?}");
        for daemon in daemons {
            let said = stop(daemon);
            assert!(
                !said.contains(HANDSHAKE) && said.contains("initiation_not_authentic="),
                "{said}"
            );
        }
    }
}

#[test]
fn another_cipher_is_taken_on_by_a_reload_of_both_ends() {
    needs!("ping");
    let lab = Lab::direct();
    let daemons = lab.link(&speaking([WIREGUARD; 2]));
    for ((host, daemon), end) in
        [Host::A, Host::B].into_iter().zip(&daemons).zip(speaking([AES; 2]))
    {
        let handshakes = daemon.count(HANDSHAKE);
        lab.write_file(host, "tun0", &end.to_toml());
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("reloaded");
        assert_eq!(daemon.count(HANDSHAKE), handshakes, "no session without the other end");
    }
    assert!(wait_until(BOUND, || lab.pings(Host::A, INNER_B[0])));
    let [a, b] = daemons.map(stop);
    for said in [a, b] {
        assert!(!said.contains("data_not_authentic"), "{said}");
    }
}
