//! What `wg` asks of a WireGuard in user space, line by line: <https://www.wireguard.com/xplatform/#configuration-protocol>.
//!
//! `get=1` answers all of it but secrets: neither the private key nor the preshared key leaves the daemon. `set=1` takes the
//! peer's endpoint and its persistent keepalive; all else is the configuration's, and refused.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::BufReader;

use super::lines::{self, Line};
use super::local::Client;
use super::query::{Asker, Change};
use crate::crypto::PublicKey;
use crate::daemon::status::Status;

/// Most lines of a request.
const LINES: usize = 256;

/// Error numbers of Linux, as they are answered.
const INVALID: i32 = -22;
const NOT_PERMITTED: i32 = -1;
const NOT_SUPPORTED: i32 = -95;
const ADDRESS_NOT_AVAILABLE: i32 = -99;

/// Answers one client until it goes away, or takes too long.
pub(super) async fn serve(client: Client, asker: Asker) {
    let Client { stream, may_change } = client;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = read(&mut reader).await {
        let Some(status) = asker.status().await else { return };
        let answer = match request.split_first().map(|(first, rest)| (first.as_str(), rest)) {
            Some(("get=1", [])) => Ok(get(&status)),
            Some(("set=1", _)) if !may_change => Err(NOT_PERMITTED),
            Some(("set=1", settings)) => match parse(settings, &status.peer.public_key) {
                Ok(change) if asker.change(change).await => Ok(String::new()),
                Ok(_) => Err(ADDRESS_NOT_AVAILABLE),
                Err(errno) => Err(errno),
            },
            _ => Err(INVALID),
        };
        let (text, errno) = match answer {
            Ok(text) => (text, 0),
            Err(errno) => (String::new(), errno),
        };
        if lines::write(&mut writer, &format!("{text}errno={errno}\n\n")).await.is_err() {
            return;
        }
    }
}

/// The lines of a request, which an empty one ends.
async fn read(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<Vec<String>> {
    let mut request = Vec::new();
    for _ in 0..LINES {
        match lines::read(reader).await {
            Line::Text(line) if line.is_empty() => return Some(request),
            Line::Text(line) => request.push(line),
            Line::TooLong | Line::End => return None,
        }
    }
    None
}

fn get(status: &Status) -> String {
    let peer = &status.peer;
    let mut text = String::new();
    // Text has room for more text.
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key}={value}");
    };
    line("listen_port", &status.listen_port);
    if status.fwmark != 0 {
        line("fwmark", &status.fwmark);
    }
    line("public_key", &hex(&peer.public_key));
    if let Some(endpoint) = &peer.endpoint {
        line("endpoint", endpoint);
    }
    let latest = peer.latest_handshake_unix_seconds.unwrap_or_default();
    let latest = Duration::try_from_secs_f64(latest).unwrap_or_default();
    line("last_handshake_time_sec", &latest.as_secs());
    line("last_handshake_time_nsec", &latest.subsec_nanos());
    line("tx_bytes", &status.sent.bytes);
    line("rx_bytes", &status.received.bytes);
    line("persistent_keepalive_interval", &peer.persistent_keepalive_seconds.unwrap_or_default());
    for network in &peer.allowed_ips {
        line("allowed_ip", network);
    }
    line("protocol_version", &1);
    text
}

/// What the lines after `set=1` want changed; or the number of what is wrong with them.
fn parse(settings: &[String], peer: &str) -> Result<Change, i32> {
    let mut change = Change::default();
    let mut selected = false;
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or(INVALID)?;
        match key {
            "public_key" if value.eq_ignore_ascii_case(&hex(peer)) => selected = true,
            "update_only" | "protocol_version" if selected => {}
            "endpoint" if selected => {
                let endpoint: SocketAddr = value.parse().map_err(|_| INVALID)?;
                change.endpoint = Some(endpoint).filter(is_sendable).ok_or(INVALID)?.into();
            }
            "persistent_keepalive_interval" if selected => {
                let seconds: u16 = value.parse().map_err(|_| INVALID)?;
                let interval = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
                change.persistent_keepalive = Some(interval);
            }
            _ => return Err(NOT_SUPPORTED),
        }
    }
    Ok(change)
}

fn is_sendable(endpoint: &SocketAddr) -> bool {
    let ip = endpoint.ip();
    endpoint.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// A key in base64 as this protocol writes it.
fn hex(key: &str) -> String {
    let bytes = key.parse().map(|key: PublicKey| *key.as_bytes()).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::daemon::status::example;

    fn parsed(lines: &[&str]) -> Result<Change, i32> {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        parse(&lines, &example().peer.public_key)
    }

    fn peer() -> String {
        format!("public_key={}", hex(&example().peer.public_key))
    }

    #[test]
    fn everything_is_told_but_secrets() {
        assert_eq!(
            get(&example()),
            format!(
                "listen_port=51820\nfwmark=7\n{}\nendpoint=[2001:db8::2]:51820\n\
                 last_handshake_time_sec=1800000000\nlast_handshake_time_nsec=250000000\n\
                 tx_bytes=1400000\nrx_bytes=2800000\npersistent_keepalive_interval=25\n\
                 allowed_ip=10.77.0.0/30\nallowed_ip=fd77::/64\nprotocol_version=1\n",
                peer()
            )
        );
        assert!(peer().ends_with("38"), "{}", peer());
    }

    #[test]
    fn endpoint_and_keepalive_of_the_peer_may_be_set() {
        let change = Change {
            endpoint: Some("192.0.2.9:7".parse().unwrap()),
            persistent_keepalive: Some(Some(Duration::from_secs(9))),
        };
        let lines = [
            &peer(),
            "update_only=true",
            "endpoint=192.0.2.9:7",
            "persistent_keepalive_interval=9",
        ];
        assert_eq!(parsed(&lines), Ok(change));
        let off = parsed(&[&peer(), "persistent_keepalive_interval=0"]).unwrap();
        assert_eq!(off.persistent_keepalive, Some(None));
    }

    #[test]
    fn what_only_the_configuration_says_is_refused_whole() {
        let (peer, other) = (peer(), format!("public_key={}", "0".repeat(64)));
        for (lines, errno) in [
            (&["private_key=00"][..], NOT_SUPPORTED),
            (&["listen_port=1"], NOT_SUPPORTED),
            (&["endpoint=192.0.2.9:7"], NOT_SUPPORTED),
            (&[&other, "endpoint=192.0.2.9:7"], NOT_SUPPORTED),
            (&[&peer, "remove=true"], NOT_SUPPORTED),
            (&[&peer, "preshared_key=00"], NOT_SUPPORTED),
            (&[&peer, "allowed_ip=10.0.0.0/8"], NOT_SUPPORTED),
            (&[&peer, "endpoint=example.net:1"], INVALID),
            (&[&peer, "endpoint=192.0.2.9:0"], INVALID),
            (&[&peer, "persistent_keepalive_interval=70000"], INVALID),
            (&[&peer, "junk"], INVALID),
        ] {
            assert_eq!(parsed(lines), Err(errno), "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn any_lines_are_a_change_or_an_error(lines in proptest::collection::vec(".*=?.*", 0..8)) {
            let _ = parse(&lines, &example().peer.public_key);
        }
    }
}
