//! A host of the lab that systemd boots, and what is done on it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::image::image;
use crate::netns::lab::{Host, Lab, expect_success};
use crate::netns::process::{BOUND, Process, wait_until};

/// A machine that runs. Its network is that of its host in the lab, and outlives a reboot; its changes to the root file
/// system are in the lab's directory. It ends with the lab's namespace.
pub(crate) struct Machine {
    namespace: String,
    groups: Vec<PathBuf>,
    supervisor: Option<Process>,
}

impl Machine {
    /// Boots it, and waits until all units that start at boot have started.
    pub(crate) fn boot(lab: &Lab, host: Host) -> Self {
        let namespace = lab.namespace(host);
        let directory = lab.directory_of(host);
        let [root, upper, work] = ["root", "upper", "work"].map(|name| directory.join(name));
        for new in [&root, &upper, &work] {
            fs::create_dir(new).unwrap();
        }
        let groups = control_groups(&namespace);
        let enter: String = groups
            .iter()
            .map(|group| format!("mkdir {0} && echo $$ > {0}/cgroup.procs && ", group.display()))
            .collect();
        // The mount is in a namespace of its own: it ends with the last process there. systemd-nspawn wants a terminal,
        // and a control group that no other service manager has. 133: the machine reboots, by a new supervisor.
        let boot = format!(
            "{enter} mount -t overlay -o lowerdir={image},upperdir={upper},workdir={work} overlay {root} || exit; \
             while systemd-nspawn --boot --quiet --directory={root} --machine={namespace} \
             --network-namespace-path=/run/netns/{namespace} --bind=/dev/net/tun --capability=all \
             --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off; \
             [ $? = 133 ]; do :; done",
            image = image().unwrap().display(),
            upper = upper.display(),
            work = work.display(),
            root = root.display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "script", "-qec", &boot, "/dev/null"]);
        let supervisor = Some(Process::start(&format!("machine {host:?}"), command));
        let machine = Self { namespace, groups, supervisor };
        machine.wait_until_booted();
        machine
    }

    /// Waits until all units that start at boot have started, or failed.
    pub(crate) fn wait_until_booted(&self) {
        let booted = wait_until(BOUND * 2, || {
            let state = self.leader().map(|_| self.run("systemctl is-system-running --wait"));
            let state = state.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            matches!(state.as_deref().map(str::trim), Some("running" | "degraded"))
        });
        assert!(booted, "{} boots", self.namespace);
    }

    /// The number that its systemd has on this host.
    pub(crate) fn leader(&self) -> Option<u32> {
        let all = Command::new("ip").args(["netns", "pids", &self.namespace]).output().unwrap();
        String::from_utf8_lossy(&all.stdout).lines().find_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let is_systemd = status.starts_with("Name:\tsystemd\n");
            let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            (is_systemd && inside.split_whitespace().nth(1) == Some("1"))
                .then(|| pid.parse().ok())?
        })
    }

    /// What a shell says to `script` on it.
    pub(crate) fn run(&self, script: &str) -> Output {
        self.shell(script).output().unwrap()
    }

    /// The same, which must go well; what it prints.
    pub(crate) fn must(&self, script: &str) -> String {
        let output = self.run(script);
        expect_success(&output);
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Writes a file on it, which only root may read.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let mut shell = self.shell(&format!("umask 077; cat > {path}"));
        let mut child = shell.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        assert!(child.wait().unwrap().success(), "{path} is written");
    }

    fn shell(&self, script: &str) -> Command {
        let leader = self.leader().unwrap_or_else(|| panic!("{} runs", self.namespace));
        let mut shell = Command::new("nsenter");
        shell.args(["--target", &leader.to_string(), "--all", "--root", "--wd"]);
        shell.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        shell.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", script]);
        shell
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process all others of the machine end, and then its supervisor.
        if let Some(leader) = self.leader() {
            let _ = Command::new("kill").args(["-KILL", &leader.to_string()]).status();
        }
        if let Some(mut supervisor) = self.supervisor.take() {
            wait_until(BOUND, || !supervisor.runs());
        }
        self.groups.iter().for_each(|group| remove_groups(group));
    }
}

/// The control groups that belong to this name: one in each hierarchy that a systemd uses, of either version.
fn control_groups(name: &str) -> Vec<PathBuf> {
    let all =
        ["", "systemd", "unified"].map(|hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy));
    let used = all.into_iter().filter(|hierarchy| hierarchy.join("cgroup.procs").exists());
    used.map(|hierarchy| hierarchy.join(name)).collect()
}

/// Removes a control group without processes, innermost first.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    wait_until(BOUND, || fs::remove_dir(group).is_ok() || !group.exists());
}
