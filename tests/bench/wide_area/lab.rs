//! Two namespaces with a relay between them, and a daemon in each.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;
use tunneld::crypto::PrivateKey;

use super::relay::{DEVICE, Relay, Weather};

/// How a stream goes from the first namespace to the second.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// Over the relay as it is, with the route's MTU that of the tunnel.
    Direct,
    /// Through tunneld.
    Tunnel,
}

impl Way {
    /// The second namespace's address on this way.
    pub(crate) fn address(self) -> Ipv4Addr {
        match self {
            Self::Direct => DIRECT[1],
            Self::Tunnel => INNER[1],
        }
    }
}

/// All is removed when it is dropped.
pub(crate) struct Lab {
    daemons: Vec<Child>,
    pub(crate) relay: Relay,
    namespaces: Namespaces,
    directory: TempDir,
}

impl Lab {
    /// Sets everything up; the daemons may not be ready yet.
    pub(crate) fn new(weather: Weather) -> Result<Self> {
        let namespaces = Namespaces::add()?;
        let relay = Relay::start(namespaces.0.each_ref().map(String::as_str), weather)
            .context("cannot make the relay's devices")?;
        let directory = tempfile::Builder::new().prefix(&own_name("")).tempdir()?;
        let mut lab = Self { daemons: Vec::new(), relay, namespaces, directory };
        for host in 0..2 {
            lab.set_up(host)?;
        }
        for host in 0..2 {
            let daemon = lab.start_daemon(host)?;
            lab.daemons.push(daemon);
        }
        Ok(lab)
    }

    /// Runs `work` in a namespace; the sockets it makes stay there.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        host: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let namespace = File::open(Path::new("/run/netns").join(&self.namespaces.0[host]))?;
        let thread = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        thread.join().expect("it does not panic")
    }

    fn set_up(&self, host: usize) -> Result<()> {
        let other = 1 - host;
        let (direct, towards, mtu) = (DIRECT[host], DIRECT[other], INNER_MTU);
        for words in [
            "link set lo up".to_owned(),
            // Long enough that whatever is lost is lost by the relay.
            format!("link set {DEVICE} mtu 1500 txqueuelen 10000 up"),
            format!("address add {}/24 dev {DEVICE}", UNDERLAY[host]),
            format!("address add {direct}/32 dev {DEVICE}"),
            format!("route add {towards}/32 dev {DEVICE} src {direct} mtu {mtu}"),
        ] {
            ip(&format!("-n {} {words}", self.namespaces.0[host]))?;
        }
        // No stream is to know what one before it met.
        let forget = || fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
        self.inside(host, forget)?.context("cannot set how TCP behaves")
    }

    fn start_daemon(&self, host: usize) -> Result<Child> {
        let [ours, theirs] = [host, 1 - host].map(|host| PrivateKey::clamped([host as u8 + 1; 32]));
        let config = format!(
            "[interface]\nname = \"tun0\"\naddresses = [\"{}/24\"]\nprivate_key = \"{}\"\n\
             listen_port = {PORT}\nmtu = {INNER_MTU}\n\n\
             [peer]\npublic_key = \"{}\"\nendpoint = \"{}:{PORT}\"\n",
            INNER[host],
            ours.to_base64().as_str(),
            theirs.public_key(),
            UNDERLAY[1 - host],
        );
        let path = self.directory.path().join(format!("{host}.toml"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(config.as_bytes())?;
        Command::new("ip")
            .args(["netns", "exec", &self.namespaces.0[host], env!("CARGO_BIN_EXE_tunneld")])
            .args(["run", "--config"])
            .arg(path)
            .env("TUNNELD_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start tunneld")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The names of two namespaces, which are removed when it is dropped.
struct Namespaces([String; 2]);

impl Namespaces {
    fn add() -> Result<Self> {
        let names = ["a", "b"].map(own_name);
        let namespaces = Self(names);
        for name in &namespaces.0 {
            ip(&format!("netns add {name}"))?;
        }
        Ok(namespaces)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

/// A name of this process; the comparison removes what has such a name when it is broken off.
fn own_name(what: &str) -> String {
    format!("tdcmp-{}-wan-{what}", std::process::id())
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split_whitespace()).output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {words}: {}", said.trim());
    Ok(())
}

const UNDERLAY: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const DIRECT: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
const INNER_MTU: u32 = 1420;
const PORT: u16 = 51820;
