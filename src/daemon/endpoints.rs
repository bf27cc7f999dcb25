//! The configured endpoints as addresses: names are looked up beside everything else and retried until one
//! answers; while handshakes stay unanswered, the next address is tried.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::backoff::Backoff;
use crate::config::HostPort;
use crate::net::resolve;

/// Unanswered initiations to one address before the next is tried.
const PATIENCE: u32 = 2;

/// Between attempts to look up names: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where the peer may be.
pub(super) struct Endpoints {
    configured: Vec<HostPort>,
    addresses: Vec<SocketAddr>,
    /// Which of the addresses comes next.
    next: usize,
    lookup: Option<JoinHandle<Vec<SocketAddr>>>,
}

impl Endpoints {
    /// Starts to look up `configured`; none at all is fine.
    pub(super) fn new(configured: Vec<HostPort>) -> Self {
        let mut endpoints = Self { configured, addresses: Vec::new(), next: 0, lookup: None };
        endpoints.look_up();
        endpoints
    }

    /// Waits for the lookup under way, if any; then the first address to try.
    pub(super) async fn resolved(&mut self) -> SocketAddr {
        loop {
            let Some(lookup) = &mut self.lookup else { return std::future::pending().await };
            let addresses = lookup.await.unwrap_or_default();
            self.lookup = None;
            tracing::debug!(?addresses, "endpoint resolved");
            self.addresses = addresses;
            self.next = 0;
            if let Some(address) = self.advance() {
                return address;
            }
        }
    }

    /// After `sent` unanswered initiations of one handshake: where to send the next one, if elsewhere. Behind
    /// the last address the names are looked up again.
    pub(super) fn unanswered(&mut self, sent: u32) -> Option<SocketAddr> {
        if !sent.is_multiple_of(PATIENCE) || self.lookup.is_some() {
            return None;
        }
        let next = self.advance();
        if next.is_none() {
            self.look_up();
        }
        next
    }

    fn advance(&mut self) -> Option<SocketAddr> {
        let address = self.addresses.get(self.next).copied();
        self.next += 1;
        address
    }

    fn look_up(&mut self) {
        if !self.configured.is_empty() {
            self.lookup = Some(tokio::spawn(look_up(self.configured.clone())));
        }
    }
}

/// Tries until at least one of `configured` has an address; all their addresses, in order.
async fn look_up(configured: Vec<HostPort>) -> Vec<SocketAddr> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut addresses = Vec::new();
        let mut failure = None;
        for HostPort { host, port } in &configured {
            match resolve(host, *port).await {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = Some(error),
            }
        }
        if !addresses.is_empty() {
            return addresses;
        }
        let pause = backoff.pause();
        if let Some(error) = failure {
            tracing::warn!(
                "cannot resolve the endpoint: {error}; next try in {} s",
                pause.as_secs()
            );
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(addresses: &[&str]) -> Vec<HostPort> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn addresses_are_tried_in_order_and_then_looked_up_again() {
        let mut endpoints = Endpoints::new(endpoints(&["192.0.2.1:1", "[2001:db8::1]:2"]));
        assert_eq!(endpoints.resolved().await, "192.0.2.1:1".parse().unwrap());
        assert_eq!(endpoints.unanswered(1), None);
        assert_eq!(endpoints.unanswered(2), Some("[2001:db8::1]:2".parse().unwrap()));
        assert_eq!(endpoints.unanswered(3), None);
        assert_eq!(endpoints.unanswered(4), None);
        assert_eq!(endpoints.resolved().await, "192.0.2.1:1".parse().unwrap());
    }
}
