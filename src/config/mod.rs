//! The configuration: read once, and from then on it cannot be wrong.
//!
//! Text becomes [`Config`] in two steps. `file` takes the TOML as typed, each value with its line and column, and
//! refuses keys it does not know. `interface`, `peer`, `metrics` and others then give each value its meaning or say, in a
//! [`ConfigError`], what is wrong with it and what would be accepted. Nothing behind this door checks again.

mod device_name;
mod endpoint;
mod error;
mod ethernet;
mod file;
mod hooks;
mod interface;
mod key_source;
mod log;
mod metrics;
mod names;
pub(crate) mod network;
mod peer;
mod profile;
#[cfg(test)]
mod properties;
mod rate;
#[cfg(test)]
mod render;
mod secret;
mod shaping;
mod suggest;
mod value;
pub(crate) mod wg_quick;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str;
use std::time::Duration;

use ipnet::IpNet;
use tracing::Level;

use crate::crypto::secret::on_clean_stack;
use crate::crypto::{PresharedKey, PrivateKey, PublicKey};
use crate::wire::ethernet::Mac;
use crate::wire::{Layer, Profile};
use error::Fault;
use file::File;
use value::Value;

pub(crate) use device_name::device_name;
pub use endpoint::{EndpointError, HostPort};
pub use error::ConfigError;
pub(crate) use ethernet::mac_address;
pub(crate) use interface::least_mtu;
pub(crate) use key_source::shell_word;
pub(crate) use log::{DEFAULT_LEVEL, level_name, level_named};
pub use rate::{Rate, RateError};
pub use shaping::Shaping;

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/tunneld.toml";

/// The mark of outer packets where one is needed and none is given.
const DEFAULT_MARK: u32 = 51820;

/// The longest configuration that is read; bounds the work that a wrong file can make.
pub(crate) const LONGEST: usize = 64 * 1024;

/// Both ends of the link, as this host sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This end.
    pub interface: Interface,
    /// The other end.
    pub peer: Peer,
    /// What runs when something happens.
    pub hooks: Hooks,
    /// Where metrics are served, if they are.
    pub metrics: Option<Metrics>,
    /// How much is logged.
    pub log_level: Level,
}

/// This end of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name of the device; one that the kernel accepts.
    pub name: String,
    /// What is said of frames, if frames cross and not packets.
    pub ethernet: Option<Ethernet>,
    /// Its addresses with their prefix lengths; at least one unless frames cross, none twice.
    pub addresses: Vec<IpNet>,
    /// This host's static key.
    pub private_key: PrivateKey,
    /// The UDP port to receive at; 0 is any free one.
    pub listen_port: u16,
    /// The MTU inside the tunnel, 576 (1280 with IPv6) to 65475; `None`: worked out from the path, or 1500 for frames.
    pub mtu: Option<u16>,
    /// Where the routes to the peer's networks go.
    pub table: Table,
    /// The mark of outer packets that is asked for; 0 is none. See [`Config::mark`].
    pub fwmark: u32,
    /// Which offloads of the kernel may be used.
    pub offload: Offload,
    /// Whether the protected networks are kept from leaving by another way.
    pub kill_switch: bool,
    /// Who is asked for names while the link is up; none twice.
    pub dns: Vec<IpAddr>,
    /// The domains whose names are asked there, also in short; none without `dns`.
    pub search: Vec<String>,
    /// How fast packets may go, and what is written on them on their way.
    pub shaping: Shaping,
}

impl Interface {
    /// What crosses.
    #[must_use]
    pub fn layer(&self) -> Layer {
        if self.ethernet.is_some() { Layer::Ethernet } else { Layer::Ip }
    }
}

/// What is said of Ethernet frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// The address of the device; `None`: one that follows from the public key.
    pub mac: Option<Mac>,
    /// Whether the device takes frames for other stations too.
    pub promisc: bool,
    /// The bridge that the device is a port of.
    pub bridge: Option<String>,
    /// Most stations behind the peer.
    pub mac_limit: u32,
    /// Most frames to groups each second, either way; 0 for any number.
    pub broadcast_limit: u32,
    /// Whether frames cross that bridges do not forward.
    pub link_local_frames: bool,
}

/// Which offloads of the kernel may be used; each is, where the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// The device may give superpackets.
    pub tun_gso: bool,
    /// The device may be given superpackets.
    pub tun_gro: bool,
    /// One call may send many datagrams.
    pub udp_gso: bool,
    /// One call may receive many datagrams.
    pub udp_gro: bool,
}

/// Where the routes for `allowed_ips` go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The main table; a default route goes into one of its own, with rules that lead there.
    Auto,
    /// Nowhere; the administrator makes them.
    Off,
    /// This table, never 0.
    Number(u32),
}

/// The other end of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its static key; not our own, and one that a handshake can succeed with.
    pub public_key: PublicKey,
    /// The secret that both ends share; all zero if there is none.
    pub preshared_key: PresharedKey,
    /// Where to call it, in order; empty: wait for its call.
    pub endpoints: Vec<HostPort>,
    /// The networks behind it: at least one unless frames cross, and then none; no host bits, no two with a common address, each of a family that
    /// `addresses` has.
    pub allowed_ips: Vec<IpNet>,
    /// How often to send at least; `None`: only when needed.
    pub persistent_keepalive: Option<Duration>,
    /// What is spoken with it.
    pub profile: Profile,
}

/// Programs that run when something happens to the link: each a program that exists, by its absolute path, and its
/// arguments; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// The link is set up: device, addresses, routes.
    pub up: Vec<String>,
    /// The link has ended; the device, its addresses and routes are still there.
    pub down: Vec<String>,
    /// The peer is linked: the first handshake since the start or a loss.
    pub peer_up: Vec<String>,
    /// The peer is lost.
    pub peer_down: Vec<String>,
    /// The linked peer is somewhere else than before.
    pub endpoint_changed: Vec<String>,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The address and port, TCP.
    pub listen: SocketAddr,
}

impl Config {
    /// Reads the configuration in `path`, and the key files it names.
    ///
    /// # Errors
    /// [`ConfigError`], for the person who wrote it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let whole = |fault| ConfigError::new(path, "", fault);
        let contents = secret::read(path, LONGEST)
            .map_err(|error| whole(Fault::whole(error, "a configuration that tunneld can read")))?;
        let text = text_of(&contents.bytes, path)?;
        contents.refuse_foreign().map_err(|exposed| {
            let accepted = format_args!(
                "a file of yours or root's that others may not write: chmod 644 {}",
                shell_word(path)
            );
            ConfigError::new(path, "", Fault::whole(exposed, accepted))
        })?;
        on_clean_stack(|| Self::resolve(text, path, || contents.refuse_exposed()))
            .map_err(|fault| ConfigError::new(path, text, fault))
    }

    /// Reads a configuration from its text, as if it stood in `path`: errors name it, and key files are looked for
    /// relative to its directory.
    ///
    /// # Errors
    /// [`ConfigError`], for the person who wrote it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::resolve(text, path, || Ok(())).map_err(|fault| ConfigError::new(path, text, fault))
    }

    fn resolve(
        text: &str,
        path: &Path,
        refuse_exposed: impl FnOnce() -> Result<(), secret::Exposed>,
    ) -> Result<Self, Fault> {
        let file = File::parse(text)?;
        if let Some(value) = file.inline_secret() {
            refuse_exposed().map_err(|exposed| {
                value.secret_fault(
                    format_args!("a secret stands in this file, and it {exposed}"),
                    format_args!("a private file: chmod 600 {}", shell_word(path)),
                )
            })?;
        }
        let dir = path.parent().unwrap_or(Path::new(""));
        let interface = Interface::resolve(file.interface, dir)?;
        let peer = Peer::resolve(file.peer, &interface, dir)?;
        let hooks = Hooks::resolve(file.hooks)?;
        let metrics = file.metrics.map(Metrics::resolve).transpose()?;
        let log_level = log::level(file.log)?;
        Ok(Self { interface, peer, hooks, metrics, log_level })
    }

    /// The files that the configuration in `path` consists of: itself and the key files it names, as far as it can be read.
    #[must_use]
    pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
        let mut files = vec![path.to_owned()];
        let dir = path.parent().unwrap_or(Path::new(""));
        if let Ok(contents) = secret::read(path, LONGEST)
            && let Ok(text) = str::from_utf8(&contents.bytes)
            && let Ok(file) = File::parse(text)
        {
            let keys = [file.interface.private_key_file, file.peer.preshared_key_file];
            files.extend(keys.iter().flatten().filter_map(Value::text).map(|key| dir.join(key)));
        }
        files
    }

    /// The default routes that this end takes by itself, and so by their own table, whose number is the
    /// [mark](Self::mark).
    pub fn default_routes(&self) -> impl Iterator<Item = IpNet> {
        let auto = self.interface.table == Table::Auto;
        self.peer.allowed_ips.iter().copied().filter(move |net| auto && net.prefix_len() == 0)
    }

    /// The mark that outer packets carry; 0 is none. A default route and the kill switch tell them by it from all else.
    #[must_use]
    pub fn mark(&self) -> u32 {
        let needed = self.interface.kill_switch || self.default_routes().next().is_some();
        match self.interface.fwmark {
            0 if needed => DEFAULT_MARK,
            fwmark => fwmark,
        }
    }

    /// What is allowed, but likely not meant; one sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let Self { interface, peer, .. } = self;
        let mut notes = Vec::new();
        if peer.endpoints.is_empty() && interface.listen_port == 0 {
            notes.push(
                "without an endpoint and a listen_port, neither end knows where to call the other"
                    .to_owned(),
            );
        }
        let routed = interface.addresses.iter().map(IpNet::trunc).chain(
            (interface.table != Table::Off)
                .then_some(&peer.allowed_ips)
                .into_iter()
                .flatten()
                .copied(),
        );
        // The mark keeps outer packets off the default route.
        let auto = interface.table == Table::Auto;
        let routed: Vec<IpNet> = routed.filter(|net| !(auto && net.prefix_len() == 0)).collect();
        for endpoint in &peer.endpoints {
            let inside = |net: &&IpNet| endpoint.address().is_some_and(|at| net.contains(&at));
            if let Some(net) = routed.iter().find(inside) {
                notes.push(format!(
                    "the endpoint {endpoint} lies in {net}, which goes through the tunnel itself"
                ));
            }
        }
        notes.extend(self.kill_switch_notes());
        notes
    }

    /// What the kill switch is likely not meant to do.
    fn kill_switch_notes(&self) -> Vec<String> {
        let Self { interface, peer, .. } = self;
        let default = |v4: bool| {
            let mut networks = peer.allowed_ips.iter();
            networks.any(|net| net.prefix_len() == 0 && net.addr().is_ipv4() == v4)
        };
        let (v4, v6) = (default(true), default(false));
        let mut notes = Vec::new();
        if !interface.kill_switch || !(v4 || v6) {
            return notes;
        }
        let families = [(v4, "IPv4", "0.0.0.0/0"), (v6, "IPv6", "::/0")];
        if let Some((_, family, net)) = families.into_iter().find(|(protected, ..)| !protected) {
            notes.push(format!(
                "the kill switch does not keep {family} from leaving by other ways: {net} is not in allowed_ips"
            ));
        }
        for endpoint in peer.endpoints.iter().filter(|endpoint| endpoint.address().is_none()) {
            notes.push(format!(
                "with the kill switch no name server outside the tunnel is reached: give the endpoint {endpoint} as an address, \
                 or its name in /etc/hosts"
            ));
        }
        notes
    }
}

/// The text of a file that has these bytes.
fn text_of<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str, ConfigError> {
    str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let valid = String::from_utf8_lossy(valid);
        let mut fault = Fault::whole("is not text in UTF-8", "a text file");
        fault.at = Some(valid.len());
        ConfigError::new(path, &valid, fault)
    })
}

#[cfg(test)]
mod tests;
