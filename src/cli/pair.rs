//! `tunneld pair`: the configurations of two hosts that are to be linked, and what to do with them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;
use nix::errno::Errno;
use zeroize::Zeroizing;

use super::{Mistake, new_files};
use crate::config::{self, Config, EndpointError, HostPort, network};
use crate::crypto::{Cipher, PresharedKey, PrivateKey};
use crate::daemon::entropy::entropy;

const DEFAULT_PORT: u16 = 51820;
const DEFAULT_NET: &str = "10.77.0.0/30";

/// What `tunneld pair` may be told.
#[derive(Debug, Args)]
pub struct Options {
    /// Where host A can be called: a name or an address, with :PORT if it is not 51820; "-" if it cannot be
    #[arg(long, value_name = "HOST")]
    pub a: Reach,
    /// The same of host B
    #[arg(long, value_name = "HOST")]
    pub b: Reach,
    /// The network inside the tunnel, twice for IPv4 and IPv6 [default: 10.77.0.0/30 and a random fd...::/64]
    #[arg(long, value_name = "NETWORK", value_parser = link_network)]
    pub net: Vec<IpNet>,
    /// What packets are sealed with, if not as WireGuard does: see `tunneld bench`
    #[arg(long, value_name = "CIPHER", value_parser = cipher)]
    pub cipher: Option<Cipher>,
    /// Where to write host-a.toml and host-b.toml; made if it is not there
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
}

/// Where a host can be called, if it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach(Option<HostPort>);

/// Writes both files and says what to do with them.
///
/// # Errors
/// The options do not go together, there is no randomness, or a file cannot be written.
pub fn run(Options { a, b, net, cipher, output }: &Options) -> anyhow::Result<()> {
    refuse_no_link(a, b)?;
    let nets = networks(net)?;
    let ends = [End::new('a', a, &nets, 0)?, End::new('b', b, &nets, 1)?];
    let preshared_key = PresharedKey::from(*entropy()?);
    let [a, b] = &ends;
    let profile = profile(*cipher);
    let texts = [a.file(b, &preshared_key, &profile), b.file(a, &preshared_key, &profile)];
    let mut notes = String::new();
    for (end, text) in ends.iter().zip(&texts) {
        // They are right unless an endpoint lies inside the tunnel, which is worth a note.
        for note in Config::parse(text, Path::new(&end.file_name()))?.notes() {
            let _ = writeln!(notes, "note: {}: {note}", end.file_name());
        }
    }
    let [path_a, path_b] = ends.each_ref().map(|end| output.join(end.file_name()));
    let [text_a, text_b] = &texts;
    in_directory(output, || new_files::write(&[(path_a, text_a), (path_b, text_b)]))?;
    Ok(super::print(&(instructions(&ends, output) + &notes))?)
}

/// At least one host must be reached, and they must be two.
fn refuse_no_link(Reach(a): &Reach, Reach(b): &Reach) -> Result<(), Mistake> {
    let problem = match (a, b) {
        (None, None) => "neither host could call the other; accepted: \"-\" for one of them",
        (Some(a), Some(b)) if a == b => "they are one host; accepted: two hosts",
        _ => return Ok(()),
    };
    Err(Mistake(format!("--a and --b are the same: {problem}")))
}

/// One of the two hosts.
struct End {
    letter: char,
    reach: Option<HostPort>,
    addresses: Vec<IpNet>,
    private_key: PrivateKey,
}

impl End {
    fn new(letter: char, reach: &Reach, nets: &[IpNet], number: usize) -> anyhow::Result<Self> {
        let address = |net: &IpNet| Some(with_prefix(*hosts(*net).get(number)?, *net));
        Ok(Self {
            letter,
            reach: reach.0.clone(),
            addresses: nets.iter().filter_map(address).collect(),
            private_key: PrivateKey::clamped(*entropy()?),
        })
    }

    fn file_name(&self) -> String {
        format!("host-{}.toml", self.letter)
    }

    fn capital(&self) -> char {
        self.letter.to_ascii_uppercase()
    }

    /// The configuration of this host, of which `other` is the peer.
    fn file(&self, other: &Self, preshared_key: &PresharedKey, profile: &str) -> Zeroizing<String> {
        // Room for all of it: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(4096));
        let (here, there) = (self.capital(), other.capital());
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let listen_port = match &self.reach {
            Some(HostPort { port, .. }) => format!("listen_port = {port}\n"),
            None => String::new(),
        };
        let endpoint = match &other.reach {
            Some(endpoint) => format!("endpoint = \"{endpoint}\"\n"),
            None => format!("# No endpoint: host {there} calls.\n"),
        };
        // Text takes everything.
        let _ = write!(
            text,
            r#"# Host {here} of the link that `tunneld pair` made; the other end is {}.
# It holds secrets. docs/configuration.md explains every key.

[interface]
addresses = {addresses:?}
private_key = "{}"
{listen_port}
[peer]
public_key = "{}"
preshared_key = "{}"
{endpoint}{profile}
# If there are networks behind host {there}, name them here with those of the link:
# allowed_ips = {:?}
"#,
            other.file_name(),
            self.private_key.to_base64().as_str(),
            other.private_key.public_key(),
            preshared_key.to_base64().as_str(),
            self.behind(),
        );
        text
    }

    /// The networks of the link, and one as an example.
    fn behind(&self) -> Vec<String> {
        let ipv4 = self.addresses.iter().any(|address| address.addr().is_ipv4());
        let example = if ipv4 { "192.168.7.0/24" } else { "2001:db8:7::/64" };
        let nets = self.addresses.iter().map(|address| address.trunc().to_string());
        nets.chain([example.to_owned()]).collect()
    }

    /// What to do on this host.
    fn steps(&self, directory: &Path) -> String {
        let file = self.file_name();
        let login = match &self.reach {
            Some(HostPort { host, .. }) if host.contains(':') => format!("root@[{host}]"),
            Some(HostPort { host, .. }) => format!("root@{host}"),
            None => format!("root@HOST-{}", self.capital()),
        };
        let firewall = match &self.reach {
            Some(HostPort { port, .. }) => {
                format!("# let UDP port {port} in, if there is a firewall\n  ")
            }
            None => String::new(),
        };
        let path = directory.join(&file);
        format!(
            "\nHost {}:\n  scp {} {login}:\n  ssh {}\nand there:\n  install -o root -g tunneld -m 640 {file} /etc/tunneld.toml\n  \
             rm {file}\n  tunneld check\n  {firewall}systemctl enable --now tunneld\n",
            self.capital(),
            config::shell_word(&path),
            login.replace(['[', ']'], ""),
        )
    }
}

fn instructions(ends: &[End; 2], directory: &Path) -> String {
    let [a, b] = ends;
    let paths = ends.each_ref().map(|end| directory.join(end.file_name()));
    let [path_a, path_b] = paths.each_ref().map(|path| config::shell_word(path));
    let there = b.addresses.first().map(|address| address.addr().to_string()).unwrap_or_default();
    format!(
        "{path_a} and {path_b} are the two ends of one link. tunneld must be installed on both hosts.\n{}{}\n\
         Then, on host A:\n  ping {there}\n\n\
         Both files hold secrets. Once they are in place:\n  rm {path_a} {path_b}\n",
        a.steps(directory),
        b.steps(directory),
    )
}

/// Does `work` in `directory`, which is made if it is not there, and taken away again if the work fails.
fn in_directory(directory: &Path, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let made = match nix::unistd::mkdir(directory, nix::sys::stat::Mode::S_IRWXU) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno).with_context(|| format!("making {}", directory.display())),
    };
    work().inspect_err(|_| {
        if made {
            // It was made a moment ago, by us; if somebody put something there, it stays.
            let _ = std::fs::remove_dir(directory);
        }
    })
}

/// The networks of the link: those that were asked for, or the default ones.
fn networks(asked: &[IpNet]) -> anyhow::Result<Vec<IpNet>> {
    let problem = match asked {
        [] => return Ok(vec![DEFAULT_NET.parse()?, unique_local()?]),
        [one, other] if network::same_family(*one, *other) => "are of one family",
        [_] | [_, _] => return Ok(asked.to_vec()),
        _ => "are too many",
    };
    let accepted = "one IPv4 network, one IPv6 network, or one of each";
    Err(Mistake(format!("--net: the networks {problem}; accepted: {accepted}")).into())
}

/// A random network as RFC 4193 wants it: fd, 40 random bits, and a subnet of 16 bits.
fn unique_local() -> anyhow::Result<IpNet> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets[1..8]).context("the system gives no random numbers")?;
    octets[0] = 0xfd;
    Ok(with_prefix(Ipv6Addr::from(octets).into(), "::/64".parse()?))
}

/// The first two addresses that hosts can have, as far as there are any.
fn hosts(net: IpNet) -> Vec<IpAddr> {
    let usable = |address: &IpAddr| network::no_host_address(with_prefix(*address, net)).is_none();
    net.hosts().take(3).filter(usable).take(2).collect()
}

fn with_prefix(address: IpAddr, net: IpNet) -> IpNet {
    IpNet::new_assert(address, net.prefix_len())
}

/// The lines that say it, the same on both hosts.
fn profile(cipher: Option<Cipher>) -> String {
    let lines = |cipher| format!("profile = \"tunneld\"\ncipher = \"{cipher}\"\n");
    cipher.map(lines).unwrap_or_default()
}

fn cipher(text: &str) -> Result<Cipher, String> {
    let all = Cipher::ALL.map(Cipher::name).join(" or ");
    let found = Cipher::ALL.into_iter().find(|cipher| cipher.name() == text);
    found.ok_or_else(|| format!("no cipher; accepted: {all}"))
}

fn link_network(text: &str) -> Result<IpNet, String> {
    let net = network::parse(text).ok_or(
        r#"not a network with a prefix length; accepted: like "10.77.0.0/30" or "fd77::/64""#,
    )?;
    if net != net.trunc() {
        return Err(format!("not the first address of its network; accepted: {}", net.trunc()));
    }
    if hosts(net).len() < 2 {
        let accepted = "a prefix length of at most 31, or 127 for IPv6";
        return Err(format!("no network with addresses for two hosts; accepted: {accepted}"));
    }
    Ok(net)
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self(None));
        }
        let with_port = match text.parse::<HostPort>() {
            Err(EndpointError::NoPort) => format!("{text}:{DEFAULT_PORT}"),
            Err(EndpointError::Brackets) if text.parse::<Ipv6Addr>().is_ok() => {
                format!("[{text}]:{DEFAULT_PORT}")
            }
            _ => text.to_owned(),
        };
        with_port.parse().map(|reach| Self(Some(reach))).map_err(|error: EndpointError| {
            format!(r#"it {error}; accepted: like "host-a.example.net", "192.0.2.1", "[2001:db8::1]:51820" or "-""#)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_be_a_name_or_an_address_with_or_without_a_port() {
        for (text, meant) in [
            ("a.example.net", "a.example.net:51820"),
            ("a.example.net:7", "a.example.net:7"),
            ("192.0.2.1", "192.0.2.1:51820"),
            ("2001:db8::1", "[2001:db8::1]:51820"),
            ("[2001:db8::1]", "[2001:db8::1]:51820"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
        ] {
            let Reach(reach) = text.parse().unwrap();
            assert_eq!(reach.map(|reach| reach.to_string()).as_deref(), Some(meant));
        }
        assert_eq!("-".parse(), Ok(Reach(None)));
        for text in ["", "a b", "a:0", "fe80::1", "10.0.0.256", "2001:db8::1:51820:1:2:3:4:5", "--"]
        {
            let error = text.parse::<Reach>().unwrap_err();
            assert!(error.contains("; accepted: "), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_must_have_room_for_two_hosts() {
        for (text, first) in [
            ("10.77.0.0/30", Some(["10.77.0.1", "10.77.0.2"])),
            ("10.77.0.0/31", Some(["10.77.0.0", "10.77.0.1"])),
            ("10.0.0.0/8", Some(["10.0.0.1", "10.0.0.2"])),
            ("fd77::/64", Some(["fd77::1", "fd77::2"])),
            ("fd77::/127", Some(["fd77::", "fd77::1"])),
            ("10.77.0.0/32", None),
            ("fd77::/128", None),
            ("10.77.0.1/30", None),
            ("0.0.0.0/0", None),
            ("127.0.0.0/8", None),
            ("ff00::/8", None),
            ("10.77.0.0", None),
        ] {
            let found = link_network(text).map(hosts).ok();
            let first = first.map(|all| all.map(|one| one.parse::<IpAddr>().unwrap()).to_vec());
            assert_eq!(found, first, "{text}");
        }
    }

    #[test]
    fn without_a_network_each_link_has_its_own_unique_local_one() {
        let [first, second] = [(); 2].map(|()| unique_local().unwrap());
        assert_ne!(first, second);
        assert!("fd00::/8".parse::<IpNet>().unwrap().contains(&first));
        assert_eq!((first, first.prefix_len()), (first.trunc(), 64));
    }
}
