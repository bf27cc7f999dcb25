//! The name servers of the link, told to systemd-resolved by its own program, `resolvectl`. Without systemd-resolved the
//! link works all the same: that is told once.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::config::Interface;
use crate::tun::Tun;

/// How long systemd-resolved may take to answer at the start, and at the end.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(500);

/// What systemd-resolved is told of our device.
#[derive(Debug)]
pub(super) struct Dns {
    commands: Vec<Vec<String>>,
    /// The device's index, if it will outlive us, so that what was told has to be taken back.
    to_revert: Option<u32>,
}

impl Dns {
    /// The name servers and domains of `interface`, if there are any, for `tun`. With `default_route` all names are
    /// asked there, whatever other links say. Otherwise only those in its domains; if it has none, those that no other link has
    /// a domain for.
    pub(super) fn new(interface: &Interface, tun: &Tun, default_route: bool) -> Self {
        if interface.dns.is_empty() {
            return Self { commands: Vec::new(), to_revert: None };
        }
        Self {
            commands: commands(interface, tun.index(), default_route).into(),
            // With a device of our own systemd-resolved forgets by itself.
            to_revert: (!tun.created()).then_some(tun.index()),
        }
    }

    /// Tells it.
    pub(super) async fn tell(&self) {
        for words in &self.commands {
            if let Err(error) = resolvectl(words, PATIENCE).await {
                let command = words.join(" ");
                tracing::warn!(%error, "the link's name servers are not used: resolvectl {command}");
                return;
            }
        }
    }

    /// Takes back what was told.
    pub(super) async fn undo(&self) {
        let Some(index) = self.to_revert else { return };
        let words = ["revert".to_owned(), index.to_string()];
        if let Err(error) = resolvectl(&words, PATIENCE_AT_THE_END).await {
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
