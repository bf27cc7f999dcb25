//! The two ends of a tunnel: wireguard-go, which `wg` configures, and tunneld.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tunneld::crypto::{PresharedKey, PrivateKey};

use crate::lab::{BOUND, Lab, Running, Side, run, succeeds, unique, wait_until};
use crate::shown::must_not_be_shown;

/// What may stand at side a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    WireguardGo,
    Tunneld,
}

fn key(side: Side) -> PrivateKey {
    let bytes = [if side == Side::A { 0xa8 } else { 0xb8 }; 32];
    must_not_be_shown(bytes);
    PrivateKey::clamped(bytes)
}

fn other(side: Side) -> Side {
    if side == Side::A { Side::B } else { Side::A }
}

fn networks(side: Side) -> [String; 2] {
    side.inner().map(|address| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }))
}

fn interface_addresses(side: Side) -> [String; 2] {
    side.inner().map(|address| format!("{address}/{}", if address.is_ipv4() { 30 } else { 64 }))
}

/// The secret both ends share, if they do.
#[derive(Clone)]
pub struct Preshared(Option<PresharedKey>);

impl Preshared {
    pub fn new(used: bool) -> Self {
        let bytes = [0x77; 32];
        must_not_be_shown(bytes);
        Self(used.then(|| PresharedKey::from(bytes)))
    }
}

/// wireguard-go, running on one side.
pub struct WireguardGo {
    process: Running,
    interface: String,
    side: Side,
    preshared: Option<PathBuf>,
}

impl WireguardGo {
    pub fn start(lab: &Lab, side: Side, preshared: &Preshared) -> Self {
        // Its control socket is named by the interface and lies outside of the namespace.
        let interface = unique("wg");
        let mut command = lab.on(side, "wireguard-go");
        command.args(["-f", &interface]).env("LOG_LEVEL", "verbose");
        let process = Running::start(lab, &interface, &mut command);
        wait_until(BOUND, "wireguard-go listens to wg", || {
            succeeds(Command::new("wg").args(["show", &interface]))
        });
        let private = lab.write(&format!("{interface}.private"), &key(side).to_base64());
        let preshared = preshared
            .0
            .as_ref()
            .map(|preshared| lab.write(&format!("{interface}.preshared"), &preshared.to_base64()));
        let go = Self { process, interface, side, preshared };
        let port = lab.endpoint(side).port().to_string();
        run(go.wg_set().args(["listen-port", &port, "private-key"]).arg(private));
        for address in interface_addresses(side) {
            lab.add_address(side, &address, &go.interface);
        }
        lab.ip(side, &["link", "set", &go.interface, "up", "mtu", "1420"]);
        go
    }

    fn wg_set(&self) -> Command {
        let mut command = Command::new("wg");
        command.args(["set", &self.interface]);
        command
    }

    fn peer(&self) -> String {
        key(other(self.side)).public_key().to_string()
    }

    pub fn add_peer(&self, endpoint: Option<SocketAddr>) {
        let mut command = self.wg_set();
        command.args(["peer", &self.peer(), "allowed-ips", &networks(other(self.side)).join(",")]);
        if let Some(preshared) = &self.preshared {
            command.arg("preshared-key").arg(preshared);
        }
        if let Some(endpoint) = endpoint {
            command.args(["endpoint", &endpoint.to_string()]);
        }
        run(&mut command);
    }

    /// Forgets the peer with its sessions: the next packet needs a handshake.
    pub fn remove_peer(&self) {
        run(self.wg_set().args(["peer", &self.peer(), "remove"]));
    }

    /// When `wg` says the last handshake was, in seconds; 0 for never.
    pub fn latest_handshake(&self) -> u64 {
        let text = run(Command::new("wg").args(["show", &self.interface, "latest-handshakes"]));
        text.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Handshakes that it began and that were answered.
    pub fn begun(&self) -> usize {
        self.process.count("Received handshake response")
    }

    /// Handshakes that it answered.
    pub fn answered(&self) -> usize {
        self.process.count("Sending handshake response")
    }
}

/// tunneld, running on one side.
pub struct Tunneld {
    process: Running,
}

impl Tunneld {
    pub fn start(
        lab: &Lab,
        side: Side,
        preshared: &Preshared,
        endpoint: Option<SocketAddr>,
    ) -> Self {
        let mut config = format!(
            "[interface]\nname = \"tun0\"\naddresses = {:?}\nprivate_key = \"{}\"\nlisten_port = {}\nmtu = 1420\n\n\
             [peer]\npublic_key = \"{}\"\nallowed_ips = {:?}\npersistent_keepalive = 0\n",
            interface_addresses(side),
            *key(side).to_base64(),
            lab.endpoint(side).port(),
            key(other(side)).public_key(),
            networks(other(side)),
        );
        if let Some(preshared) = &preshared.0 {
            config += &format!("preshared_key = \"{}\"\n", *preshared.to_base64());
        }
        if let Some(endpoint) = endpoint {
            config += &format!("endpoint = \"{endpoint}\"\n");
        }
        let name = unique("td");
        let config = lab.write(&format!("{name}.toml"), &config);
        let mut command = lab.on(side, env!("CARGO_BIN_EXE_tunneld"));
        command.args(["run", "-c"]).arg(config);
        // At debug each handshake is told, not only the first.
        command
            .env("RUNTIME_DIRECTORY", lab.directory.path())
            .env("STATE_DIRECTORY", lab.directory.path())
            .env("TUNNELD_LOG", "debug");
        let mut process = Running::start(lab, &name, &mut command);
        process.wait_for("started");
        Self { process }
    }
}

/// The end at side a, whichever program it is.
pub enum Ours {
    WireguardGo(WireguardGo),
    Tunneld(Tunneld),
}

impl Ours {
    pub fn start(
        program: Program,
        lab: &Lab,
        preshared: &Preshared,
        endpoint: Option<SocketAddr>,
    ) -> Self {
        match program {
            Program::Tunneld => Self::Tunneld(Tunneld::start(lab, Side::A, preshared, endpoint)),
            Program::WireguardGo => {
                let go = WireguardGo::start(lab, Side::A, preshared);
                go.add_peer(endpoint);
                Self::WireguardGo(go)
            }
        }
    }

    /// Handshakes completed, in either role.
    pub fn handshakes(&self) -> usize {
        match self {
            Self::WireguardGo(go) => go.begun() + go.answered(),
            Self::Tunneld(tunneld) => tunneld.process.count("handshake completed"),
        }
    }
}
