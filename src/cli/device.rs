//! `tunneld device`: tun and tap devices that outlive the programs that use them.

use std::io;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use nix::unistd::{Group, User, geteuid};

use crate::config::{device_name, mac_address};
use crate::tun::persistent::{self, Device, Wanted};
use crate::wire::Layer;
use crate::wire::ethernet::Mac;

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a device that stays until it is removed or the host goes down
    #[command(after_help = "\
Examples:
  tunneld device add tun0 --user tunneld --mtu 1420
  tunneld device add tap0 --tap --group kvm --mac 02:00:00:00:00:01")]
    Add(AddOptions),
    /// Remove a device that no program uses
    #[command(after_help = "Example:\n  tunneld device del tun0")]
    Del {
        /// The name of the device
        #[arg(value_parser = name)]
        name: String,
    },
    /// Show all tun and tap devices
    #[command(after_help = "Example:\n  tunneld device list --json")]
    List {
        /// Print them as one line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a device is to be.
#[derive(Args, Debug)]
pub struct AddOptions {
    /// Its name: at most 15 letters, digits and signs
    #[arg(value_parser = name)]
    name: String,
    /// Carry Ethernet frames instead of IP packets
    #[arg(long)]
    tap: bool,
    /// The user who may use it, by name or number; if neither this nor a group is given, whoever makes it
    #[arg(long, value_name = "USER", value_parser = user)]
    user: Option<u32>,
    /// The group that may use it, by name or number; with a user, both must fit
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Option<u32>,
    /// Its MAC address; of a tap device only
    #[arg(long, value_name = "MAC", requires = "tap", value_parser = mac)]
    mac: Option<Mac>,
    /// Its MTU in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65_535))]
    mtu: Option<u32>,
    /// For programs that open it with several queues; tunneld uses one
    #[arg(long)]
    multi_queue: bool,
}

/// Does it.
///
/// # Errors
/// The kernel refuses; or standard output.
pub fn run(action: &Action) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        match action {
            Action::Add(options) => Ok(persistent::add(&options.wanted()).await?),
            Action::Del { name } => Ok(persistent::remove(name).await?),
            Action::List { json } => list(*json).await,
        }
    })
}

async fn list(json: bool) -> anyhow::Result<()> {
    let devices = persistent::list().await.context("asking the kernel for its devices")?;
    let text = if json { super::json(&devices)? } else { table(&devices) };
    Ok(super::print(&text)?)
}

impl AddOptions {
    fn wanted(&self) -> Wanted {
        let maker = self.group.is_none().then(|| geteuid().as_raw());
        Wanted {
            name: self.name.clone(),
            kind: if self.tap { Layer::Ethernet } else { Layer::Ip },
            // A device of nobody is everybody's.
            owner: self.user.or(maker),
            group: self.group,
            mac: self.mac,
            mtu: self.mtu,
            multi_queue: self.multi_queue,
        }
    }
}

/// A line for each device, under headings.
fn table(devices: &[Device]) -> String {
    let headings = ["NAME", "KIND", "OWNER", "GROUP", "MTU", "STATE", "IN USE", "FLAGS"];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(devices.iter().map(row));
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max())
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(device: &Device) -> [String; 8] {
    let flags = [
        (device.persistent, "persistent"),
        (device.multi_queue, "multi_queue"),
        (device.vnet_hdr, "vnet_hdr"),
    ];
    let flags: Vec<_> = flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    [
        device.name.clone(),
        device.kind.name().to_owned(),
        named(device.owner, user_name),
        named(device.group, group_name),
        device.mtu.to_string(),
        if device.up { "up" } else { "down" }.to_owned(),
        if device.held { "yes" } else { "no" }.to_owned(),
        flags.join(","),
    ]
}

/// A user or a group by name, or by number if it has none.
fn named(id: Option<u32>, name: impl Fn(u32) -> Option<String>) -> String {
    id.map_or("-".to_owned(), |id| name(id).unwrap_or(id.to_string()))
}

fn user_name(id: u32) -> Option<String> {
    Some(User::from_uid(id.into()).ok()??.name)
}

fn group_name(id: u32) -> Option<String> {
    Some(Group::from_gid(id.into()).ok()??.name)
}

fn name(text: &str) -> Result<String, String> {
    device_name(text).map_err(|(problem, accepted)| format!("{problem}; accepted: {accepted}"))
}

fn mac(text: &str) -> Result<Mac, String> {
    mac_address(text).map_err(|(problem, accepted)| format!("{problem}; accepted: {accepted}"))
}

fn user(text: &str) -> Result<u32, String> {
    let by_name = User::from_name(text).map(|user| user.map(|user| user.uid.as_raw()));
    id(text, "user", by_name)
}

fn group(text: &str) -> Result<u32, String> {
    let by_name = Group::from_name(text).map(|group| group.map(|group| group.gid.as_raw()));
    id(text, "group", by_name)
}

/// The number of a user or a group.
fn id(text: &str, what: &str, by_name: nix::Result<Option<u32>>) -> Result<u32, String> {
    // The last number means nobody at all.
    let number = || text.parse().ok().filter(|id| *id != u32::MAX);
    let by_name = by_name
        .map_err(|errno| format!("{what}s cannot be looked up: {}", io::Error::from(errno)))?;
    by_name.or_else(number).ok_or_else(|| {
        format!("is no {what} of this host; accepted: the name or the number of a {what}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_known_by_name_and_number() {
        assert_eq!((user("root"), user("0"), group("root")), (Ok(0), Ok(0), Ok(0)));
        assert_eq!((user("65533"), group("65533")), (Ok(65533), Ok(65533)));
        for text in ["no such user", "-1", "4294967295", "4294967296", ""] {
            let error = user(text).unwrap_err();
            assert!(error.ends_with("accepted: the name or the number of a user"), "{error}");
            assert!(group(text).is_err(), "{text}");
        }
    }
}
