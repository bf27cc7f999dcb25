//! Away from the machine's own network, before anything is made; as root, or as root of a user namespace.

use std::fs::{self, OpenOptions};

use anyhow::{Context as _, Error, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// What to do if the kernel refuses.
const ADVICE: &str = "the demo needs root, or a kernel that lets users make namespaces: run it with `sudo`, or as root \
    allow them: `sysctl user.max_user_namespaces=1000`, and where these exist \
    `sysctl kernel.unprivileged_userns_clone=1` and `sysctl kernel.apparmor_restrict_unprivileged_userns=0`";

/// Puts this process in a network namespace of its own. It must have no other thread.
pub(super) fn leave_the_machine() -> Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {}
        Err(Errno::EPERM) => become_root_of_a_user_namespace()?,
        Err(errno) => return Err(refused("a network namespace", errno)),
    }
    can_open_tun()
}

/// Puts this thread alone in a network namespace of its own.
pub(super) fn enter_new() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| refused("a network namespace", errno))
}

fn become_root_of_a_user_namespace() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| refused("a user namespace", errno))?;
    // Without privilege the group map may be written only once groups cannot be dropped: user_namespaces(7).
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .with_context(|| format!("cannot write /proc/self/{file}"))
            .context(ADVICE)?;
    }
    Ok(())
}

/// The devices of both hosts come from `/dev/net/tun`: without it nothing else is worth beginning.
fn can_open_tun() -> Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map(drop)
        .context(
            "cannot open /dev/net/tun: load the driver with `modprobe tun`; in a container, hand the device in",
        )
}

fn refused(what: &str, errno: Errno) -> Error {
    let advice = match errno {
        Errno::EINVAL | Errno::ENOSYS => {
            "this kernel is built without it (CONFIG_NET_NS, CONFIG_USER_NS)"
        }
        _ => ADVICE,
    };
    Error::new(errno).context(format!("cannot make {what}")).context(advice)
}
