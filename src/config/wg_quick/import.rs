//! From wg-quick to tunneld. What the file means is kept, also where the defaults of the two differ.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::read::{Entry, File};
use super::{Translation, is_device_name};
use crate::config::error::Fault;
use crate::config::{Config, ConfigError, LONGEST, secret, suggest, text_of};
use crate::crypto::secret::on_clean_stack;

/// Reads the wg-quick file in `path`, which must have exactly one peer, as a configuration of tunneld.
///
/// # Errors
/// It is no such file, or what it says would be refused as a configuration; both name the place in `path`.
pub(crate) fn import(path: &Path) -> Result<Translation, ConfigError> {
    let contents = secret::read(path, LONGEST).map_err(|error| {
        ConfigError::new(path, "", Fault::whole(error, "a file of wg-quick that can be read"))
    })?;
    translate(text_of(&contents.bytes, path)?, path)
}

/// The same of a text, as if it stood in `path`.
pub(super) fn translate(text: &str, path: &Path) -> Result<Translation, ConfigError> {
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".conf"));
    on_clean_stack(|| Draft::of(text, name.filter(|name| is_device_name(name))))
        .map_err(|fault| ConfigError::new(path, text, fault))
}

/// A configuration in the making.
struct Draft<'f> {
    text: Zeroizing<String>,
    /// Which entry the line at this byte of `text` is from.
    origins: Vec<(usize, &'f Entry<'f>)>,
    left_out: Vec<String>,
}

impl<'f> Draft<'f> {
    fn of(text: &str, name: Option<&str>) -> Result<Translation, Fault> {
        let file = File::parse(text)?;
        // Room for all of it: a text that grows leaves copies behind.
        let room = Zeroizing::new(String::with_capacity(LONGEST.saturating_mul(2)));
        let mut draft = Draft { text: room, origins: Vec::new(), left_out: Vec::new() };
        *draft.text += "[interface]\n";
        if let Some(name) = name {
            draft.push("name", quoted(name));
        }
        draft.interface(&file)?;
        *draft.text += "\n[peer]\n";
        draft.peer(&file)?;
        match Config::resolve(&draft.text, Path::new(""), || Ok(())) {
            Ok(_) => Ok(Translation { text: draft.text, left_out: draft.left_out }),
            Err(fault) => Err(draft.in_the_original(fault)),
        }
    }

    fn interface(&mut self, file: &'f File<'f>) -> Result<(), Fault> {
        let addresses = networks(file, "Address")?;
        if let Some(&(entry, _)) = addresses.first() {
            self.keep(entry, "addresses", list(addresses.iter().map(|(_, address)| *address)));
        }
        // Addresses are servers, all else is domains to search: wg-quick(8).
        let is_server = |item: &str| item.parse::<IpAddr>().is_ok();
        for (key, servers) in [("dns", true), ("search", false)] {
            let of_kind = file.list("DNS").filter(|(_, item)| is_server(item) == servers);
            let (entries, items): (Vec<_>, Vec<_>) =
                of_kind.map(|(entry, item)| (entry, quoted(item))).unzip();
            if let Some(entry) = entries.first() {
                self.keep(entry, key, toml::Value::from(items));
            }
        }
        for entry in &file.entries {
            match entry.key {
                "PrivateKey" => self.keep(entry, "private_key", quoted(entry.value)),
                "ListenPort" => self.keep(entry, "listen_port", entry.number()?),
                "MTU" => self.keep(entry, "mtu", entry.number()?),
                "FwMark" => self.keep(entry, "fwmark", entry.number()?),
                "Table" if matches!(entry.value, "auto" | "off") => {
                    self.keep(entry, "table", quoted(entry.value));
                }
                "Table" => self.keep(entry, "table", entry.number()?),
                "SaveConfig" if entry.value == "true" => {
                    self.leave_out(file, entry, "tunneld never writes its configuration");
                }
                "PreUp" | "PostUp" => {
                    self.leave_out(file, entry, "no shell is run; [hooks] up names a program");
                }
                "PreDown" | "PostDown" => {
                    self.leave_out(file, entry, "no shell is run; [hooks] down names a program");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn peer(&mut self, file: &'f File<'f>) -> Result<(), Fault> {
        let networks = networks(file, "AllowedIPs")?;
        let allowed = without_overlap(networks.iter().map(|(_, network)| network.trunc()));
        if let Some(&(entry, _)) = networks.first() {
            self.keep(entry, "allowed_ips", list(allowed));
        } else {
            return Err(missing("[Peer] AllowedIPs", "the networks behind the peer"));
        }
        // Off unless it is said: wg(8).
        let mut keepalive = 0;
        for entry in &file.entries {
            match entry.key {
                "PublicKey" => self.keep(entry, "public_key", quoted(entry.value)),
                "PresharedKey" => self.keep(entry, "preshared_key", quoted(entry.value)),
                "Endpoint" => self.keep(entry, "endpoint", quoted(entry.value)),
                "PersistentKeepalive" => {
                    keepalive = entry.number()?;
                    self.origins.push((self.text.len(), entry));
                }
                _ => {}
            }
        }
        self.push("persistent_keepalive", keepalive);
        Ok(())
    }

    /// Adds a line that says what `entry` said.
    fn keep(&mut self, entry: &'f Entry<'f>, key: &str, value: impl Display) {
        self.origins.push((self.text.len(), entry));
        self.push(key, value);
    }

    fn push(&mut self, key: &str, value: impl Display) {
        use std::fmt::Write as _;
        // Text takes everything.
        let _ = writeln!(self.text, "{key} = {value}");
    }

    fn leave_out(&mut self, file: &File<'_>, entry: &Entry<'_>, why: &str) {
        let (line, key) = (file.line(entry.at), entry.key);
        self.left_out.push(format!("line {line}: {key} = {}: {why}", suggest::quoted(entry.value)));
    }

    /// A fault of what we made, as one of the entry it was made from.
    fn in_the_original(&self, fault: Fault) -> Fault {
        let lines = |at: usize| self.text.get(..at).map(|before| before.matches('\n').count());
        let origin = fault.at.and_then(|at| {
            self.origins
                .iter()
                .find(|(start, _)| lines(*start) == lines(at))
                .map(|(_, entry)| entry)
        });
        match (origin, fault.key.as_deref()) {
            (Some(entry), _) => Fault { at: Some(entry.at), key: Some(entry.name()), ..fault },
            (None, Some("[interface] addresses")) => {
                missing("[Interface] Address", "an address with a prefix length")
            }
            (None, Some("[interface] private_key_file")) => {
                missing("[Interface] PrivateKey", "this host's key, as made by: tunneld genkey")
            }
            (None, Some("[peer] public_key")) => {
                missing("[Peer] PublicKey", "the peer's key, as printed by: tunneld pubkey")
            }
            (None, _) => Fault { at: None, ..fault },
        }
    }
}

fn missing(key: &str, accepted: &str) -> Fault {
    Fault {
        at: None,
        key: Some(key.to_owned()),
        problem: "is missing".to_owned(),
        accepted: accepted.to_owned(),
    }
}

/// All of a list, each with the line it stands on.
fn networks<'f>(file: &'f File<'f>, key: &str) -> Result<Vec<(&'f Entry<'f>, IpNet)>, Fault> {
    file.list(key).map(|(entry, item)| Ok((entry, entry.network(item)?))).collect()
}

/// Of networks that lie in each other only the outer ones: the peer is the same for all.
fn without_overlap(networks: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut kept: Vec<IpNet> = Vec::new();
    for net in networks {
        if !kept.iter().any(|other| other.contains(&net)) {
            kept.retain(|other| !net.contains(other));
            kept.push(net);
        }
    }
    kept
}

/// `text` as TOML writes it.
fn quoted(text: &str) -> toml::Value {
    toml::Value::String(text.to_owned())
}

fn list(networks: impl IntoIterator<Item = IpNet>) -> toml::Value {
    networks.into_iter().map(|net| quoted(&net.to_string())).collect::<Vec<_>>().into()
}
