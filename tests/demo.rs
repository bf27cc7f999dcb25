//! `tunneld demo`, the real binary: what it prints, and that it leaves nothing, however it ends.
//!
//! It needs root, or a kernel that lets users make namespaces; what is missing is said, and the test skipped.

#![allow(clippy::unwrap_used, reason = "also in what the tests share, a panic is a failed test")]

mod common;
#[path = "netns/process.rs"]
#[allow(dead_code, reason = "what the lab needs of it")]
mod process;
#[path = "common/shown.rs"]
#[allow(dead_code, reason = "its keys are not known")]
mod shown;

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigHandler, SigSet, Signal};
use tempfile::TempDir;

use process::{BOUND, Process, wait_until};

/// A user who is nobody.
const NOBODY: u32 = 65534;

/// One demo at a time: the kernel may give the number of a namespace that is gone to the next one at once.
static ONE: Mutex<()> = Mutex::new(());

/// A demo's place: nothing else uses its directory for temporary files, so whatever names it is the demo's.
struct Stage {
    directory: TempDir,
    user: Option<u32>,
    interfaces: BTreeSet<String>,
    _one: MutexGuard<'static, ()>,
}

impl Stage {
    /// `None`, and said so, if the machine does not let this user (or this process as it is) run a demo.
    fn set(user: Option<u32>) -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        if user.is_some() {
            fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        }
        let stage = Self { directory, user, interfaces: interfaces(), _one: one };
        fs::create_dir(stage.temporary()).unwrap();
        chown(stage.temporary(), user, user).unwrap();
        stage.allowed().then_some(stage)
    }

    fn allowed(&self) -> bool {
        let root = nix::unistd::geteuid().is_root() && self.user.is_none();
        let unshare = if root { "unshare --net" } else { "unshare --user --map-root-user --net" };
        if !["unshare", "sh"].into_iter().all(common::require) {
            return false;
        }
        let mut probe = self.command("sh");
        let output = probe.args(["-c", &format!("{unshare} sh -c ': <>/dev/net/tun'")]).output();
        let output = output.unwrap();
        let reason = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        output.status.success() || common::skip(&reason)
    }

    /// Where the demo makes its temporary files.
    fn temporary(&self) -> PathBuf {
        self.directory.path().join("temporary")
    }

    /// A command that runs as the user, with signals as they are at a terminal.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env("TMPDIR", self.temporary()).current_dir("/");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        usual_signals(&mut command);
        command
    }

    /// A demo with these words.
    fn demo(&self, words: &[&str]) -> Command {
        let original = Path::new(env!("CARGO_BIN_EXE_tunneld"));
        let binary = match self.user {
            None => original.to_owned(),
            // The build's directory may be closed to others.
            Some(_) => {
                let copy = self.directory.path().join("tunneld");
                fs::copy(original, &copy).unwrap();
                copy
            }
        };
        let mut command = self.command(binary);
        command.arg("demo").args(words);
        command
    }

    /// The processes that are the demo's: their environment names its directory.
    fn processes(&self) -> Vec<PathBuf> {
        let needle = self.temporary().into_os_string().into_encoded_bytes();
        let is_ours = |process: &PathBuf| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.windows(needle.len()).any(|window| window == needle)
        };
        processes().into_iter().filter(is_ours).collect()
    }

    /// Waits until the demo and two daemons run, in three namespaces that are not the test's; gives those.
    fn wait_for_all(&self) -> BTreeSet<u64> {
        let mut made = BTreeSet::new();
        let there = wait_until(BOUND, || {
            let processes = self.processes();
            made = processes.iter().flat_map(|process| namespaces_of(process)).collect();
            made.remove(&namespace(Path::new("/proc/thread-self/ns/net")).unwrap());
            (processes.len(), made.len()) == (3, 3)
        });
        assert!(there, "{:?} in {made:?}", self.processes());
        made
    }

    /// All must be gone but, after SIGKILL, the files.
    fn is_empty_but_for_files(&self, made: &BTreeSet<u64>) {
        assert!(wait_until(BOUND, || self.processes().is_empty()), "{:?}", self.processes());
        let kept = || made.intersection(&all_namespaces()).copied().collect::<Vec<_>>();
        assert!(wait_until(BOUND, || kept().is_empty()), "namespaces {:?}", kept());
        assert_eq!(interfaces(), self.interfaces);
    }

    fn is_empty(&self, made: &BTreeSet<u64>) {
        self.is_empty_but_for_files(made);
        assert_eq!(fs::read_dir(self.temporary()).unwrap().count(), 0, "temporary files");
    }
}

/// Gives a child the signals of a program at a terminal: who runs the test in the background may have SIGINT ignored.
#[expect(unsafe_code, reason = "only the child itself can change what it ignores")]
fn usual_signals(command: &mut Command) {
    let reset = || {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: no handler is installed, and nobody reads the one before.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
        }
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(reset) };
}

/// The directories in `/proc` of all processes.
fn processes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_process))
        .map(|entry| entry.path())
        .collect()
}

/// The network namespaces of a process: each of its threads may have another.
fn namespaces_of(process: &Path) -> Vec<u64> {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| namespace(&thread.path().join("ns/net"))).collect()
}

fn namespace(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// All network namespaces that a process is in, or that have a name.
fn all_namespaces() -> BTreeSet<u64> {
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let named = named.filter_map(|entry| namespace(&entry.path()));
    processes().iter().flat_map(|process| namespaces_of(process)).chain(named).collect()
}

/// The names of the machine's own devices.
fn interfaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Runs a demo to its end and looks at the JSON it prints, and at what it leaves.
fn prints_one_object(stage: &Stage) {
    let output = File::create(stage.directory.path().join("output")).unwrap();
    let mut demo = stage.demo(&["--seconds", "1", "--json"]);
    let mut demo = demo.stdout(output).spawn().unwrap();
    let made = stage.wait_for_all();
    let status = demo.wait().unwrap();
    let printed = fs::read_to_string(stage.directory.path().join("output")).unwrap();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let figures: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!(figures["ok"], true, "{printed}");
    assert!(figures["error"].is_null(), "{printed}");
    for name in ["ping_ipv4_us", "ping_ipv6_us", "tcp_a_to_b_gbps", "tcp_b_to_a_gbps"] {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {printed}");
    }
    stage.is_empty(&made);
}

/// Ends a demo during its first transfer.
fn ends_by(signal: Signal, stage: &Stage) -> BTreeSet<u64> {
    let mut demo = Process::start("demo", stage.demo(&["--seconds", "3600"]));
    // The transfer is what follows.
    demo.wait_for("ping IPv6");
    let made = stage.wait_for_all();
    assert!(wait_until(BOUND, || sends_much(stage)), "the transfer is under way");
    demo.signal(signal);
    let status = demo.end(BOUND);
    assert_eq!(status.signal(), Some(signal as i32), "{status}: {}", demo.said());
    made
}

/// Whether much more than pings has left one of the demo's hosts.
fn sends_much(stage: &Stage) -> bool {
    stage.processes().iter().any(|process| {
        let devices = fs::read_to_string(process.join("net/dev")).unwrap_or_default();
        let underlay = devices.lines().find(|line| line.trim_start().starts_with("underlay:"));
        let sent = underlay.and_then(|line| line.split_whitespace().nth(9)?.parse::<u64>().ok());
        sent.is_some_and(|bytes| bytes > 10_000_000)
    })
}

#[test]
fn a_demo_prints_one_json_object_and_leaves_nothing() {
    if let Some(stage) = Stage::set(None) {
        prints_one_object(&stage);
    }
}

#[test]
fn a_demo_of_a_user_without_privilege_passes_and_leaves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        // Then the other tests are such users'.
        return;
    }
    if let Some(stage) = Stage::set(Some(NOBODY)) {
        prints_one_object(&stage);
    }
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_and_dies_of_the_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if let Some(stage) = Stage::set(None) {
            let made = ends_by(signal, &stage);
            stage.is_empty(&made);
        }
    }
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_but_its_files() {
    if let Some(stage) = Stage::set(None) {
        let made = ends_by(Signal::SIGKILL, &stage);
        stage.is_empty_but_for_files(&made);
    }
}
