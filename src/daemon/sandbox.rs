//! The sandbox: from the start of the link on, the daemon can do only what it must. seccomp(2) refuses system calls,
//! landlock(7) refuses files; each counts for the thread that asks for it and for whatever that thread starts. What the
//! kernel lacks is told once, and done without. docs/architecture.md, "Sandbox", has the reasons.

mod calls;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Once;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};

/// As of Linux 6.12; an older kernel does what it knows. Rights of later ones are not asked for unseen: one of them is
/// to reach a socket in the file system, as the journal's is.
const KNOWN: ABI = ABI::V6;

/// What may be written in `/dev`: what `DevicePolicy=closed` of systemd.resource-control(5) leaves, and the tunnel's own.
const DEVICES: [&str; 10] = [
    "/dev/net/tun",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

static NO_LANDLOCK: Once = Once::new();
static NO_SECCOMP: Once = Once::new();

/// Confines this thread, and all threads and programs that it will start, hooks among them: files are read and run
/// anywhere and written only below `writable`, as far as that exists; what changes the system as a whole, or reaches
/// into other processes, is refused.
pub(super) fn confine_control(writable: &[PathBuf]) {
    or_without("Landlock", &NO_LANDLOCK, write_only_below(writable));
    or_without("seccomp", &NO_SECCOMP, calls::refuse_dangerous());
}

/// Confines this thread to what a data thread does with the descriptors it has. To be called when all it needs is
/// there.
pub(super) fn confine_data_thread() {
    or_without("Landlock", &NO_LANDLOCK, open_nothing());
    or_without("seccomp", &NO_SECCOMP, calls::allow_data_path_only());
}

fn or_without(protection: &str, told: &Once, applied: anyhow::Result<()>) {
    if let Err(error) = applied {
        told.call_once(|| tracing::warn!("running without {protection}: {error:#}"));
    }
}

fn write_only_below(writable: &[PathBuf]) -> anyhow::Result<()> {
    let writes = AccessFs::from_write(KNOWN);
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let rules = Ruleset::default()
        .handle_access(writes)?
        .create()?
        .add_rules(path_beneath_rules(writable, writes & !devices))?
        .add_rules(path_beneath_rules(DEVICES, (writes & !devices) | AccessFs::IoctlDev))?;
    enforce(rules)
}

/// No file, no TCP port, no signal to another process, no abstract socket.
fn open_nothing() -> anyhow::Result<()> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    enforce(rules)
}

fn enforce(rules: RulesetCreated) -> anyhow::Result<()> {
    let enforced = rules.restrict_self()?.ruleset;
    anyhow::ensure!(enforced != RulesetStatus::NotEnforced, "this kernel does not have it");
    Ok(())
}
