//! The configured endpoints as addresses: each is looked up beside everything else, and again until it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::backoff::Backoff;
use crate::config::HostPort;
use crate::net::resolve;

/// Between attempts to look up a name: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where the peer may be.
pub(super) struct Endpoints {
    configured: Vec<Endpoint>,
    lookups: JoinSet<(usize, Vec<SocketAddr>)>,
}

struct Endpoint {
    host_port: HostPort,
    under_way: bool,
    /// Ends the pause of the lookup under way.
    hurry: Arc<Notify>,
}

impl Endpoints {
    /// Starts to look up all of `configured`; none at all is fine.
    pub(super) fn new(configured: Vec<HostPort>) -> Self {
        let with_state =
            |host_port| Endpoint { host_port, under_way: false, hurry: Arc::default() };
        let configured: Vec<_> = configured.into_iter().map(with_state).collect();
        let mut endpoints = Self { configured, lookups: JoinSet::new() };
        for number in 0..endpoints.configured.len() {
            endpoints.look_up(number);
        }
        endpoints
    }

    /// Whether `others` are the same, in the same order.
    pub(super) fn are(&self, others: &[HostPort]) -> bool {
        self.configured.iter().map(|endpoint| &endpoint.host_port).eq(others)
    }

    /// Looks up the endpoint of this number now; if that is under way already, its next attempt does not wait.
    pub(super) fn look_up(&mut self, number: usize) {
        let Some(endpoint) = self.configured.get_mut(number) else { return };
        endpoint.hurry.notify_waiters();
        if !std::mem::replace(&mut endpoint.under_way, true) {
            let (host_port, hurry) = (endpoint.host_port.clone(), Arc::clone(&endpoint.hurry));
            self.lookups.spawn(async move { (number, look_up(host_port, &hurry).await) });
        }
    }

    /// Waits for the end of a lookup, if any is under way: the endpoint's number and its addresses.
    pub(super) async fn resolved(&mut self) -> (usize, Vec<SocketAddr>) {
        loop {
            match self.lookups.join_next().await {
                Some(Ok((number, addresses))) => {
                    if let Some(endpoint) = self.configured.get_mut(number) {
                        endpoint.under_way = false;
                        tracing::debug!(endpoint = %endpoint.host_port, ?addresses, "resolved");
                    }
                    return (number, addresses);
                }
                // It cannot fail: a panic has aborted the process.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// The endpoint of this number, as it is configured.
    pub(super) fn configured(&self, number: usize) -> Option<&HostPort> {
        self.configured.get(number).map(|endpoint| &endpoint.host_port)
    }
}

/// Tries until there is an address; all of them, in order.
async fn look_up(HostPort { host, port }: HostPort, hurry: &Notify) -> Vec<SocketAddr> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match resolve(&host, port).await {
            Ok(addresses) => return addresses,
            Err(error) => {
                let pause = backoff.pause();
                tracing::warn!(
                    "cannot resolve the endpoint: {error}; next try in {} s",
                    pause.as_secs()
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = hurry.notified() => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_endpoint_is_looked_up_by_itself_and_again_when_asked() {
        let texts = ["no\0host", "192.0.2.1", "2001:db8::1"];
        let configured = texts.map(|host| HostPort { host: host.to_owned(), port: 7 });
        let mut endpoints = Endpoints::new(configured.to_vec());
        let mut found = [endpoints.resolved().await, endpoints.resolved().await];
        found.sort();
        let first = (1, vec!["192.0.2.1:7".parse().unwrap()]);
        let second = (2, vec!["[2001:db8::1]:7".parse().unwrap()]);
        assert_eq!(found, [first.clone(), second]);
        endpoints.look_up(1);
        assert_eq!(endpoints.resolved().await, first);
        assert_eq!(endpoints.lookups.len(), 1, "the name that does not resolve is tried again");
    }

    #[tokio::test]
    async fn a_lookup_that_pauses_is_hurried_and_never_doubled() {
        let configured = HostPort { host: "no\0host".to_owned(), port: 7 };
        let mut endpoints = Endpoints::new(vec![configured]);
        for _ in 0..3 {
            endpoints.look_up(0);
            tokio::task::yield_now().await;
        }
        assert_eq!(endpoints.lookups.len(), 1);
    }
}
