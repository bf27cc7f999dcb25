//! Where the files of a running daemon are: its lock and its sockets.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where they are, unless systemd names a place.
const DIRECTORY: &str = "/run/tunneld";
/// Where `wg` looks for the sockets of user-space daemons.
const WIREGUARD: &str = "/run/wireguard";

/// The directory of the lock and the control socket.
pub(crate) fn directory() -> PathBuf {
    named().first().cloned().unwrap_or(DIRECTORY.into())
}

/// The directory for the socket that `wg` asks; `None`: the places that systemd named have none for it.
pub(super) fn wireguard_directory() -> Option<PathBuf> {
    wireguard_among(&named())
}

fn wireguard_among(named: &[PathBuf]) -> Option<PathBuf> {
    let place = Path::new(WIREGUARD);
    (named.is_empty() || named.iter().any(|path| path == place)).then(|| place.to_owned())
}

/// What systemd.exec(5) says of `RuntimeDirectory=`: several are separated by colons.
fn named() -> Vec<PathBuf> {
    split(&env::var_os("RUNTIME_DIRECTORY").unwrap_or_default())
}

fn split(list: &OsStr) -> Vec<PathBuf> {
    let places = list.as_bytes().split(|byte| *byte == b':').filter(|place| !place.is_empty());
    places.map(|place| PathBuf::from(OsStr::from_bytes(place))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_for_wg_is_made_where_nobody_said_otherwise_or_named_its_place() {
        let wireguard = |list: &str| wireguard_among(&split(OsStr::new(list))).is_some();
        assert!(wireguard(""));
        assert!(wireguard("/run/tunneld:/run/wireguard"));
        assert!(!wireguard("/run/tunneld"));
        assert_eq!(split(OsStr::new("/run/a:/run/b")), ["/run/a", "/run/b"].map(PathBuf::from));
    }
}
