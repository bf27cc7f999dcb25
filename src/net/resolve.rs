//! Names of endpoints → addresses, without blocking the caller.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The addresses of `host`, at least one, in the order the system prefers, each once. An address answers at once; a
/// name is looked up on a thread of its own.
///
/// # Errors
/// What the system's resolver says, with the name.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
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

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::testing::block_on;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_answer_at_their_first_poll() {
        let cases = [
            ("192.0.2.7", "192.0.2.7:9"),
            ("2001:db8::7", "[2001:db8::7]:9"),
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
}
