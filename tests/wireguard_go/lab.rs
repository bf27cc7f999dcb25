//! Two network namespaces on this machine with a wire between them, and programs that run in them. Whatever was made
//! is gone when its owner is dropped.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::shown::shows_a_secret;

/// The longest anything here may take: ten times what it takes on a busy machine.
pub const BOUND: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const PROGRAMS: [&str; 5] = ["ip", "ping", "iperf3", "wg", "wireguard-go"];

/// Asks until `condition` holds; panics once `bound` has passed.
pub fn wait_until(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "other programs run by the real clock")]
    let now = Instant::now;
    let end = now() + bound;
    while !condition() {
        assert!(now() < end, "not within {bound:?}: {what}");
        thread::sleep(POLL);
    }
}

/// Whether all is here that `test` needs besides `program`; if not, says so, or panics if nothing may be missing.
pub fn may_run(test: &str, program: Result<(), String>) -> bool {
    let Err(missing) = program.and_then(|()| check_machine()) else {
        return true;
    };
    let required = std::env::var("TUNNELD_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "{test}: {missing}");
    // Not by the macros, which the test harness keeps to itself when a test passes.
    let mut errors = std::io::stderr();
    writeln!(errors, "SKIPPED: {test}: {missing}").unwrap();
    false
}

fn check_machine() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("needs root".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("no /dev/net/tun".into());
    }
    let found = |program: &&str| {
        let directories = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&directories).any(|directory| directory.join(program).exists())
    };
    if let Some(program) = PROGRAMS.iter().find(|program| !found(program)) {
        return Err(format!("no {program}"));
    }
    let namespace = unique("probe");
    if !succeeds(Command::new("ip").args(["netns", "add", &namespace])) {
        return Err("may not make network namespaces".into());
    }
    run(Command::new("ip").args(["netns", "del", &namespace]));
    Ok(())
}

/// Whether the daemon can be run.
pub fn tunneld_runs() -> Result<(), String> {
    let help = Command::new(env!("CARGO_BIN_EXE_tunneld")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout);
    let has_run = help.lines().any(|line| line.split_whitespace().next() == Some("run"));
    has_run.then_some(()).ok_or_else(|| "this tunneld has no `run`".into())
}

/// A name that no other test or process uses, short enough for an interface.
pub fn unique(kind: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{kind}{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    assert!(name.len() <= 15, "{name}");
    name
}

pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs `command`, which must succeed; what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the program under test runs.
    A,
    /// Where its peer runs.
    B,
}

impl Side {
    fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    /// Its addresses in the tunnel.
    pub fn inner(self) -> [IpAddr; 2] {
        let number = self.number();
        [format!("10.77.0.{number}"), format!("fd77::{number}")].map(|text| text.parse().unwrap())
    }
}

/// Two namespaces and the wire between them.
pub struct Lab {
    namespaces: [String; 2],
    over_ipv6: bool,
    /// For logs, keys and configurations.
    pub directory: TempDir,
}

impl Lab {
    pub fn new(over_ipv6: bool) -> Self {
        let lab = Self {
            namespaces: [unique("wga"), unique("wgb")],
            over_ipv6,
            directory: tempfile::tempdir().unwrap(),
        };
        for namespace in &lab.namespaces {
            run(Command::new("ip").args(["netns", "add", namespace]));
        }
        let [a, b] = &lab.namespaces;
        let wire = ["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", b];
        run(Command::new("ip").args(["-n", a]).args(wire));
        for side in [Side::A, Side::B] {
            let prefix = if over_ipv6 { 64 } else { 24 };
            let address = format!("{}/{prefix}", lab.endpoint(side).ip());
            lab.add_address(side, &address, "wire");
            lab.ip(side, &["link", "set", "wire", "up"]);
            lab.ip(side, &["link", "set", "lo", "up"]);
        }
        lab
    }

    /// Where a side listens.
    pub fn endpoint(&self, side: Side) -> SocketAddr {
        let number = side.number();
        let address =
            if self.over_ipv6 { format!("fd00::{number}") } else { format!("192.0.2.{number}") };
        SocketAddr::new(address.parse().unwrap(), 51_820)
    }

    pub fn ip(&self, side: Side, arguments: &[&str]) {
        run(Command::new("ip").args(["-n", self.namespace(side)]).args(arguments));
    }

    pub fn add_address(&self, side: Side, address: &str, interface: &str) {
        // Nobody else has the address: no need to wait until that is found out.
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(side, &[&["addr", "add", address, "dev", interface], nodad].concat());
    }

    fn namespace(&self, side: Side) -> &str {
        &self.namespaces[usize::from(side.number()) - 1]
    }

    /// A command that runs on `side`; its process is the program itself.
    pub fn on(&self, side: Side, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace(side), program]);
        command
    }

    /// Writes a file only its owner may read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        path
    }

    /// Sends real traffic from `from`, which may have to begin the handshake, and both ways.
    pub fn assert_traffic(&self, from: Side) {
        let to = if from == Side::A { Side::B } else { Side::A };
        for address in to.inner() {
            // Until three answers came, at most ten seconds.
            let address = address.to_string();
            run(self.on(from, "ping").args(["-c", "3", "-i", "0.05", "-w", "10", &address]));
        }
        let log = unique("iperf3");
        let server = Running::start(self, &log, self.on(to, "iperf3").args(["-s", "--forceflush"]));
        wait_until(BOUND, "iperf3 listens", || server.count("Server listening") > 0);
        for address in to.inner() {
            for direction in [&[][..], &["--reverse"]] {
                let address = address.to_string();
                let mut client = self.on(from, "iperf3");
                run(client.args(["-n", "2M", "-c", &address]).args(direction));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            succeeds(Command::new("ip").args(["netns", "del", namespace]));
        }
    }
}

/// A program that runs until it is dropped, and its log.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(lab: &Lab, name: &str, command: &mut Command) -> Self {
        let log = lab.directory.path().join(format!("{name}.log"));
        let out = File::create(&log).unwrap();
        let errors = out.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn().unwrap();
        Self { child, log }
    }

    /// Waits until the log has `text`.
    pub fn wait_for(&mut self, text: &str) {
        wait_until(BOUND, text, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.count(text) > 0
        });
    }

    /// How many lines of the log have `text`.
    pub fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut errors = std::io::stderr();
            let _ = writeln!(errors, "--- {}\n{}", self.log.display(), self.log());
        }
        // The child is not reaped yet, so the number is still its own.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let mut polls = 0;
        while matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(POLL);
            polls += 1;
            if polls == 250 {
                let _ = self.child.kill();
            }
        }
        if !thread::panicking() {
            assert!(!shows_a_secret(&self.log()), "a secret in {}", self.log.display());
        }
    }
}
