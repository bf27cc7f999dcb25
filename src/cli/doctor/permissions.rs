//! What the caller may do, and what it would have to.

use super::facts::{Caller, DeviceFact, Host, Link};
use super::finding::Finding;
use crate::daemon::network::settings;
use crate::tun::Wish;
use crate::tun::persistent::Device;

/// Numbers of capabilities(7).
pub(super) const CAP_NET_ADMIN: u32 = 12;
pub(super) const CAP_MKNOD: u32 = 27;

/// What the caller may not do and would have to.
pub(super) fn judge(link: &Link, host: &Host) -> Vec<Finding> {
    let check = "permissions";
    let caller = &host.caller;
    let mut findings = directories(link);
    if caller.may(CAP_NET_ADMIN) {
        findings.push(Finding::ok(check, "CAP_NET_ADMIN is there"));
        return findings;
    }
    let DeviceFact::Driver(_) = link.device else {
        findings.push(Finding::bad(check, "CAP_NET_ADMIN is missing, and a device has to be made"));
        return findings;
    };
    let name = &link.config.interface.name;
    if link.config.interface.kill_switch {
        findings.push(Finding::bad(check, "the kill switch needs CAP_NET_ADMIN"));
    } else if link.config.mark() != 0 {
        findings.push(Finding::bad(check, "a default route and fwmark need CAP_NET_ADMIN"));
    }
    let settings = settings(&link.config);
    let missing = settings.wishes().filter(|wish| !has(link, wish));
    findings.extend(missing.map(|wish| {
        Finding::bad(check, format!("{name}: {wish} needs CAP_NET_ADMIN"))
            .mended_by(wish.command(name))
    }));
    if findings.is_empty() {
        let text = format!("no capability is needed: {name} has all that the configuration says");
        findings.push(Finding::ok(check, text));
    }
    findings
}

/// Whether the device has this already.
pub(super) fn has(link: &Link, wish: &Wish) -> bool {
    let survey = &link.survey;
    let Some((index, state)) = survey.device(&link.config.interface.name) else { return false };
    match wish {
        Wish::Address(address) => survey.addresses.contains(&(index, *address)),
        Wish::Route(network, table) => survey
            .routes
            .iter()
            .any(|route| (route.network, route.table, route.index) == (*network, *table, index)),
        of_state => of_state.is_met_by(state, |bridge| Some(survey.device(bridge)?.0)),
    }
}

fn directories(link: &Link) -> Vec<Finding> {
    let unwritable = link.directories.iter().filter(|(_, _, writable)| !writable);
    let finding = |(path, name, _): &(std::path::PathBuf, &str, bool)| {
        let text = format!("{} cannot be written to", path.display());
        // Without its lock no daemon starts; without its state it does.
        let finding = match *name {
            "RUNTIME_DIRECTORY" => Finding::bad("permissions", text),
            _ => Finding::warning("permissions", text),
        };
        finding.mended_by(format!("run tunneld as root, or set {name} to a directory of yours"))
    };
    unwritable.map(finding).collect()
}

impl Caller {
    pub(super) fn may(&self, capability: u32) -> bool {
        self.capabilities & 1_u64.unbounded_shl(capability) != 0
    }

    /// The kernel's rule (`tun_not_capable`).
    pub(super) fn may_use(&self, device: &Device) -> bool {
        let fits = device.owner.is_none_or(|owner| owner == self.uid)
            && device.group.is_none_or(|group| self.groups.contains(&group));
        fits || self.may(CAP_NET_ADMIN)
    }
}
