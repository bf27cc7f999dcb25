//! The TOML as typed: which keys there are, and each value with its place. What a value means is judged elsewhere.

use toml::Spanned;
use toml::de::DeTable;

use super::error::Fault;
use super::suggest;
use super::value::Value;

/// The whole file.
pub(super) struct File<'i> {
    pub(super) interface: InterfaceTable<'i>,
    pub(super) peer: PeerTable<'i>,
    pub(super) hooks: Option<HooksTable<'i>>,
    pub(super) metrics: Option<MetricsTable<'i>>,
    pub(super) log: Option<LogTable<'i>>,
}

/// A section: a struct with one field for each key, all optional here, and the list of their names.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident: $section:literal { $($key:ident),* $(,)? }) => {
        $(#[$doc])*
        pub(super) struct $name<'i> {
            /// Where the section begins.
            pub(super) at: usize,
            $(pub(super) $key: Option<Value<'i>>,)*
        }

        impl<'i> $name<'i> {
            pub(super) const SECTION: &'static str = $section;
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];

            fn take(root: &mut DeTable<'i>) -> Result<Option<Self>, Fault> {
                let Some((at, mut table)) = take_section(root, Self::SECTION)? else {
                    return Ok(None);
                };
                refuse_unknown(&table, Self::SECTION, Self::KEYS)?;
                Ok(Some(Self {
                    at,
                    $($key: table
                        .remove(stringify!($key))
                        .map(|value| Value::new(Self::SECTION, stringify!($key), value)),)*
                }))
            }

            /// The fault of a key that is not there.
            #[allow(dead_code, reason = "a section may have no key that must be there")]
            pub(super) fn missing(&self, keys: &str, accepted: &str) -> Fault {
                Fault {
                    at: Some(self.at),
                    key: Some(format!("[{}] {keys}", Self::SECTION)),
                    problem: "is missing".to_owned(),
                    accepted: accepted.to_owned(),
                }
            }
        }
    };
}

section! {
    /// This end of the link.
    InterfaceTable: "interface" {
        name, addresses, private_key, private_key_file, listen_port, mtu, table, fwmark, offload,
        kill_switch, dns, search, rate_limit_out, rate_limit_in, copy_dscp, clamp_mss, mode, mac,
        promisc, bridge, mac_limit, broadcast_limit, link_local_frames,
    }
}

section! {
    /// The other end.
    PeerTable: "peer" {
        public_key, preshared_key, preshared_key_file, endpoint, allowed_ips, persistent_keepalive,
        profile, cipher,
    }
}

section! {
    /// What runs when something happens.
    HooksTable: "hooks" { up, down, peer_up, peer_down, endpoint_changed }
}

section! {
    /// Where metrics are served.
    MetricsTable: "metrics" { listen }
}

section! {
    /// How much is logged.
    LogTable: "log" { level }
}

/// The section inside `[interface]`, which mostly stands on one line: `offload = { tun_gso = false }`.
const OFFLOAD: &str = "interface.offload";
const OFFLOAD_KEYS: [&str; 4] = ["tun_gso", "tun_gro", "udp_gso", "udp_gro"];

const SECTIONS: [(&str, &[&str]); 6] = [
    (InterfaceTable::SECTION, InterfaceTable::KEYS),
    (PeerTable::SECTION, PeerTable::KEYS),
    (HooksTable::SECTION, HooksTable::KEYS),
    (MetricsTable::SECTION, MetricsTable::KEYS),
    (LogTable::SECTION, LogTable::KEYS),
    (OFFLOAD, &OFFLOAD_KEYS),
];

impl<'i> File<'i> {
    pub(super) fn parse(text: &'i str) -> Result<Self, Fault> {
        let mut root = DeTable::parse(text).map_err(|error| syntax(text, &error))?.into_inner();
        refuse_unknown_sections(&root)?;
        Ok(Self {
            interface: InterfaceTable::take(&mut root)?.ok_or_else(|| no_section("interface"))?,
            peer: PeerTable::take(&mut root)?.ok_or_else(|| no_section("peer"))?,
            hooks: HooksTable::take(&mut root)?,
            metrics: MetricsTable::take(&mut root)?,
            log: LogTable::take(&mut root)?,
        })
    }

    /// The first secret that stands in the file itself, if there is one.
    pub(super) fn inline_secret(&self) -> Option<&Value<'i>> {
        let Self { interface, peer, .. } = self;
        interface.private_key.as_ref().or(peer.preshared_key.as_ref())
    }
}

/// The values of `offload`, by the order of its keys.
pub(super) fn offload<'i>(
    value: Value<'i>,
    accepted: &str,
) -> Result<[Option<Value<'i>>; OFFLOAD_KEYS.len()], Fault> {
    let mut table = value.into_table(accepted)?;
    refuse_unknown(&table, OFFLOAD, &OFFLOAD_KEYS)?;
    Ok(OFFLOAD_KEYS.map(|key| table.remove(key).map(|value| Value::new(OFFLOAD, key, value))))
}

/// What the TOML parser said, without the line it quotes: a secret may stand there.
fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let span = error.span().unwrap_or(text.len()..text.len());
    let key = key_at(text, span.start);
    if error.message() == "duplicate key" {
        return Fault {
            at: Some(span.start),
            key,
            problem: "is given twice".to_owned(),
            accepted: "each section and each key once".to_owned(),
        };
    }
    Fault {
        at: Some(span.start),
        key,
        problem: format!("is not TOML: {}", error.message().replace('\n', " ")),
        accepted: "lines like key = \"text\", key = 1 or key = [\"one\", \"two\"]".to_owned(),
    }
}

/// The key or section on the line of `offset`, if it is one of ours; a file that did not parse has no table to ask.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let header = |line: &str| {
        let name = line.trim_start().strip_prefix('[')?.split(']').next()?;
        SECTIONS.into_iter().find(|(section, _)| *section == name.trim())
    };
    let line = text.get(start..)?.lines().next().unwrap_or_default();
    if let Some((section, _)) = header(line) {
        return Some(format!("[{section}]"));
    }
    let (section, keys) = text[..start].lines().rev().find_map(header)?;
    let word = line.split('=').next()?.trim().trim_matches('"');
    keys.contains(&word).then(|| format!("[{section}] {word}"))
}

fn no_section(section: &str) -> Fault {
    Fault {
        at: None,
        key: Some(format!("[{section}]")),
        problem: "is missing".to_owned(),
        accepted: "a file with the sections [interface] and [peer]".to_owned(),
    }
}

fn take_section<'i>(
    root: &mut DeTable<'i>,
    section: &'static str,
) -> Result<Option<(usize, DeTable<'i>)>, Fault> {
    let Some(found) = root.remove(section) else {
        return Ok(None);
    };
    let at = found.span().start;
    match found.into_inner() {
        toml::de::DeValue::Table(table) => Ok(Some((at, table))),
        _ => Err(Fault {
            at: Some(at),
            key: Some(format!("[{section}]")),
            problem: "is not a section".to_owned(),
            accepted: format!("[{section}] once, on its own line"),
        }),
    }
}

fn refuse_unknown_sections(root: &DeTable<'_>) -> Result<(), Fault> {
    let known = [
        InterfaceTable::SECTION,
        PeerTable::SECTION,
        HooksTable::SECTION,
        MetricsTable::SECTION,
        LogTable::SECTION,
    ];
    let Some(unknown) = first_unknown(root, &known) else {
        return Ok(());
    };
    let word = unknown.get_ref();
    let home = SECTIONS.into_iter().find(|(_, keys)| keys.contains(&&**word));
    let accepted = match home {
        Some((section, _)) => format!("{word} under [{section}]"),
        None => "the sections [interface], [peer], [hooks], [metrics] and [log]".to_owned(),
    };
    Err(Fault {
        at: Some(unknown.span().start),
        key: Some(suggest::quoted(word)),
        problem: "is not known here".to_owned(),
        accepted,
    })
}

/// Only the name of an unknown key is shown: its value may be a secret under a mistyped name.
fn refuse_unknown(
    table: &DeTable<'_>,
    section: &'static str,
    keys: &[&'static str],
) -> Result<(), Fault> {
    let Some(unknown) = first_unknown(table, keys) else {
        return Ok(());
    };
    let word = unknown.get_ref();
    let elsewhere = SECTIONS
        .into_iter()
        .filter(|(other, _)| *other != section)
        .find_map(|(other, keys)| Some((suggest::closest(word, keys)?, other)));
    let problem = match (suggest::closest(word, keys), elsewhere) {
        (Some(key), _) => format!("is not a key; perhaps {key} is meant"),
        (None, Some((key, other))) => format!("is not a key; {key} belongs under [{other}]"),
        (None, None) => "is not a key".to_owned(),
    };
    Err(Fault {
        at: Some(unknown.span().start),
        key: Some(format!("[{section}] {}", suggest::quoted(word))),
        problem,
        accepted: keys.join(", "),
    })
}

/// The key that stands first in the file of those that are not in `known`.
fn first_unknown<'t, 'i>(
    table: &'t DeTable<'i>,
    known: &[&str],
) -> Option<&'t Spanned<std::borrow::Cow<'i, str>>> {
    table.keys().filter(|key| !known.contains(&&**key.get_ref())).min_by_key(|key| key.span().start)
}
