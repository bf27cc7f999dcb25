//! Two hosts in network namespaces of their own, and a veth pair with an MTU of 1500 between them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::report::Cpus;

/// The MTU of every tunnel: what WireGuard leaves of 1500 over IPv6, and its usual value.
pub(crate) const INNER_MTU: u16 = 1420;

/// The UDP port of every daemon.
pub(crate) const PORT: u16 = 5000;

const OUTER_MTU: u16 = 1500;

/// Either end of the veth pair.
const CABLE: &str = "cable";

/// The names of namespaces and directories begin so; the process number follows.
const PREFIX: &str = "tdcmp-";

/// Where user-space WireGuards have their control sockets, for all namespaces.
const CONTROL_SOCKETS: &str = "/var/run/wireguard";

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// One of the two hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// One letter.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// Its address on the veth pair.
    pub(crate) fn outer(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self as u8 + 1)
    }

    /// Its address in the tunnel.
    pub(crate) fn inner(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self as u8 + 1)
    }
}

/// The two hosts; removed with all that runs in them when dropped.
pub(crate) struct Lab {
    /// No other lab on this machine has it.
    number: u32,
    cpus: Cpus,
    /// The most bits per second that a daemon on host a is to send, if it can limit that.
    pub(crate) limit: Option<u64>,
    directory: PathBuf,
}

impl Lab {
    /// Makes both hosts and links them.
    pub(crate) fn new(cpus: Cpus) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("{}{number}", own_prefix()));
        fs::create_dir(&directory).context("cannot make a directory for temporary files")?;
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        let lab = Self { number, cpus, limit: None, directory };
        for side in Side::BOTH {
            lab.add_host(side.letter())?;
        }
        let (a, b) = (lab.namespace(Side::A), lab.namespace(Side::B));
        ip(&format!(
            "-n {a} link add {CABLE} mtu {OUTER_MTU} type veth \
             peer name {CABLE} mtu {OUTER_MTU} netns {b}"
        ))?;
        for side in Side::BOTH {
            lab.ip(side, &format!("address add {}/24 dev {CABLE}", side.outer()))?;
            lab.ip(side, &format!("link set {CABLE} up"))?;
        }
        Ok(lab)
    }

    /// Makes a host, which has no cable yet; the name of its namespace.
    pub(crate) fn add_host(&self, letter: char) -> Result<String> {
        let namespace = format!("{}{letter}", self.prefix());
        ip(&format!("netns add {namespace}"))?;
        // No neighbour or router discovery: what is idle must stay so.
        inside(&namespace, disable_ipv6)?
            .join()
            .map_err(|_| anyhow!("a thread is gone"))?
            .context("cannot turn IPv6 off in a namespace")?;
        ip(&format!("-n {namespace} link set lo up"))?;
        Ok(namespace)
    }

    /// The most bits per second that a daemon on this host is to send.
    pub(crate) fn limit(&self, side: Side) -> Option<u64> {
        self.limit.filter(|_| side == Side::A)
    }

    /// What its programs may run on.
    pub(crate) fn cpus(&self) -> Cpus {
        self.cpus
    }

    /// The tunnel's device on a host. WireGuard's control sockets share one directory, so no two are called alike.
    pub(crate) fn device(&self, side: Side) -> String {
        format!("{}{}{}", own_device_prefix(), self.number, side.letter())
    }

    /// Where a WireGuard listens that has made the tunnel's device of a host.
    pub(crate) fn control_socket(&self, side: Side) -> PathBuf {
        Path::new(CONTROL_SOCKETS).join(format!("{}.sock", self.device(side)))
    }

    /// A name for this lab's link.
    pub(crate) fn link(&self) -> String {
        format!("link{}x{}", std::process::id(), self.number)
    }

    /// The file that stands for a host's namespace.
    pub(crate) fn namespace_file(&self, side: Side) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace(side))
    }

    /// `ip` with these words on a host.
    pub(crate) fn ip(&self, side: Side, words: &str) -> Result<()> {
        ip(&format!("-n {} {words}", self.namespace(side)))
    }

    /// Gives the tunnel's device of a host its address and MTU, and brings it up.
    pub(crate) fn dress_device(&self, side: Side) -> Result<()> {
        let device = self.device(side);
        self.ip(side, &format!("address replace {}/30 dev {device}", side.inner()))?;
        self.ip(side, &format!("link set {device} mtu {INNER_MTU} up"))
    }

    /// Whether the tunnel's device of a host is there.
    pub(crate) fn has_device(&self, side: Side) -> bool {
        self.ip(side, &format!("link show dev {}", self.device(side))).is_ok()
    }

    /// The name of a host's own file.
    pub(crate) fn path(&self, side: Side, name: &str) -> PathBuf {
        self.directory.join(format!("{}-{name}", side.letter()))
    }

    /// Writes a host's own file, which only its owner may read.
    pub(crate) fn write(&self, side: Side, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(side, name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The name of a host's namespace.
    pub(crate) fn namespace(&self, side: Side) -> String {
        format!("{}{}", self.prefix(), side.letter())
    }

    /// The namespaces of this lab are called so, and a letter.
    fn prefix(&self) -> String {
        format!("{}{}-", own_prefix(), self.number)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in names(Path::new(NAMESPACES), |name| name.starts_with(&self.prefix())) {
            remove_namespace(&name);
        }
        for side in Side::BOTH {
            // A daemon that is killed leaves it.
            let _ = fs::remove_file(self.control_socket(side));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs a piece of this program on a host, in a thread of its own; the sockets it makes stay there.
pub(crate) fn inside<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let file = File::open(Path::new(NAMESPACES).join(namespace)).context("a namespace is gone")?;
    Ok(thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")?;
        work()
    }))
}

fn disable_ipv6() -> Result<()> {
    for which in ["all", "default"] {
        let file = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        // A kernel without IPv6 has no such file, and no need for it.
        if Path::new(&file).exists() {
            fs::write(file, "1")?;
        }
    }
    Ok(())
}

/// Removes every lab of this process.
pub(crate) fn remove_own() {
    remove(|name| name.starts_with(&own_prefix()));
    for name in names(Path::new(CONTROL_SOCKETS), |name| name.starts_with(&own_device_prefix())) {
        let _ = fs::remove_file(Path::new(CONTROL_SOCKETS).join(name));
    }
}

/// Removes the labs of processes that are gone.
pub(crate) fn remove_orphans() {
    remove(|name| {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|id| !Path::new("/proc").join(id).exists())
    });
}

fn remove(is_meant: impl Fn(&str) -> bool) {
    for name in names(Path::new(NAMESPACES), &is_meant) {
        remove_namespace(&name);
    }
    for name in names(&std::env::temp_dir(), &is_meant) {
        let _ = fs::remove_dir_all(std::env::temp_dir().join(name));
    }
}

/// The names of those files in a directory that are meant.
fn names(directory: &Path, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_meant(name)).collect()
}

/// Removes a namespace and kills what runs in it.
fn remove_namespace(name: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() {
        for pid in String::from_utf8_lossy(&output.stdout).lines() {
            if let Ok(pid) = pid.parse().map(Pid::from_raw) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
}

/// `ip` with these words.
pub(crate) fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .context("cannot run `ip`: install iproute2")?;
    if !output.status.success() {
        bail!("`ip {words}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn own_prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// The devices of this process are called so, and a number.
fn own_device_prefix() -> String {
    format!("td{}-", std::process::id())
}
