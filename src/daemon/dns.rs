//! The name servers of the link, told to systemd-resolved by its own program, `resolvectl`. Without systemd-resolved
//! the link works all the same: that is told once.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::config::{Config, Interface};
use crate::tun::{Origin, Tun};

/// How long systemd-resolved may take to answer at the start, and at the end.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(500);

/// What systemd-resolved is told of our device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dns {
    commands: Vec<Vec<String>>,
    /// The device's index.
    index: u32,
    /// The device will outlive us, and what was told of it.
    stays: bool,
}

impl Dns {
    /// The name servers and domains of `interface`, if there are any, for `tun`. With `default_route` all names are
    /// asked there, whatever other links say. Otherwise only those in its domains; if it has none, those that no other
    /// link has a domain for.
    pub(super) fn new(config: &Config, tun: &Tun) -> Self {
        let interface = &config.interface;
        let default_route = config.default_routes().next().is_some();
        let nothing =
            Self { commands: Vec::new(), index: tun.index(), stays: tun.origin() == Origin::Found };
        if interface.dns.is_empty() {
            return nothing;
        }
        Self { commands: commands(interface, tun.index(), default_route).into(), ..nothing }
    }

    /// Tells it when the daemon starts; if it `goes_on` with what an earlier process left, that may have told something
    /// else.
    pub(super) async fn begin(&self, goes_on: bool) {
        if goes_on && self.commands.is_empty() {
            return self.revert(PATIENCE_AT_THE_END).await;
        }
        self.tell().await;
    }

    async fn tell(&self) {
        for words in &self.commands {
            if let Err(error) = resolvectl(words, PATIENCE).await {
                let command = words.join(" ");
                tracing::warn!(%error, "the link's name servers are not used: resolvectl {command}");
                return;
            }
        }
    }

    /// Tells it instead of what was told before.
    pub(super) async fn tell_anew(&self) {
        if self.commands.is_empty() {
            return self.revert(PATIENCE).await;
        }
        self.tell().await;
    }

    /// Takes back what was told, unless systemd-resolved forgets by itself: a device of our own vanishes, or is kept for
    /// the next process, which tells anew.
    pub(super) async fn undo(&self) {
        if self.stays && !self.commands.is_empty() {
            self.revert(PATIENCE_AT_THE_END).await;
        }
    }

    async fn revert(&self, patience: Duration) {
        let words = ["revert".to_owned(), self.index.to_string()];
        if let Err(error) = resolvectl(&words, patience).await {
            tracing::warn!(%error, "the link's name servers could not be taken back");
        }
    }
}

/// The calls of `resolvectl`. Devices go by their index: a name could look like an option.
fn commands(interface: &Interface, index: u32, default_route: bool) -> [Vec<String>; 3] {
    let command =
        |verb: &str, rest: Vec<String>| [vec![verb.to_owned(), index.to_string()], rest].concat();
    let servers = interface.dns.iter().map(ToString::to_string).collect();
    let mut domains = interface.search.clone();
    if default_route {
        domains.push("~.".to_owned());
    }
    let others = default_route || domains.is_empty();
    if domains.is_empty() {
        // An empty word: none at all.
        domains.push(String::new());
    }
    let others = if others { "yes" } else { "no" };
    [
        command("dns", servers),
        command("domain", domains),
        command("default-route", vec![others.to_owned()]),
    ]
}

/// Runs the program to its end, unless that takes too long.
async fn resolvectl(words: &[String], patience: Duration) -> io::Result<()> {
    let run =
        Command::new("resolvectl").args(words).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(patience, run).await.map_err(io::Error::from)??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line: String = said.lines().next().unwrap_or_default().chars().take(LONGEST_LINE).collect();
    Err(io::Error::other(format!("{}: {line}", output.status)))
}

/// Characters of what the program says that are repeated.
const LONGEST_LINE: usize = 200;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::crypto::PrivateKey;

    fn interface(more: &str) -> Interface {
        let text = format!(
            "[interface]\naddresses = ['10.77.0.1/30']\nprivate_key = '{}'\n{more}\n[peer]\npublic_key = '{}'\n",
            PrivateKey::clamped([1; 32]).to_base64().as_str(),
            PrivateKey::clamped([2; 32]).public_key()
        );
        Config::parse(&text, Path::new("t")).unwrap().interface
    }

    fn said(more: &str, default_route: bool) -> Vec<String> {
        commands(&interface(more), 7, default_route).map(|words| words.join(" ")).into()
    }

    #[test]
    fn all_names_are_asked_through_a_default_route() {
        let told = said("dns = ['10.77.0.2', 'fd77::2']\nsearch = ['example.net']", true);
        assert_eq!(
            told,
            ["dns 7 10.77.0.2 fd77::2", "domain 7 example.net ~.", "default-route 7 yes"]
        );
    }

    #[test]
    fn without_a_default_route_only_the_links_domains_are_asked_there() {
        let told = said("dns = '10.77.0.2'\nsearch = ['example.net', 'lan']", false);
        assert_eq!(told, ["dns 7 10.77.0.2", "domain 7 example.net lan", "default-route 7 no"]);
        let told = said("dns = '10.77.0.2'", false);
        assert_eq!(told, ["dns 7 10.77.0.2", "domain 7 ", "default-route 7 yes"]);
    }
}
