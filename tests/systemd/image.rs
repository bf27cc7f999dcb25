//! A Debian of the host's own release, as small as it boots: made once, and kept for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::netns::lab::expect_success;

/// What it has besides the essential packages.
const PACKAGES: &str = "dbus,iproute2,iputils-ping,kmod,systemd,systemd-sysv";

/// The directory of its root file system, in which nothing may be changed; or why there is none.
pub(crate) fn image() -> Result<PathBuf, String> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    let (site, release) = site();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{release}-1"));
    if !kept.is_dir() {
        let partial = kept.with_extension("partial");
        // Of a run that was ended.
        let _ = fs::remove_dir_all(&partial);
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), &release]);
        let output = debootstrap.arg(&partial).arg(site).output().unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            let last = said.lines().last().unwrap_or_default();
            return Err(format!("a Debian of the release {release} (debootstrap: {last})"));
        }
        // Each machine finds its own at its first boot.
        let _ = fs::remove_file(partial.join("etc/machine-id"));
        fs::rename(&partial, &kept).unwrap();
    }
    Ok(kept)
}

/// Where this host gets Debian's packages from, and of which release.
fn site() -> (String, String) {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(SITE) $(CODENAME)"]);
    let output = targets.arg("Created-By: Packages").output().unwrap();
    expect_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let of_debian = text.lines().find_map(|line| line.strip_prefix("Debian main "));
    let (site, release) = of_debian.and_then(|line| line.split_once(' ')).unwrap();
    (site.to_owned(), release.to_owned())
}
