//! Who is asked for names while the link is up: `dns` and `search` of `[interface]`.

use std::net::IpAddr;

use super::endpoint::is_name;
use super::error::Fault;
use super::value::Value;

const ACCEPTED_SERVERS: &str = r#"addresses of name servers like "10.77.0.2" or "fd77::2""#;
const ACCEPTED_DOMAINS: &str = r#"domains like "example.net""#;

/// The name servers.
pub(super) fn servers(value: Value<'_>) -> Result<Vec<IpAddr>, Fault> {
    let mut servers = Vec::new();
    for item in value.text_or_list(ACCEPTED_SERVERS)? {
        let text = item.expect_text(ACCEPTED_SERVERS)?;
        let server: IpAddr =
            text.parse().map_err(|_| item.fault("is not an address", ACCEPTED_SERVERS))?;
        if server.is_unspecified() || server.is_multicast() {
            return Err(item.fault("is not one host's address", ACCEPTED_SERVERS));
        }
        push_new(&mut servers, server, &item)?;
    }
    Ok(servers)
}

/// The domains whose names the `servers` are asked for.
pub(super) fn domains(value: Value<'_>, servers: &[IpAddr]) -> Result<Vec<String>, Fault> {
    if servers.is_empty() {
        return Err(value.fault("has no name server to be asked", "search together with dns"));
    }
    let mut domains = Vec::new();
    for item in value.text_or_list(ACCEPTED_DOMAINS)? {
        let text = item.expect_text(ACCEPTED_DOMAINS)?;
        if !is_name(text) {
            return Err(item.fault("is not a domain", ACCEPTED_DOMAINS));
        }
        push_new(&mut domains, text.to_ascii_lowercase(), &item)?;
    }
    Ok(domains)
}

fn push_new<T: PartialEq>(all: &mut Vec<T>, new: T, item: &Value<'_>) -> Result<(), Fault> {
    if all.contains(&new) {
        return Err(item.fault("is given twice", "each once"));
    }
    all.push(new);
    Ok(())
}
