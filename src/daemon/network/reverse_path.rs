//! The kernel's check of where IPv4 packets come from (`rp_filter`). Where it is strict, a packet must arrive by the
//! device by which an answer would leave; it asks without the mark, so past a default route of ours what the peer sends
//! seems to come from the wrong side, and is discarded.

use std::fs;
use std::path::Path;

/// What the kernel is set to, in the network namespace of the caller.
const SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// Says so if the check is strict on a device other than `ours`.
pub(super) fn warn_if_strict(ours: &str) {
    if let Some(device) = strict_device(ours) {
        tracing::warn!(
            device,
            "the reverse path filter is strict, so what the peer sends by this device is lost: {LOOSE}"
        );
    }
}

/// The command that makes the check loose.
pub(crate) const LOOSE: &str = "sysctl -w net.ipv4.conf.all.rp_filter=2";

/// A device other than `ours` on which the check is strict.
pub(crate) fn strict_device(ours: &str) -> Option<String> {
    strict(Path::new(SETTINGS), ours)
}

/// The first device by name on which the check is strict: of its own setting and that for all, the greater counts.
fn strict(settings: &Path, ours: &str) -> Option<String> {
    let value = |name: &str| -> Option<u8> {
        fs::read_to_string(settings.join(name).join("rp_filter")).ok()?.trim().parse().ok()
    };
    let all = value("all")?;
    let entries = fs::read_dir(settings).ok()?.flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.into_iter().find(|name| {
        let device = !["all", "default", "lo", ours].contains(&name.as_str());
        device && value(name).is_some_and(|own| own.max(all) == STRICT)
    })
}

/// 0 is off, 2 is loose.
const STRICT: u8 = 1;

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn the_greater_of_the_settings_for_a_device_and_for_all_counts() {
        for (all, of_device, is_strict) in
            [(0, 0, false), (0, 1, true), (1, 0, true), (1, 2, false), (2, 1, false)]
        {
            let settings = tempdir().unwrap();
            let set = |name: &str, value: u8| {
                fs::create_dir(settings.path().join(name)).unwrap();
                fs::write(settings.path().join(name).join("rp_filter"), format!("{value}\n"))
                    .unwrap();
            };
            set("all", all);
            set("eth0", of_device);
            for other in ["default", "lo", "tun0"] {
                set(other, 1);
            }
            let found = strict(settings.path(), "tun0");
            assert_eq!(found.as_deref(), is_strict.then_some("eth0"), "{all} {of_device}");
        }
    }

    #[test]
    fn settings_that_are_out_of_sight_are_none() {
        assert_eq!(strict(Path::new("/nowhere"), "tun0"), None);
    }
}
