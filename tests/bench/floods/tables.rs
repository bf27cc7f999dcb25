//! Figures as a table, and whether they show what must be shown.

use std::time::Duration;

use crate::weapons::Weapon;

/// The share of a stream beside a flood to a closed port that must be left.
const SHARE: f64 = 0.7;
/// Less memory than this may be added, in MiB.
const GROWTH: f64 = 8.0;

pub(crate) fn title(weapon: Weapon) -> &'static str {
    match weapon {
        Weapon::Junk => "junk",
        Weapon::BadMac1 => "wrong mac1",
        Weapon::OneSource => "good mac1, one source",
        Weapon::NewSources => "good mac1, new sources",
        Weapon::BadTags => "wrong tags, live index",
        Weapon::BadTagsAsPeer => "wrong tags, peer's address",
    }
}

/// One flood of one subject. Gb/s from host a to host b, and back.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    pub(crate) weapon: Weapon,
    /// Without a flood.
    pub(crate) calm: [f64; 2],
    /// Beside a flood to a closed port.
    pub(crate) closed: [f64; 2],
    /// Beside a flood to the daemon.
    pub(crate) flooded: [f64; 2],
    /// Datagrams a second, to the closed port and to the daemon.
    pub(crate) rates: [f64; 2],
    /// Sessions replaced during the flood to the daemon, and the initiations of both hosts that it took.
    pub(crate) rekeys: u32,
    pub(crate) initiations: u32,
    /// What new handshakes took; `None` if one failed.
    pub(crate) calls: Vec<Option<Duration>>,
    /// MiB.
    pub(crate) growth: f64,
}

impl Row {
    fn shares(&self) -> [f64; 2] {
        [0, 1].map(|way| self.flooded[way] / self.closed[way])
    }

    fn is_shown(&self) -> bool {
        self.shares().into_iter().all(|share| share >= SHARE)
            && self.calls.iter().all(Option::is_some)
            && self.growth < GROWTH
            && (self.initiations == 0 || self.rekeys > 0)
    }
}

pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = format!(
        "{:28} {:13} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7} {:>18} {:>6} {}\n",
        "flood",
        "subject",
        "calm",
        "closed",
        "flooded",
        "share",
        "kpps",
        "rekeys",
        "handshakes s",
        "MiB",
        "shown"
    );
    for row in rows {
        let pair = |pair: [f64; 2]| format!("{:.2} {:.2}", pair[0], pair[1]);
        let calls: Vec<_> = row
            .calls
            .iter()
            .map(|call| call.map_or("-".to_owned(), |took| format!("{:.2}", took.as_secs_f64())))
            .collect();
        text += &format!(
            "{:28} {:13} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7} {:>18} {:>6.1} {}\n",
            title(row.weapon),
            row.subject,
            pair(row.calm),
            pair(row.closed),
            pair(row.flooded),
            pair(row.shares()),
            format!("{:.0} {:.0}", row.rates[0] / 1e3, row.rates[1] / 1e3),
            format!("{}/{}", row.rekeys, row.initiations),
            calls.join(" "),
            row.growth,
            if row.is_shown() { "yes" } else { "no" },
        );
    }
    text
}
