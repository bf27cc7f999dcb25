//! Where the files of a running daemon are: its lock, its sockets, its state, and what its hooks write.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where they are, unless systemd names a place.
const DIRECTORY: &str = "/run/tunneld";
/// Where what outlives it is, unless systemd names a place.
const STATE: &str = "/var/lib/tunneld";
/// Where `wg` looks for the sockets of user-space daemons.
const WIREGUARD: &str = "/run/wireguard";

/// For files that are soon gone.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// The variables in which systemd.exec(5) names the directories that it made for a unit.
const RUNTIME_VARIABLE: &str = "RUNTIME_DIRECTORY";
const STATE_VARIABLE: &str = "STATE_DIRECTORY";
const OTHER_VARIABLES: [&str; 2] = ["CACHE_DIRECTORY", "LOGS_DIRECTORY"];

/// The directory of the lock and the control socket.
pub(crate) fn directory() -> PathBuf {
    named(RUNTIME_VARIABLE).into_iter().next().unwrap_or(DIRECTORY.into())
}

/// The directory of what outlives a restart.
pub(crate) fn state_directory() -> PathBuf {
    named(STATE_VARIABLE).into_iter().next().unwrap_or(STATE.into())
}

/// Where the daemon and its hooks may write: its own directories, all others that systemd names, and those for
/// temporary files.
pub(super) fn writable() -> Vec<PathBuf> {
    let own = [directory(), state_directory()].into_iter().chain(wireguard_directory());
    let variables = [RUNTIME_VARIABLE, STATE_VARIABLE].into_iter().chain(OTHER_VARIABLES);
    let temporary = TEMPORARY.map(PathBuf::from).into_iter().chain([env::temp_dir()]);
    own.chain(variables.flat_map(named)).chain(temporary).collect()
}

/// The directory for the socket that `wg` asks; `None`: the places that systemd named have none for it.
pub(super) fn wireguard_directory() -> Option<PathBuf> {
    wireguard_among(&named(RUNTIME_VARIABLE))
}

fn wireguard_among(named: &[PathBuf]) -> Option<PathBuf> {
    let place = Path::new(WIREGUARD);
    (named.is_empty() || named.iter().any(|path| path == place)).then(|| place.to_owned())
}

/// The directories in a variable of systemd's: several are separated by colons.
fn named(variable: &str) -> Vec<PathBuf> {
    split(&env::var_os(variable).unwrap_or_default())
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
