//! A socket in the file system: how it comes and goes, who may connect, and how many at once.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that one socket serves at once; more are closed as they come.
const CONNECTIONS: usize = 16;
/// Connections that may wait to be taken.
const BACKLOG: i32 = 128;
/// How long accepting pauses after an error, of which most are a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// The file of a socket, removed when dropped.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket cannot be removed");
        }
    }
}

/// Someone who connected.
pub(super) struct Client {
    pub(super) stream: UnixStream,
    /// Whether it may change anything; what everybody may who can connect is to look.
    pub(super) may_change: bool,
    /// Its place among the connections, free again when dropped.
    pub(super) _place: OwnedSemaphorePermit,
}

/// Makes a socket at `path` that those may use whom `mode` lets. One that a crash left there is replaced; one that somebody
/// serves is not. To be called on the runtime.
pub(super) fn bind(path: &Path, mode: Mode) -> io::Result<(UnixListener, SocketFile)> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // A socket is bound with the mode it has, as far as the umask lets; it is never more open than it is to be.
    fchmod(&socket, mode)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(mode.bits()))?;
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Removes a socket that nobody serves.
fn clear(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another program serves it")),
    }
}

/// Serves whoever connects, each by itself, for as long as it is polled.
pub(super) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: UnixListener,
    serve: impl Fn(Client) -> F,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Who the kernel does not tell about, or finds no place, is not served.
        let (Ok(peer), Ok(place)) = (stream.peer_cred(), places.clone().try_acquire_owned()) else {
            continue;
        };
        let may_change = may_change(peer.uid(), geteuid().as_raw());
        tokio::spawn(serve(Client { stream, may_change, _place: place }));
    }
}

/// Whether `uid` may change what a daemon does that runs as `own`: root may, and who could as well stop it.
fn may_change(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    const MODE: Mode = Mode::from_bits_truncate(0o660);

    #[tokio::test]
    async fn a_socket_is_open_to_owner_and_group_and_gone_in_the_end() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("below/tun0.sock");
        let (_listener, file) = bind(&path, MODE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_of_a_crash_is_replaced_and_one_that_is_served_is_not() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("tun0.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind(&path, MODE).unwrap();
        assert_eq!(bind(&path, MODE).map(drop).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn only_root_and_the_daemons_own_user_may_change_anything() {
        assert!(may_change(0, 977) && may_change(977, 977));
        assert!(!may_change(1000, 977) && !may_change(1000, 0));
    }
}
