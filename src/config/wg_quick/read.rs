//! A wg-quick file as typed: which keys there are, and where each value stands.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::endpoint::decimal;
use crate::config::error::Fault;
use crate::config::{network, suggest};

/// A section, its keys, and those of them that may stand there more than once.
#[derive(Debug)]
struct Section {
    name: &'static str,
    keys: &'static [&'static str],
}

const INTERFACE: Section = Section {
    name: "Interface",
    keys: &[
        "PrivateKey",
        "Address",
        "ListenPort",
        "MTU",
        "Table",
        "FwMark",
        "DNS",
        "PreUp",
        "PostUp",
        "PreDown",
        "PostDown",
        "SaveConfig",
    ],
};
const PEER: Section = Section {
    name: "Peer",
    keys: &["PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"],
};
const LISTS: [&str; 7] = ["Address", "DNS", "PreUp", "PostUp", "PreDown", "PostDown", "AllowedIPs"];

const ACCEPTED_NETWORKS: &str = r#"like "10.77.0.1/30, fd77::1/64""#;

/// One `Key = Value`.
#[derive(Debug)]
pub(super) struct Entry<'i> {
    section: &'static str,
    /// As wg-quick(8) spells it.
    pub(super) key: &'static str,
    pub(super) value: &'i str,
    /// Byte offset of the key.
    pub(super) at: usize,
}

/// Both sections, in the order of the file.
#[derive(Debug)]
pub(super) struct File<'i> {
    text: &'i str,
    pub(super) entries: Vec<Entry<'i>>,
}

impl<'i> File<'i> {
    pub(super) fn parse(text: &'i str) -> Result<Self, Fault> {
        let mut file = File { text, entries: Vec::new() };
        let mut sections: Vec<&'static str> = Vec::new();
        let mut current: Option<&'static Section> = None;
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if line.starts_with('[') {
                let section = file.section(line)?;
                if sections.contains(&section.name) {
                    return Err(file.second(section, line));
                }
                sections.push(section.name);
                current = Some(section);
            } else {
                let entry = file.entry(current, line)?;
                file.entries.push(entry);
            }
        }
        match [INTERFACE.name, PEER.name].into_iter().find(|name| !sections.contains(name)) {
            None => Ok(file),
            Some(name) => Err(Fault {
                at: None,
                key: Some(format!("[{name}]")),
                problem: "is missing".to_owned(),
                accepted: "a file of wg-quick with the sections [Interface] and [Peer]".to_owned(),
            }),
        }
    }

    /// The values of a list that may go on over several lines, without what is empty.
    pub(super) fn list(&self, key: &str) -> impl Iterator<Item = (&Entry<'i>, &'i str)> {
        let of_key = self.entries.iter().filter(move |entry| entry.key == key);
        of_key
            .flat_map(|entry| entry.value.split(',').map(move |item| (entry, item.trim())))
            .filter(|(_, item)| !item.is_empty())
    }

    /// The line of the byte at `at`, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count()
    }

    fn section(&self, line: &str) -> Result<&'static Section, Fault> {
        let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or("");
        [&INTERFACE, &PEER]
            .into_iter()
            .find(|section| section.name.eq_ignore_ascii_case(name.trim()))
            .ok_or_else(|| Fault {
                at: Some(self.offset(line)),
                key: None,
                problem: format!("{} is not a section", suggest::quoted(line)),
                accepted: "[Interface] and [Peer], once each".to_owned(),
            })
    }

    fn second(&self, section: &Section, line: &str) -> Fault {
        let accepted = match section.name {
            "Peer" => "one peer: a daemon links two hosts; make a file for each of them",
            _ => "each section once",
        };
        Fault {
            at: Some(self.offset(line)),
            key: Some(format!("[{}]", section.name)),
            problem: "is given twice".to_owned(),
            accepted: accepted.to_owned(),
        }
    }

    fn entry(&self, section: Option<&Section>, line: &'i str) -> Result<Entry<'i>, Fault> {
        let at = self.offset(line);
        let fault = |key, problem: String, accepted: &str| Fault {
            at: Some(at),
            key,
            problem,
            accepted: accepted.to_owned(),
        };
        let Some(section) = section else {
            let problem = "stands before the first section".to_owned();
            return Err(fault(None, problem, "[Interface] on the first line"));
        };
        let Some((word, value)) = line.split_once('=') else {
            let problem = "is not of the form Key = Value".to_owned();
            return Err(fault(Some(format!("[{}]", section.name)), problem, "Key = Value"));
        };
        let word = word.trim();
        let Some(&key) = section.keys.iter().find(|key| key.eq_ignore_ascii_case(word)) else {
            let key = format!("[{}] {}", section.name, suggest::quoted(word));
            let problem = "is not a key of wg-quick".to_owned();
            return Err(fault(Some(key), problem, &section.keys.join(", ")));
        };
        if !LISTS.contains(&key) && self.entries.iter().any(|entry| entry.key == key) {
            let key = Some(format!("[{}] {key}", section.name));
            return Err(fault(key, "is given twice".to_owned(), "this key once"));
        }
        Ok(Entry { section: section.name, key, value: value.trim(), at })
    }

    /// Where `part` of our text begins.
    fn offset(&self, part: &str) -> usize {
        part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }
}

impl Entry<'_> {
    /// The key with its section, for messages.
    pub(super) fn name(&self) -> String {
        format!("[{}] {}", self.section, self.key)
    }

    /// A number, in hexadecimal after `0x`; `off` is 0.
    pub(super) fn number(&self) -> Result<u32, Fault> {
        let number = match self.value.strip_prefix("0x") {
            _ if self.value == "off" => Some(0),
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => decimal(self.value),
        };
        number.ok_or_else(|| self.fault(self.value, "is not a number", "a number"))
    }

    /// An address or network; without a prefix length, that of a single host.
    pub(super) fn network(&self, item: &str) -> Result<IpNet, Fault> {
        let single = || item.parse::<IpAddr>().ok().map(IpNet::from);
        network::parse(item).or_else(single).ok_or_else(|| {
            self.fault(item, "is not an address with a prefix length", ACCEPTED_NETWORKS)
        })
    }

    fn fault(&self, value: &str, problem: impl fmt::Display, accepted: &str) -> Fault {
        Fault {
            at: Some(self.at),
            key: Some(self.name()),
            problem: format!("{} {problem}", suggest::quoted(value)),
            accepted: accepted.to_owned(),
        }
    }
}
