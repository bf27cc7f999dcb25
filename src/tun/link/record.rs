//! What of a device's place in the network is ours, written down before it is made: in a memory file, which a service
//! manager may keep, so that the next process knows it, also after a crash.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::LinkSettings;
use crate::tun::namespace;
use crate::tun::netlink::DeviceState;

/// What is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ours {
    /// Of this layout.
    version: u32,
    /// In which network namespace all this is, by its number; `None` if that could not be told.
    namespace: Option<u64>,
    /// The device that addresses and routes are of; none yet, if this is empty.
    pub(super) device: String,
    pub(super) index: u32,
    /// How it was found, if it existed before; `None` for our own, which takes all but the rules with it.
    pub(super) found: Option<DeviceState>,
    pub(super) addresses: Vec<IpNet>,
    /// Networks, each with the number of the table that it is in.
    pub(super) routes: Vec<(IpNet, u32)>,
    /// Default routes that rules lead to, each with the mark of the packets that they do not.
    pub(super) rules: Vec<(IpNet, u32)>,
    /// Whether it was put into a bridge.
    pub(super) is_port: bool,
}

impl Ours {
    /// Nothing, in this network namespace.
    pub(super) fn nothing() -> Self {
        Self { version: VERSION, namespace: namespace::here(), ..Self::default() }
    }

    /// What of this is ours on another device: the rules, which are of none.
    pub(super) fn on(&self, device: &str, index: u32, found: Option<DeviceState>) -> Self {
        let (device, rules) = (device.to_owned(), self.rules.clone());
        Self { device, index, found, rules, ..Self::nothing() }
    }

    /// The same and what these settings make.
    pub(super) fn with(&self, settings: &LinkSettings) -> Self {
        let mut all = self.clone();
        settings.addresses.iter().for_each(|address| note(&mut all.addresses, *address));
        settings.routes_to_add().for_each(|route| note(&mut all.routes, route));
        settings.ruled().for_each(|default| note(&mut all.rules, default));
        let bridge = settings.ethernet.as_ref().and_then(|ethernet| ethernet.bridge.as_ref());
        all.is_port |= bridge.is_some();
        all
    }
}

/// Adds what is not there yet.
pub(super) fn note<T: PartialEq>(items: &mut Vec<T>, item: T) {
    if !items.contains(&item) {
        items.push(item);
    }
}

/// The memory file. It says too much rather than too little: some of it may not be there, or not any more.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    written: Ours,
    /// There may be more that is ours: what was written before could not be read.
    incomplete: bool,
}

impl Record {
    /// A new one, in which nothing is ours.
    ///
    /// # Errors
    /// The system has no memory files.
    pub(crate) fn new() -> io::Result<Self> {
        let file = memfd_create("tunneld network", MFdFlags::MFD_CLOEXEC)?.into();
        let mut record = Self { file, written: Ours::default(), incomplete: false };
        record.write(&Ours::nothing());
        Ok(record)
    }

    /// The one that an earlier process left, to go on with. If it cannot be read or is of another version, nothing is
    /// known to be ours.
    pub(crate) fn take(kept: OwnedFd) -> Self {
        let mut file = File::from(kept);
        let read = read(&mut file);
        let incomplete = read.is_err();
        let written = read.unwrap_or_else(|error| {
            tracing::warn!(
                %error,
                "what the process before added to the network is not known: what the file does not name stays"
            );
            let _ = file.set_len(0);
            Ours::nothing()
        });
        Self { file, written, incomplete }
    }

    /// Whether there may be rules that lead a default route into the tunnel.
    #[must_use]
    pub(crate) fn may_have_rules(&self) -> bool {
        self.incomplete || self.has_rules()
    }

    /// Whether there are rules that lead a default route into the tunnel.
    #[must_use]
    pub(crate) fn has_rules(&self) -> bool {
        !self.written.rules.is_empty()
    }

    /// Whether all this is in this thread's network namespace, as far as it can be told. In another one the same names
    /// and indices are those of other devices.
    #[must_use]
    pub(crate) fn is_of_this_namespace(&self) -> bool {
        namespace::here().is_none_or(|here| self.written.namespace.is_none_or(|of| of == here))
    }

    /// Whether addresses and routes are of the device that has this name now.
    #[must_use]
    pub(crate) fn is_of(&self, device: &str) -> bool {
        let index = if_nametoindex(device).ok();
        self.written.device == device && index == Some(self.written.index)
    }

    /// The default routes that rules lead to, each with the number of its table.
    pub(in crate::tun) fn ruled(&self) -> &[(IpNet, u32)] {
        &self.written.rules
    }

    /// What was written last.
    pub(super) fn ours(&self) -> &Ours {
        &self.written
    }

    /// Writes down what is ours, to be called before it is made. That this fails is no reason not to make it.
    pub(super) fn write(&mut self, ours: &Ours) {
        if *ours == self.written {
            return;
        }
        match self.append(ours) {
            Ok(()) => self.written.clone_from(ours),
            Err(error) => {
                tracing::warn!(%error, "the next process will not know all that is ours in the network");
            }
        }
    }

    /// One line after the other: what was written before holds until this one is whole, whenever the process is killed.
    fn append(&mut self, ours: &Ours) -> io::Result<()> {
        if self.file.metadata()?.len() > LONGEST {
            self.file.set_len(0)?;
        }
        self.file.seek(SeekFrom::End(0))?;
        // After what may be a part of a line.
        let line = format!("\n{}\n", serde_json::to_string(ours)?);
        self.file.write_all(line.as_bytes())
    }
}

impl AsFd for Record {
    /// What to keep open for the next process.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What the last whole line says.
fn read(file: &mut File) -> io::Result<Ours> {
    let mut text = String::new();
    file.rewind()?;
    file.take(LONGEST.saturating_mul(2)).read_to_string(&mut text)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let Some(line) = whole.lines().next_back() else { return Ok(Ours::nothing()) };
    let ours: Ours = serde_json::from_str(line)?;
    if ours.version == VERSION {
        Ok(ours)
    } else {
        Err(io::Error::other(format!("it is of version {}, not {VERSION}", ours.version)))
    }
}

const VERSION: u32 = 2;
/// Bytes after which the file begins anew: many times what the longest configuration makes.
const LONGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_own_network;

    fn ours(routes: &[&str]) -> Ours {
        let routes = routes.iter().map(|text| (text.parse().unwrap(), 254)).collect();
        let found =
            Some(DeviceState { mtu: 1500, up: true, running: false, ..DeviceState::default() });
        let rules = vec![("::/0".parse().unwrap(), 51_820)];
        Ours { routes, rules, ..Ours::default().on("tun9", 7, found) }
    }

    fn written(all: &[Ours]) -> Record {
        let mut record = Record::new().unwrap();
        for ours in all {
            record.write(ours);
        }
        record
    }

    /// What a later process knows, which has the same file.
    fn known(record: &Record) -> Ours {
        Record::take(record.as_fd().try_clone_to_owned().unwrap()).written
    }

    #[test]
    fn a_later_process_knows_what_was_written_last() {
        assert_eq!(known(&written(&[])), Ours::nothing());
        let all = [ours(&["192.168.7.0/24", "fd78::/48"]), ours(&[]), ours(&["192.168.8.0/24"])];
        assert_eq!(known(&written(&all)), all[2]);
        let mut later = Record::take(written(&all).file.into());
        later.write(&ours(&["192.168.9.0/24"]));
        assert_eq!(known(&later), ours(&["192.168.9.0/24"]));
    }

    #[test]
    fn what_was_written_before_holds_until_the_next_is_whole() {
        let mut record = written(&[ours(&["192.168.7.0/24"])]);
        let before = record.file.metadata().unwrap().len();
        record.write(&ours(&["192.168.8.0/24"]));
        let after = record.file.metadata().unwrap().len();
        for length in before..after {
            record.file.set_len(length).unwrap();
            assert_eq!(known(&record), ours(&["192.168.7.0/24"]), "{length} of {after} bytes");
        }
        record.written = Ours::default();
        record.write(&ours(&["192.168.8.0/24"]));
        assert_eq!(known(&record), ours(&["192.168.8.0/24"]), "also after a part of a line");
    }

    #[test]
    fn of_what_is_broken_or_of_another_version_nothing_is_known() {
        let line = serde_json::to_string(&ours(&["192.168.7.0/24"])).unwrap();
        for text in [
            line.replace("\"version\":2", "\"version\":1"),
            line.replace("\"version\":2", "\"version\":2,\"more\":0"),
            line.replace("192.168.7.0", "192.168.7"),
            "nonsense".to_owned(),
            "\u{0}\u{0}".to_owned(),
        ] {
            // Also not what stood before it.
            let mut record = written(&[ours(&["192.168.6.0/24"])]);
            record.file.write_all(format!("{text}\n").as_bytes()).unwrap();
            assert_eq!(known(&record), Ours::nothing(), "{text}");
            assert_eq!(record.file.metadata().unwrap().len(), 0, "it begins anew");
        }
        let mut record = Record::new().unwrap();
        record.file.write_all(&[0xff, b'\n']).unwrap();
        assert_eq!(known(&record), Ours::nothing());
    }

    #[test]
    fn a_record_is_of_the_network_namespace_that_it_was_made_in() {
        let test = "a_record_is_of_the_network_namespace_that_it_was_made_in";
        let record = written(&[ours(&[])]);
        assert!(record.is_of_this_namespace());
        let kept = record.as_fd().try_clone_to_owned().unwrap();
        in_own_network(test, || {
            assert!(!Record::take(kept).is_of_this_namespace());
            assert!(Record::new().unwrap().is_of_this_namespace());
        });
    }

    #[test]
    fn the_file_stays_short_however_often_it_is_written() {
        let mut record = Record::new().unwrap();
        let networks: Vec<_> = (0..200).map(|i| format!("10.{i}.0.0/16")).collect();
        let networks: Vec<_> = networks.iter().map(String::as_str).collect();
        for length in (0..200).chain(0..200).chain(0..200) {
            record.write(&ours(&networks[length..]));
            assert!(record.file.metadata().unwrap().len() < LONGEST + 10_000);
        }
        assert_eq!(known(&record), ours(&networks[199..]));
        let before = record.file.metadata().unwrap().len();
        record.write(&ours(&networks[199..]));
        assert_eq!(record.file.metadata().unwrap().len(), before, "nothing changed");
    }
}
