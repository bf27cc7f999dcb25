//! What the service manager keeps for the next process (`FileDescriptorStoreMax=` of systemd.service(5)): from the start
//! the device, the sockets, the kill switch and a memory file with the list of what is ours in the network, so that
//! they outlive a crash too; between two devices what stands in for them; at an orderly end the sessions, in another
//! memory file. All of it is gone when the unit is stopped: then devices vanish with their routes.
//!
//! Without a service manager that keeps descriptors nothing is kept, and nothing here fails.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sd_notify::NotifyState;
use zeroize::Zeroizing;

use super::kill_switch::KillSwitch;
use crate::net::Sockets;
use crate::proto::Handover;
use crate::tun::{Record, StandIn};

/// Under which names the descriptors are kept.
const DEVICE: &str = "device";
const STAND_IN: &str = "stand-in";
const UNDERLAY: &str = "underlay";
/// Followed by the name of the interface: rules for another one would keep this one's packets back.
const KILL_SWITCH: &str = "kill-switch-";
const NETWORK: &str = "network";
const SESSIONS: &str = "sessions";

/// More than any version of a handover has.
const LONGEST: u64 = 64 * 1024;

/// What an earlier process has left.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) device: Option<OwnedFd>,
    pub(super) stand_in: Option<StandIn>,
    pub(super) underlay: Vec<OwnedFd>,
    /// With the name of the interface that it is for.
    pub(super) kill_switch: Option<(String, OwnedFd)>,
    /// What it has made in the network.
    pub(super) network: Option<Record>,
    pub(super) sessions: Option<Handover>,
}

impl Kept {
    /// Takes what is there; to be called once, first of all.
    pub(super) fn take() -> Self {
        let mut kept = Self::default();
        let descriptors = match sd_notify::listen_fds_with_names() {
            Ok(descriptors) => descriptors,
            Err(error) => {
                tracing::warn!(%error, "what the service manager kept cannot be read");
                return kept;
            }
        };
        for (number, name) in descriptors {
            #[expect(unsafe_code, reason = "descriptors come as numbers")]
            // SAFETY: the service manager opened it for this process alone, and nobody else has looked at it: see above.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            if let Some(interface) = name.strip_prefix(KILL_SWITCH) {
                kept.kill_switch = Some((interface.to_owned(), descriptor));
                continue;
            }
            match name.as_str() {
                DEVICE => kept.device = Some(descriptor),
                STAND_IN => kept.stand_in = Some(descriptor.into()),
                UNDERLAY => kept.underlay.push(descriptor),
                NETWORK => kept.network = Some(Record::take(descriptor)),
                SESSIONS => kept.sessions = sessions(descriptor.into()),
                _ => tracing::debug!(name, "a descriptor that is not ours"),
            }
        }
        if kept.network.as_ref().is_some_and(|record| !record.is_of_this_namespace()) {
            tracing::warn!(
                "the process before ran in another network namespace: what it left there is let go of"
            );
            kept.leave_network();
        }
        kept
    }

    /// Has nothing kept any more but the sessions: in another network namespace sockets lead elsewhere, and names and
    /// indices are those of other devices.
    fn leave_network(&mut self) {
        let kill_switch = self.kill_switch.take().map(|(of, _)| format!("{KILL_SWITCH}{of}"));
        let others = [DEVICE, STAND_IN, UNDERLAY, NETWORK];
        others.into_iter().chain(kill_switch.as_deref()).for_each(forget);
        *self = Self { sessions: self.sessions.take(), ..Self::default() };
    }

    /// What holds packets back, and would not any more if the service manager let go of all this.
    pub(super) fn guard(&self) -> Option<&'static str> {
        let rules = self.network.as_ref().is_some_and(Record::may_have_rules);
        match (&self.kill_switch, rules) {
            (Some(_), _) => Some("the kill switch stays on"),
            (None, true) => Some("the default route stays in the tunnel"),
            (None, false) => None,
        }
    }
}

/// Whether there is a service manager, which keeps what it is given if its unit says so.
pub(super) fn has_keeper() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// Has the device kept, for whoever comes after a crash.
pub(super) fn keep_device(device: BorrowedFd<'_>) {
    keep(DEVICE, &[device]);
}

/// Has these sockets kept instead of others.
pub(super) fn keep_underlay(sockets: &Sockets) {
    forget(UNDERLAY);
    keep(UNDERLAY, &sockets.fds().collect::<Vec<_>>());
}

/// Has the rules of the kill switch for this interface kept, whatever happens to this process; or, if it is off, no
/// longer.
pub(super) fn keep_kill_switch(interface: &str, kill_switch: Option<&KillSwitch>) {
    let name = format!("{KILL_SWITCH}{interface}");
    match kill_switch {
        Some(kill_switch) => keep(&name, &[kill_switch.as_fd()]),
        None => forget(&name),
    }
}

/// Has the list of what is ours in the network kept.
pub(super) fn keep_network(record: &Record) {
    keep(NETWORK, &[record.as_fd()]);
}

/// Has no device kept any more.
pub(super) fn forget_device() {
    forget(DEVICE);
}

/// Has what stands in for the device kept, as long as there is no device.
pub(super) fn keep_stand_in(stand_in: &StandIn) {
    keep(STAND_IN, &[stand_in.as_fd()]);
}

/// Has nothing kept any more that stands in for the device.
pub(super) fn forget_stand_in() {
    forget(STAND_IN);
}

/// Leaves the sessions to the next process.
///
/// # Errors
/// The system has no memory files.
pub(super) fn leave(handover: &Handover) -> io::Result<()> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create("tunneld sessions", flags)?);
    file.write_all(handover.as_bytes())?;
    // Not against writing: who takes it erases it.
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    keep(SESSIONS, &[file.as_fd()]);
    Ok(())
}

/// Reads the sessions that were left, and erases them where they lay: the service manager keeps the same file, and nobody may go
/// on with them twice.
fn sessions(mut file: File) -> Option<Handover> {
    forget(SESSIONS);
    let mut read = || -> io::Result<Zeroizing<Vec<u8>>> {
        file.rewind()?;
        let length = file.metadata()?.len().min(LONGEST);
        let mut bytes = Zeroizing::new(vec![0; length as usize]);
        file.read_exact(&mut bytes)?;
        file.rewind()?;
        file.write_all(&vec![0; length as usize])?;
        Ok(bytes)
    };
    let taken = match read() {
        Ok(mut bytes) => Handover::take(&mut bytes),
        Err(error) => {
            tracing::warn!(%error, "the sessions of the process before cannot be read");
            return None;
        }
    };
    if taken.is_none() {
        tracing::info!(
            "the process before was of another version: its sessions end, and a handshake begins others"
        );
    }
    taken
}

fn keep(name: &str, descriptors: &[BorrowedFd<'_>]) {
    // It would stop keeping a device that is set down, as if it were a connection that ended.
    let state = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
    if let Err(error) = sd_notify::notify_with_fds(&state, descriptors) {
        tracing::warn!(name, %error, "the service manager cannot be given descriptors");
    }
}

fn forget(name: &str) {
    super::service::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}
