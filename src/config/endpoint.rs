//! Where the peer is: a host, by name or address, and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A host and a UDP port: `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name to resolve or an IP address; an IPv6 address has no brackets here.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Why text is no [`HostPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing after the host.
    #[error("has no port")]
    NoPort,
    /// What stands after the last colon is not a port.
    #[error("has no port from 1 to 65535 after its last colon")]
    Port,
    /// An IPv6 address of which the end could be a port.
    #[error("has an IPv6 address without brackets")]
    Brackets,
    /// Brackets around something else than an IPv6 address.
    #[error("has no IPv6 address between its brackets")]
    Ipv6,
    /// Looks like an IPv4 address, but is none.
    #[error("has no valid IPv4 address")]
    Ipv4,
    /// Neither an address nor a name.
    #[error("has no valid host name")]
    Name,
    /// An address that no host answers at.
    #[error("has an address that is not one host's")]
    NoHost,
    /// A link-local address means nothing without an interface.
    #[error("has a link-local address, which this version cannot reach")]
    LinkLocal,
}

/// What a host and port look like, for messages.
pub(super) const ACCEPTED: &str =
    r#"like "host-b.example.net:51820", "192.0.2.1:51820" or "[2001:db8::1]:51820""#;

impl HostPort {
    /// The address, if the host is one and not a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for HostPort {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, port) = rest.split_once(']').ok_or(EndpointError::Ipv6)?;
                (ipv6(inside)?, port.strip_prefix(':'))
            }
            None if text.parse::<Ipv6Addr>().is_ok() => return Err(EndpointError::Brackets),
            None => match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => return Err(EndpointError::Brackets),
                Some((host, port)) => (name_or_ipv4(host)?, Some(port)),
                None => return Err(EndpointError::NoPort),
            },
        };
        let port = port.ok_or(EndpointError::NoPort)?;
        Ok(Self { host, port: decimal(port).filter(|port| *port != 0).ok_or(EndpointError::Port)? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Decimal digits and nothing else; `parse` alone would take a plus sign.
pub(super) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn ipv6(text: &str) -> Result<String, EndpointError> {
    let address: Ipv6Addr = text.parse().map_err(|_| EndpointError::Ipv6)?;
    if address.is_unicast_link_local() {
        return Err(EndpointError::LinkLocal);
    }
    if address.is_unspecified() || address.is_multicast() || address.to_ipv4_mapped().is_some() {
        return Err(EndpointError::NoHost);
    }
    Ok(address.to_string())
}

fn name_or_ipv4(text: &str) -> Result<String, EndpointError> {
    if let Ok(IpAddr::V4(address)) = text.parse() {
        if address.octets()[0] == 0 || address.is_multicast() || address.is_broadcast() {
            return Err(EndpointError::NoHost);
        }
        return Ok(address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if !is_name(name) {
        return Err(EndpointError::Name);
    }
    // The resolver would read "10.1" or "0x7f.1" as an address in an old notation.
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    if last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(EndpointError::Ipv4);
    }
    Ok(text.to_owned())
}

/// The name of a host or a domain, without a dot at its end.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// One part of a host name (RFC 1123 §2.1), underscores allowed as people use them.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_both_families_are_read_and_shown() {
        for (text, host, shown) in [
            ("host-b.example.net:51820", "host-b.example.net", None),
            ("host_b:51820", "host_b", None),
            ("example.net.:51820", "example.net.", None),
            ("192.0.2.1:51820", "192.0.2.1", None),
            ("[2001:DB8:0::1]:51820", "2001:db8::1", Some("[2001:db8::1]:51820")),
        ] {
            let endpoint: HostPort = text.parse().unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, 51820));
            assert_eq!(endpoint.to_string(), shown.unwrap_or(text));
        }
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        use EndpointError::*;
        for (text, error) in [
            ("", NoPort),
            ("host", NoPort),
            ("[2001:db8::1]", NoPort),
            ("[2001:db8::1]51820", NoPort),
            ("host:", Port),
            ("host:0", Port),
            ("host:65536", Port),
            ("host:+1", Port),
            ("host:http", Port),
            ("[2001:db8::1]:-1", Port),
            ("2001:db8::1", Brackets),
            ("2001:db8::1:51820", Brackets),
            ("[host]:1", Ipv6),
            ("[::1:1", Ipv6),
            ("[fe80::1%eth0]:1", Ipv6),
            ("10.0.0.256:1", Ipv4),
            ("10.1:1", Ipv4),
            ("0x7f.0x1:1", Ipv4),
            (":1", Name),
            ("a..b:1", Name),
            ("-a:1", Name),
            ("a b:1", Name),
            ("höst:1", Name),
            ("0.0.0.0:1", NoHost),
            ("224.0.0.1:1", NoHost),
            ("255.255.255.255:1", NoHost),
            ("[::]:1", NoHost),
            ("[ff02::1]:1", NoHost),
            ("[::ffff:192.0.2.1]:1", NoHost),
            ("[fe80::1]:1", LinkLocal),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(error), "{text}");
        }
        assert_eq!(format!("{}:1", "a".repeat(64)).parse::<HostPort>(), Err(Name));
    }
}
