//! What the values of `[metrics]` mean.

use std::net::SocketAddr;

use super::Metrics;
use super::error::Fault;
use super::file::MetricsTable;

const ACCEPTED_LISTEN: &str = r#"an address and a port, like "127.0.0.1:9586" or "[::1]:9586""#;

impl Metrics {
    /// Gives the values their meaning.
    pub(super) fn resolve(table: MetricsTable<'_>) -> Result<Self, Fault> {
        let no_listen = table.missing("listen", ACCEPTED_LISTEN);
        let value = table.listen.ok_or(no_listen)?;
        let listen = value.expect_text(ACCEPTED_LISTEN)?.parse::<SocketAddr>();
        match listen {
            Ok(listen) if listen.port() != 0 && !listen.ip().is_multicast() => Ok(Self { listen }),
            _ => Err(value.fault("is not an address to listen at", ACCEPTED_LISTEN)),
        }
    }
}
