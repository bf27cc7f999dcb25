//! Where others may ask how the link is: the control socket, the one that `wg` knows, and the metrics. That one of them
//! cannot be opened is told, and costs the link nothing.

mod accept;
mod http;
mod lines;
mod local;
mod metrics;
pub(super) mod query;
mod socket;
mod uapi;

use std::net::SocketAddr;
use std::path::Path;

use nix::sys::stat::Mode;

use super::runtime;
use local::{Access, Client, SocketFile};
use query::Asker;

/// For the owner, and a group that is for nothing else.
const CONTROL: Access =
    Access { mode: Mode::from_bits_truncate(0o660), group: Some("tunneld-admin") };
/// For the owner: as WireGuard's own daemons have it.
const WIREGUARD: Access = Access { mode: Mode::from_bits_truncate(0o600), group: None };

/// The doors that are open; their files go when it is dropped.
pub(super) struct Doors(#[expect(dead_code, reason = "held for its drop")] Vec<SocketFile>);

impl Doors {
    /// Opens those of `interface`. To be called on the runtime, which serves them.
    pub(super) fn open(interface: &str, metrics: Option<SocketAddr>, asker: &Asker) -> Self {
        let mut files = Vec::new();
        let name = format!("{interface}.sock");
        files.extend(open(&runtime::directory().join(&name), CONTROL, asker, socket::serve));
        let wireguard = runtime::wireguard_directory().map(|directory| directory.join(&name));
        files.extend(wireguard.and_then(|path| open(&path, WIREGUARD, asker, uapi::serve)));
        if let Some(address) = metrics {
            tokio::spawn(http::serve(address, asker.clone()));
        }
        Self(files)
    }
}

fn open<F: Future<Output = ()> + Send + 'static>(
    path: &Path,
    access: Access,
    asker: &Asker,
    serve: impl Fn(Client, Asker) -> F + Send + 'static,
) -> Option<SocketFile> {
    match local::bind(path, access) {
        Ok((listener, file)) => {
            let asker = asker.clone();
            tokio::spawn(local::accept(listener, move |client| serve(client, asker.clone())));
            Some(file)
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "nobody can ask there how the link is");
            None
        }
    }
}
