//! A socket in the file system: how it comes and goes, who may connect, and how many at once.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Group, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::accept::{self, Places};

/// Connections that one socket serves at once of those who may change something, and as many of those who may only look:
/// these cannot shut out those. More are closed as they come.
pub(super) const CONNECTIONS: usize = 16;
/// Connections that may wait to be taken.
const BACKLOG: i32 = 128;

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
}

/// Who may use a socket.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) mode: Mode,
    /// The group it belongs to, if the system has it and this process may give to it; otherwise that of this process.
    pub(super) group: Option<&'static str>,
}

/// Makes a socket at `path` for whom `access` lets. One that a crash left there is replaced; one that somebody serves is
/// not. To be called on the runtime.
pub(super) fn bind(path: &Path, access: Access) -> io::Result<(UnixListener, SocketFile)> {
    let Access { mode, group } = access;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // A socket is bound with the mode it has, as far as the umask lets; it is never more open than it is to be.
    fchmod(&socket, mode)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(mode.bits()))?;
    if let Some(group) = group
        && let Err(error) = give(path, group)
    {
        tracing::warn!(path = %path.display(), group, %error, "the socket cannot be given to its group");
    }
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Gives a socket to a group, if there is one of that name.
fn give(path: &Path, group: &str) -> io::Result<()> {
    match Group::from_name(group)? {
        // Who may not give anything away need not where it is so already, as under the unit.
        Some(group) if fs::symlink_metadata(path)?.gid() != group.gid.as_raw() => {
            lchown(path, None, Some(group.gid.as_raw()))
        }
        _ => Ok(()),
    }
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
    let (lookers, changers) = (Places::new(CONNECTIONS), Places::new(CONNECTIONS));
    let take = move |(stream, _): (UnixStream, _)| {
        // Who the kernel does not tell about is not served.
        let Ok(peer) = stream.peer_cred() else { return };
        let may_change = may_change(peer.uid(), geteuid().as_raw());
        let places = if may_change { &changers } else { &lookers };
        places.serve(serve(Client { stream, may_change }));
    };
    accept::each(|context| listener.poll_accept(context), take).await;
}

/// Whether `uid` may change what a daemon does that runs as `own`: root may, and who could as well stop it.
fn may_change(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    const ACCESS: Access = Access { mode: Mode::from_bits_truncate(0o660), group: None };

    #[tokio::test]
    async fn a_socket_is_open_to_owner_and_group_and_gone_in_the_end() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("below/tun0.sock");
        let (_listener, file) = bind(&path, ACCESS).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_of_a_crash_is_replaced_and_one_that_is_served_is_not() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("tun0.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind(&path, ACCESS).unwrap();
        assert_eq!(bind(&path, ACCESS).map(drop).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_group_that_there_is_not_leaves_the_socket_as_it_is() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("tun0.sock");
        let access = Access { group: Some("no group has this name"), ..ACCESS };
        let (_listener, _file) = bind(&path, access).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().gid(), nix::unistd::getegid().as_raw());
    }

    #[test]
    fn only_root_and_the_daemons_own_user_may_change_anything() {
        assert!(may_change(0, 977) && may_change(977, 977));
        assert!(!may_change(1000, 977) && !may_change(1000, 0));
    }
}
