//! Names of endpoints → addresses, without blocking the caller.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use nix::net::if_::if_nametoindex;

/// The addresses of `host`, at least one, in the order the system prefers, each once. An address literal
/// (IPv6 with or without brackets or scope) answers at once; a name is looked up on a thread of its own.
///
/// # Errors
/// What the system's resolver says, with the name.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = literal(host, port) {
        return Ok(arrange([address]));
    }
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{host}: {error}")))?;
    let addresses = arrange(found);
    if addresses.is_empty() {
        let reason = format!("{host}: the name has no address");
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    Ok(addresses)
}

fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = inner.unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    let (address, scope) = host.split_once('%')?;
    let address = address.parse::<Ipv6Addr>().ok()?;
    let scope = scope.parse().or_else(|_| if_nametoindex(scope)).ok()?;
    Some(SocketAddrV6::new(address, port, 0, scope).into())
}

/// Each address once, an IPv4 address that is written as IPv6 as what it is.
fn arrange(found: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in found {
        let address = match address.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
            IpAddr::V6(_) => address,
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Pauses between attempts: each twice the one before, up to a longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with `first` and never exceeds `longest`.
    #[must_use]
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait now, after one more failure.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        pause
    }

    /// It worked: the next failure waits the first pause again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// One second, doubling to one minute.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::testing::block_on;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn literals_answer_at_their_first_poll() {
        let cases = [
            ("192.0.2.7", "192.0.2.7:9"),
            ("2001:db8::7", "[2001:db8::7]:9"),
            ("[2001:db8::7]", "[2001:db8::7]:9"),
            ("fe80::7%3", "[fe80::7%3]:9"),
            ("::ffff:192.0.2.7", "192.0.2.7:9"),
        ];
        for (host, expected) in cases {
            let mut future = Box::pin(resolve(host, 9));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let std::task::Poll::Ready(answer) = future.as_mut().poll(&mut context) else {
                panic!("{host} was looked up");
            };
            assert_eq!(answer.unwrap(), addresses(&[expected]));
        }
    }

    #[test]
    fn a_scope_may_be_the_name_of_an_interface() {
        let answer = block_on(resolve("fe80::7%lo", 9)).unwrap();
        let SocketAddr::V6(address) = answer[0] else {
            panic!("not IPv6: {answer:?}");
        };
        assert_eq!(address.scope_id(), if_nametoindex("lo").unwrap());
    }

    #[test]
    fn localhost_is_this_host() {
        let found = block_on(resolve("localhost", 9)).unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 9));
    }

    #[test]
    fn a_failure_names_the_host() {
        let error = block_on(resolve("no\0host", 9)).unwrap_err();
        assert!(error.to_string().starts_with("no\0host: "), "{error}");
    }

    #[test]
    fn the_order_of_the_system_is_kept_and_repeats_go() {
        let found = addresses(&[
            "[2001:db8::1]:9",
            "192.0.2.1:9",
            "[::ffff:192.0.2.1]:9",
            "[2001:db8::1]:9",
        ]);
        assert_eq!(arrange(found), addresses(&["[2001:db8::1]:9", "192.0.2.1:9"]));
    }

    #[test]
    fn pauses_double_from_a_second_to_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.pause().as_secs(), 1);
    }
}
