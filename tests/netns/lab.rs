//! Two hosts in network namespaces of their own, a cable between them or a router, and the daemons that run there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::config::End;
use super::process::{BOUND, Process, wait_until};
use crate::shown::must_not_be_shown;

/// What the daemon logs, as far as tests wait for it.
pub(crate) const STARTED: &str = "started";
pub(crate) const HANDSHAKE: &str = "handshake completed";
pub(crate) const MOVED: &str = "endpoint moved";
pub(crate) const SILENT: &str = "peer silent";
pub(crate) const DISCARDED: &str = "discarded";

/// The UDP port of the daemons, if nothing else is said.
pub(crate) const PORT: u16 = 51820;

/// The inner addresses of both hosts.
pub(crate) const INNER_A: [&str; 2] = ["10.77.0.1", "fd77::1"];
pub(crate) const INNER_B: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// Addresses to be given to host b that no more specific route leads to, and networks of them.
pub(crate) const FAR: [&str; 2] = ["198.18.0.1", "2001:db8:f::1"];
pub(crate) const FAR_NETWORKS: [&str; 2] = ["198.18.0.0/15", "2001:db8:f::/64"];

/// The cable's end on hosts a and b.
pub(crate) const CABLE: &str = "cable";

/// How soon a daemon must have ended once it is told to, or its device is gone, also on a busy machine.
pub(crate) const STOP: Duration = Duration::from_secs(5);

/// A place in the lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    A,
    B,
    /// Between the other two, in a routed lab.
    Router,
    /// Behind host a or b.
    StationA,
    StationB,
}

/// The namespaces of one test; removed with all that is in them when dropped.
pub(crate) struct Lab {
    id: String,
    hosts: Vec<Host>,
    directory: TempDir,
}

impl Lab {
    /// Hosts a and b with one cable between them.
    pub(crate) fn direct() -> Self {
        Self::direct_of(&[Host::A, Host::B])
    }

    /// The same, and stations that are connected to nothing yet.
    pub(crate) fn direct_with_stations() -> Self {
        Self::direct_of(&[Host::A, Host::B, Host::StationA, Host::StationB])
    }

    fn direct_of(hosts: &[Host]) -> Self {
        let lab = Self::with_hosts(hosts);
        lab.ip(
            Host::A,
            &format!(
                "link add {CABLE} type veth peer name {CABLE} netns {}",
                lab.namespace(Host::B)
            ),
        );
        for host in [Host::A, Host::B] {
            lab.bring_up(host, CABLE, underlay(host));
        }
        lab
    }

    /// Hosts a and b on networks of their own, and a router between.
    pub(crate) fn routed() -> Self {
        let lab = Self::with_hosts(&[Host::A, Host::B, Host::Router]);
        let router = lab.namespace(Host::Router);
        for (host, port, gateway) in [
            (Host::A, "to-a", ["198.51.100.254", "2001:db8:a::ff"]),
            (Host::B, "to-b", ["203.0.113.254", "2001:db8:b::ff"]),
        ] {
            lab.ip(host, &format!("link add {CABLE} type veth peer name {port} netns {router}"));
            lab.bring_up(host, CABLE, routed_underlay(host));
            lab.bring_up(Host::Router, port, gateway);
            for address in gateway {
                lab.ip(host, &format!("route add default via {address}"));
            }
        }
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            lab.inside(Host::Router, move || fs::write(Path::new("/proc/sys/net").join(key), "1"))
                .join()
                .expect("it does not panic")
                .unwrap_or_else(|e| panic!("{key}: {e}"));
        }
        lab
    }

    fn with_hosts(hosts: &[Host]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let lab = Self {
            id: format!("tunneld-{}-{number}", std::process::id()),
            hosts: hosts.to_vec(),
            directory: tempfile::tempdir().expect("there is a place for temporary files"),
        };
        for &host in hosts {
            fs::create_dir(lab.directory_of(host)).expect("the directory is new");
            expect_success(&run(Command::new("ip").args(["netns", "add", &lab.namespace(host)])));
            lab.ip(host, "link set lo up");
        }
        lab
    }

    /// The name of a host's namespace.
    pub(crate) fn namespace(&self, host: Host) -> String {
        format!("{}-{host:?}", self.id).to_lowercase()
    }

    /// The directory of a host's daemons.
    pub(crate) fn directory_of(&self, host: Host) -> PathBuf {
        self.directory.path().join(format!("{host:?}"))
    }

    /// Gives a device its addresses and brings it up: usable at once, with no address but these.
    pub(crate) fn bring_up(&self, host: Host, device: &str, addresses: [&str; 2]) {
        self.ip(host, &format!("link set {device} addrgenmode none"));
        // A router asks for its neighbours from a link-local address only.
        let link_local = format!("fe80::{}", &addresses[1][addresses[1].len() - 1..]);
        for address in addresses.into_iter().chain([link_local.as_str()]) {
            self.add_address(host, device, address);
        }
        self.ip(host, &format!("link set {device} up"));
    }

    /// Adds an address of either family, usable at once.
    pub(crate) fn add_address(&self, host: Host, device: &str, address: &str) {
        let tail = if address.contains(':') { "/64 nodad" } else { "/24" };
        self.ip(host, &format!("address add dev {device} {address}{tail}"));
    }

    /// `ip` with these words on a host; what it says.
    pub(crate) fn ip(&self, host: Host, words: &str) -> String {
        let mut command = Command::new("ip");
        command.arg("-n").arg(self.namespace(host)).args(words.split_whitespace());
        let output = run(&mut command);
        expect_success(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The names that resolve on a host, as in hosts(5); no others do. To be called before the host's daemon starts, and later
    /// to change them.
    pub(crate) fn set_names(&self, host: Host, hosts: &str) {
        self.set_etc(host, "resolv.conf", "nameserver 127.0.0.1\n");
        self.set_etc(host, "nsswitch.conf", "hosts: files\n");
        self.set_etc(host, "hosts", hosts);
    }

    /// A file of /etc as a host's programs find it, if they start later.
    pub(crate) fn set_etc(&self, host: Host, file: &str, content: &str) {
        // It takes the place of the file in /etc for what runs in the namespace: ip-netns(8).
        let etc = Path::new("/etc/netns").join(self.namespace(host));
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&etc).expect("we are root");
        fs::write(etc.join(file), content).expect("we are root");
    }

    /// A program with these words, to be run on a host.
    pub(crate) fn command(&self, host: Host, words: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).args(words.split_whitespace());
        command
    }

    /// Runs a program on a host to its end.
    pub(crate) fn run(&self, host: Host, words: &str) -> Output {
        run(&mut self.command(host, words))
    }

    /// Runs a piece of this test on a host, in a thread of its own.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        host: Host,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = Path::new("/run/netns").join(self.namespace(host));
        thread::spawn(move || {
            let namespace = File::open(namespace).expect("the namespace is there");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter it");
            work()
        })
    }

    /// Everything `ip` knows of a host: devices, addresses, routes, rules.
    pub(crate) fn network(&self, host: Host) -> String {
        let all: String = [
            "-o address",
            "-4 route show table all",
            "-6 route show table all",
            "-4 rule",
            "-6 rule",
        ]
        .map(|words| self.ip(host, words))
        .concat();
        // The kernel's own affair: whether a carrier is there, and multicast on a device that ever had one.
        all.lines()
            .filter(|line| !line.starts_with("multicast ff00::/8"))
            .flat_map(|line| [line.split(" linkdown").next().unwrap_or(line).trim_end(), "\n"])
            .collect()
    }

    /// Whether a ping is answered, sooner or later.
    pub(crate) fn pings(&self, host: Host, address: &str) -> bool {
        wait_until(BOUND, || self.ping(host, &format!("-c 1 -W 1 {address}")).status.success())
    }

    /// `ping` with these words.
    pub(crate) fn ping(&self, host: Host, words: &str) -> Output {
        self.run(host, &format!("ping -n {words}"))
    }

    /// Writes the configuration file of an interface; its path.
    pub(crate) fn write_file(&self, host: Host, interface: &str, text: &str) -> PathBuf {
        let file = self.directory_of(host).join(format!("{interface}.toml"));
        fs::write(&file, text).expect("the directory is ours");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("the file is ours");
        file
    }

    /// The command that runs a daemon with this configuration.
    pub(crate) fn daemon_command(&self, host: Host, end: &End) -> Command {
        end.secrets().for_each(must_not_be_shown);
        let file = self.write_file(host, &end.name, &end.to_toml());
        let binary = env!("CARGO_BIN_EXE_tunneld");
        let mut command = self.command(host, "");
        command.arg(binary).args(["run", "-c"]).arg(file);
        command
            .env("RUNTIME_DIRECTORY", self.directory_of(host))
            .env("STATE_DIRECTORY", self.directory_of(host))
            .env("NO_COLOR", "1")
            .env("TUNNELD_LOG", "debug")
            .env_remove("NOTIFY_SOCKET");
        command
    }

    /// Starts a daemon.
    pub(crate) fn start(&self, host: Host, end: &End) -> Process {
        Process::start(&format!("daemon {host:?}"), self.daemon_command(host, end))
    }

    /// Starts both daemons, and waits until they are linked.
    pub(crate) fn link(&self, ends: &[End; 2]) -> [Process; 2] {
        let daemons = [self.start(Host::A, &ends[0]), self.start(Host::B, &ends[1])];
        for daemon in &daemons {
            daemon.wait_for(STARTED);
        }
        assert!(self.pings(Host::A, INNER_B[0]), "a's ping to b is answered");
        daemons
    }

    /// The same where b has to call, because a has no endpoint.
    pub(crate) fn link_called_by_b(&self, ends: &[End; 2]) -> [Process; 2] {
        let daemons = [self.start(Host::A, &ends[0]), self.start(Host::B, &ends[1])];
        assert!(self.pings(Host::B, INNER_A[0]), "b's ping to a is answered");
        daemons
    }
}

/// Ends a daemon as systemd does, with exit code 0. Gives what it said.
pub(crate) fn stop(mut daemon: Process) -> String {
    daemon.signal(Signal::SIGTERM);
    let status = daemon.end(STOP);
    assert_eq!(status.code(), Some(0), "{}", daemon.said());
    daemon.said()
}

/// The underlay addresses of a host in a direct lab.
pub(crate) fn underlay(host: Host) -> [&'static str; 2] {
    match host {
        Host::A => ["192.0.2.1", "2001:db8::1"],
        _ => ["192.0.2.2", "2001:db8::2"],
    }
}

/// The underlay addresses of a host in a routed lab.
pub(crate) fn routed_underlay(host: Host) -> [&'static str; 2] {
    match host {
        Host::A => ["198.51.100.1", "2001:db8:a::1"],
        _ => ["203.0.113.1", "2001:db8:b::1"],
    }
}

/// The endpoint at an address.
pub(crate) fn endpoint(address: &str) -> String {
    if address.contains(':') { format!("[{address}]:{PORT}") } else { format!("{address}:{PORT}") }
}

/// The endpoint of a host in a direct lab, over IPv4.
pub(crate) fn direct_v4(host: Host) -> String {
    endpoint(underlay(host)[0])
}

/// The endpoint of a host in a routed lab, over IPv4.
pub(crate) fn routed_v4(host: Host) -> String {
    endpoint(routed_underlay(host)[0])
}

/// Removes what tests left that were killed: namespaces that carry the number of a process that is gone.
fn sweep() {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix("tunneld-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            remove(&name);
        }
    }
}

/// Removes a namespace and kills what runs in it.
fn remove(namespace: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        for pid in String::from_utf8_lossy(&output.stdout).lines() {
            if let Ok(pid) = pid.parse::<i32>().map(nix::unistd::Pid::from_raw)
                && pid != nix::unistd::Pid::this()
            {
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
    let _ = fs::remove_dir_all(Path::new("/etc/netns").join(namespace));
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Fails with what a program said, unless it went well.
pub(crate) fn expect_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Drop for Lab {
    fn drop(&mut self) {
        for &host in &self.hosts {
            remove(&self.namespace(host));
        }
    }
}

#[test]
fn hosts_of_a_lab_reach_each_other_over_both_families_and_leave_nothing() {
    super::needs::needs!("ping");
    for (lab, address_of) in [
        (Lab::direct(), underlay as fn(Host) -> [&'static str; 2]),
        (Lab::routed(), routed_underlay),
    ] {
        for address in address_of(Host::B) {
            assert!(lab.pings(Host::A, address), "{address} answers");
        }
        let namespaces: Vec<_> = lab.hosts.iter().map(|&host| lab.namespace(host)).collect();
        let mut idle = Process::start("idle", lab.command(Host::A, "ping -n 127.0.0.1"));
        idle.wait_for("bytes from");
        drop(lab);
        for namespace in namespaces {
            assert!(!Path::new("/run/netns").join(namespace).exists());
        }
        idle.end(BOUND);
    }
}
