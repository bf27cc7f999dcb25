//! What this host says of itself, as far as a link needs it. Nothing is judged here.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::unistd::{AccessFlags, Group, User, eaccess, getegid, geteuid, getgroups};

use super::synchronised::synchronised;
use crate::cli::client::{Client, Target};
use crate::config::{Config, HostPort};
use crate::daemon::network::reverse_path;
use crate::daemon::state::State;
use crate::daemon::{clock, runtime};
use crate::net::{Underlay, UnderlayError, resolve};
use crate::tun::persistent::{self, Device};
use crate::tun::{
    NODE, Offloads, Survey, Tun, UnderlayRoute, driver_is_registered, underlay_route,
};
use crate::wire::{Layer, Offload};

/// How long a name may take to resolve.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a device that is made to see whether one can be; the kernel puts a number in.
const TRIAL: &str = "tunneld%d";
/// The user of the service.
const SERVICE: &str = "tunneld";

/// All of it.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) host: Host,
    /// What the configuration makes worth knowing; or what is wrong with it.
    pub(super) link: Result<Box<Link>, String>,
}

/// What does not depend on the configuration.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) driver: Driver,
    pub(super) node: Node,
    /// What a device on trial may have; or why there is none.
    pub(super) trial: Result<Offloads, String>,
    pub(super) caller: Caller,
    /// Since 1970.
    pub(super) unix: Duration,
    pub(super) synchronised: Option<bool>,
    /// What `nft` lists, in JSON; or why it does not.
    pub(super) ruleset: Result<serde_json::Value, String>,
}

/// The kernel's tun/tap driver.
#[derive(Debug, Default)]
pub(super) struct Driver {
    /// The kernel has it now.
    pub(super) registered: bool,
    /// It is a module, and loaded.
    pub(super) module: bool,
    /// The running kernel's modules have it, loaded or not.
    pub(super) installed: bool,
    /// Version of the kernel.
    pub(super) release: String,
}

/// What there is at the place of the driver's device node.
#[derive(Debug)]
pub(super) enum Node {
    Missing,
    /// Something that is no character device.
    Other,
    There {
        mode: u32,
        owner: u32,
        opened: Result<(), String>,
    },
}

/// Who asks.
#[derive(Debug, Default)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
    /// The effective capabilities, a bit for each.
    pub(super) capabilities: u64,
}

/// What depends on the configuration.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: Config,
    pub(super) running: Running,
    pub(super) device: DeviceFact,
    pub(super) port: Result<Offload, UnderlayError>,
    pub(super) survey: Survey,
    pub(super) endpoints: Vec<EndpointFact>,
    /// The newest timestamp that an earlier run has sent.
    pub(super) newest: Option<Duration>,
    /// Directories that the daemon writes to, each with the variable that names another.
    pub(super) directories: Vec<(PathBuf, &'static str, bool)>,
    /// A device on which the reverse path filter is strict.
    pub(super) strict: Option<String>,
    /// Whether a new device gets IPv6.
    pub(super) ipv6: bool,
    /// Files that the user of the service cannot read.
    pub(super) unreadable: Vec<PathBuf>,
}

/// Whether a tunneld runs this interface already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Running {
    No,
    /// For this pair of keys.
    This,
    Another,
}

/// What has the name of the interface.
#[derive(Debug)]
pub(super) enum DeviceFact {
    None,
    Driver(Device),
    /// A device of another kind.
    Other,
}

/// An endpoint, and the ways to its addresses.
#[derive(Debug)]
pub(super) struct EndpointFact {
    pub(super) endpoint: HostPort,
    pub(super) ways: Result<Vec<Way>, String>,
}

/// An address and the route there, or why there is none.
pub(super) type Way = (IpAddr, Result<UnderlayRoute, String>);

impl Facts {
    /// Asks the host. To be called on a tokio runtime.
    pub(super) async fn gather(file: &Path) -> Self {
        // First of all, as to look at the device node loads the driver.
        let driver = Driver::gather();
        let node = Node::gather();
        let host = Host {
            trial: trial(&node),
            driver,
            node,
            caller: Caller::gather(),
            unix: clock::now().unix,
            synchronised: synchronised(),
            ruleset: super::firewall::ruleset(),
        };
        let link = match Config::load(file) {
            Ok(config) => Link::gather(file, config).await.map(Box::new),
            Err(error) => Err(error.to_string()),
        };
        Self { host, link }
    }
}

impl Driver {
    fn gather() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.trim().to_owned();
        let modules = Path::new("/lib/modules").join(&release);
        let lists = |name: &str| {
            fs::read_to_string(modules.join(name)).is_ok_and(|list| list.contains("/net/tun.ko"))
        };
        Self {
            registered: driver_is_registered(),
            // What is built in may have parameters there, but no section of its own.
            module: Path::new("/sys/module/tun/initstate").exists(),
            installed: lists("modules.dep") || lists("modules.builtin"),
            release,
        }
    }
}

impl Node {
    fn gather() -> Self {
        let Ok(about) = fs::metadata(NODE) else { return Self::Missing };
        if !about.file_type().is_char_device() {
            return Self::Other;
        }
        let opened = OpenOptions::new().read(true).write(true).open(NODE).map(drop);
        let opened = opened.map_err(|error| error.to_string());
        Self::There { mode: about.mode() & 0o7777, owner: about.uid(), opened }
    }
}

/// Makes a device that vanishes at once.
fn trial(node: &Node) -> Result<Offloads, String> {
    match node {
        Node::There { opened: Ok(()), .. } => {
            let opened = Tun::open(TRIAL, Layer::Ip, Offload::ALL).map(|tun| tun.gives());
            opened.map_err(|error| {
                let text = error.to_string();
                text.strip_prefix(&format!("{TRIAL}: ")).unwrap_or(&text).replace(TRIAL, "NAME")
            })
        }
        _ => Err(format!("{NODE} cannot be opened")),
    }
}

impl Caller {
    fn gather() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let capabilities = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let groups = getgroups().unwrap_or_default().into_iter().chain([getegid()]);
        Self {
            uid: geteuid().as_raw(),
            groups: groups.map(|group| group.as_raw()).collect(),
            capabilities: capabilities.unwrap_or_default(),
        }
    }
}

impl Link {
    async fn gather(file: &Path, config: Config) -> Result<Self, String> {
        let asked = |error: io::Error| format!("the kernel does not tell its network: {error}");
        let (interface, peer) = (&config.interface, &config.peer);
        let device = match persistent::find(&interface.name).await.map_err(asked)? {
            Some(device) => DeviceFact::Driver(device),
            None if if_nametoindex(interface.name.as_str()).is_ok() => DeviceFact::Other,
            None => DeviceFact::None,
        };
        let ours = interface.private_key.public_key();
        let port = Underlay::bind(interface.listen_port, config.mark(), Offload::ALL, Vec::new());
        let mut endpoints = Vec::new();
        for endpoint in &peer.endpoints {
            endpoints.push(EndpointFact::gather(endpoint, config.mark()).await);
        }
        let directories = [
            (runtime::directory(), "RUNTIME_DIRECTORY"),
            (runtime::state_directory(), "STATE_DIRECTORY"),
        ];
        Ok(Self {
            running: running(&interface.name, &ours.to_string()),
            device,
            port: port.map(|underlay| underlay.offload()),
            survey: Survey::take().await.map_err(asked)?,
            endpoints,
            newest: State::read(&ours, &peer.public_key).timestamp(),
            directories: directories
                .map(|(path, name)| (path.clone(), name, writable(&path)))
                .into(),
            strict: reverse_path::strict_device(&interface.name),
            ipv6: fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")
                .is_ok_and(|value| value.trim() == "0"),
            unreadable: unreadable(file),
            config,
        })
    }
}

impl EndpointFact {
    async fn gather(endpoint: &HostPort, fwmark: u32) -> Self {
        let lookup = tokio::time::timeout(PATIENCE, resolve(&endpoint.host, endpoint.port)).await;
        let ways = match lookup {
            Ok(Ok(addresses)) => {
                let mut ways = Vec::new();
                for address in addresses {
                    let way = underlay_route(address.ip(), fwmark).await;
                    ways.push((address.ip(), way.map_err(|error| error.to_string())));
                }
                Ok(ways)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{}: no answer in {PATIENCE:?}", endpoint.host)),
        };
        Self { endpoint: endpoint.clone(), ways }
    }
}

fn running(interface: &str, public_key: &str) -> Running {
    let target = Target { interface: Some(interface.to_owned()), config: None };
    match Client::connect(&target).map(|mut client| client.status()) {
        Ok(Ok(status)) if status.public_key == public_key => Running::This,
        Ok(_) => Running::Another,
        Err(_) => Running::No,
    }
}

/// Whether a directory can be written to, or made.
fn writable(directory: &Path) -> bool {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    eaccess(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// The files that the user of the service cannot read, if there is one, and this is root, who can.
fn unreadable(file: &Path) -> Vec<PathBuf> {
    let Ok(Some(user)) = User::from_name(SERVICE) else { return Vec::new() };
    if !geteuid().is_root() {
        return Vec::new();
    }
    let group = Group::from_name(SERVICE).ok().flatten().map_or(user.gid, |group| group.gid);
    let readable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|about| {
            let bit = match about.uid() == user.uid.as_raw() {
                true => 0o400,
                false if about.gid() == group.as_raw() => 0o040,
                false => 0o004,
            };
            about.mode() & bit != 0
        })
    };
    Config::files(file).into_iter().filter(|path| !readable(path)).collect()
}
