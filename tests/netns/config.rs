//! The configurations of the two ends of a tunnel, to be changed by a test before they are used.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tunneld::crypto::PrivateKey;

use super::lab::{Host, PORT};

/// The configuration of one end; `None` leaves its key out.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) addresses: Vec<&'static str>,
    pub(crate) private_key: [u8; 32],
    pub(crate) listen_port: Option<u16>,
    pub(crate) mtu: Option<u16>,
    pub(crate) offload: &'static str,
    /// Further lines of `[interface]`.
    pub(crate) more: &'static str,
    pub(crate) public_key: String,
    pub(crate) preshared_key: Option<String>,
    /// Several are separated by spaces.
    pub(crate) endpoint: Option<String>,
    pub(crate) allowed_ips: Option<Vec<&'static str>>,
    pub(crate) persistent_keepalive: Option<u16>,
    /// Further lines of `[peer]`.
    pub(crate) more_peer: &'static str,
    /// The lines of their section.
    pub(crate) hooks: String,
}

/// Offloads as they are if nothing is said.
pub(crate) const ALL_ON: &str = "";

/// The plain path.
pub(crate) const ALL_OFF: &str =
    "tun_gso = false, tun_gro = false, udp_gso = false, udp_gro = false";

/// Any text for one key and another, for tests that want two to differ.
pub(crate) const SOME_KEY: &str = "c29tZSBvdGhlciBrZXkgb2YgZXhhY3RseSAzMiBieXQ=";

/// Both ends of one tunnel that works, `a` first; each knows where the other is.
pub(crate) fn ends(endpoint_of: impl Fn(Host) -> String) -> [End; 2] {
    [Host::A, Host::B].map(|host| {
        let (addresses, own, theirs, other) = match host {
            Host::A => (["10.77.0.1/30", "fd77::1/64"], 1, 2, Host::B),
            _ => (["10.77.0.2/30", "fd77::2/64"], 2, 1, Host::A),
        };
        End {
            name: "tun0".to_owned(),
            addresses: addresses.into(),
            private_key: [own; 32],
            listen_port: Some(PORT),
            mtu: None,
            offload: ALL_ON,
            more: "",
            public_key: PrivateKey::clamped([theirs; 32]).public_key().to_string(),
            preshared_key: None,
            endpoint: Some(endpoint_of(other)),
            allowed_ips: None,
            persistent_keepalive: None,
            more_peer: "",
            hooks: String::new(),
        }
    })
}

/// Both ends, with these offloads.
pub(crate) fn ends_with(offload: &'static str, endpoint_of: impl Fn(Host) -> String) -> [End; 2] {
    ends(endpoint_of).map(|end| End { offload, ..end })
}

/// Tests that take offloads, made two of each: with all of them, and on the plain path.
macro_rules! on_both_paths {
    ($($test:ident),* $(,)?) => {
        mod with_offloads {
            $(#[test] fn $test() { super::$test($crate::netns::config::ALL_ON); })*
        }
        mod on_the_plain_path {
            $(#[test] fn $test() { super::$test($crate::netns::config::ALL_OFF); })*
        }
    };
}
pub(crate) use on_both_paths;

impl End {
    /// What nobody else may know.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = [u8; 32]> {
        let preshared = self.preshared_key.as_ref().map(|text| {
            let bytes = BASE64_STANDARD.decode(text).expect("it is base64");
            bytes.try_into().expect("it has 32 bytes")
        });
        let mut private = self.private_key;
        private[0] &= 248;
        [Some(private), preshared].into_iter().flatten()
    }

    /// As it is written in a file.
    pub(crate) fn to_toml(&self) -> String {
        let mut interface = format!("[interface]\nname = {:?}\n", self.name);
        if !self.addresses.is_empty() {
            interface += &format!("addresses = {:?}\n", self.addresses);
        }
        let key = PrivateKey::clamped(self.private_key).to_base64();
        interface += &format!("private_key = {:?}\n", key.as_str());
        if let Some(port) = self.listen_port {
            interface += &format!("listen_port = {port}\n");
        }
        if let Some(mtu) = self.mtu {
            interface += &format!("mtu = {mtu}\n");
        }
        interface += &format!("offload = {{ {} }}\n{}\n", self.offload, self.more);
        let mut peer = format!("\n[peer]\npublic_key = {:?}\n", self.public_key);
        if let Some(key) = &self.preshared_key {
            peer += &format!("preshared_key = {key:?}\n");
        }
        if let Some(endpoint) = &self.endpoint {
            let list: Vec<_> = endpoint.split(' ').collect();
            peer += &match list[..] {
                [one] => format!("endpoint = {one:?}\n"),
                _ => format!("endpoint = {list:?}\n"),
            };
        }
        if let Some(networks) = &self.allowed_ips {
            peer += &format!("allowed_ips = {networks:?}\n");
        }
        if let Some(seconds) = self.persistent_keepalive {
            peer += &format!("persistent_keepalive = {seconds}\n");
        }
        peer += &format!("{}\n", self.more_peer);
        interface + &peer + "[hooks]\n" + &self.hooks
    }
}
