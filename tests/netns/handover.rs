//! A restart that loses nothing: what a service manager keeps from one process to the next.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Seek as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt as _, FdMapping};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::capture::{Capture, Pings, monitor};
use super::config::{End, ends};
use super::default_route::{ends_with_networks, far_lab};
use super::lab::{
    FAR, FAR_NETWORKS, HANDSHAKE, Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop,
};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::transfer::Transfer;

/// What a daemon says that goes on with sessions.
const GOES_ON: &str = "the sessions of the process before go on";

/// The part of a service manager that keeps descriptors (sd_notify(3), `FDSTORE=1`).
pub(super) struct Keeper {
    path: PathBuf,
    socket: UnixDatagram,
    pub(super) kept: Vec<(String, OwnedFd)>,
}

impl Keeper {
    pub(super) fn new(lab: &Lab, host: Host) -> Self {
        let path = lab.directory_of(host).join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { path, socket, kept: Vec::new() }
    }

    /// Starts a daemon, with all that is kept.
    pub(super) fn launch(&mut self, lab: &Lab, host: Host, end: &End) -> Process {
        self.listen();
        let daemon = lab.daemon_command(host, end);
        let mut command = Command::new("sh");
        command.args(["-c", r#"LISTEN_PID=$$ exec "$0" "$@""#]).arg(daemon.get_program());
        command.args(daemon.get_args());
        for (name, value) in daemon.get_envs() {
            value.map(|value| command.env(name, value));
        }
        let names: Vec<_> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        command.env("NOTIFY_SOCKET", &self.path);
        if !names.is_empty() {
            command
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        let mappings = self.kept.iter().zip(3..).map(|((_, kept), child_fd)| FdMapping {
            parent_fd: kept.try_clone().unwrap(),
            child_fd,
        });
        command.fd_mappings(mappings.collect()).unwrap();
        Process::start(&format!("daemon {host:?}"), command)
    }

    /// The same, and waits until it has started.
    pub(super) fn start(&mut self, lab: &Lab, host: Host, end: &End) -> Process {
        let daemon = self.launch(lab, host, end);
        daemon.wait_for(STARTED);
        daemon
    }

    /// Obeys everything that was said so far.
    pub(super) fn listen(&mut self) {
        loop {
            let mut text = [0; 4096];
            let mut space = nix::cmsg_space!([i32; 16]);
            let mut slices = [IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = match recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                flags,
            ) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return,
                Err(errno) => panic!("{errno}"),
            };
            let numbers = message.cmsgs().unwrap().flat_map(|cmsg| match cmsg {
                ControlMessageOwned::ScmRights(numbers) => numbers,
                _ => Vec::new(),
            });
            #[expect(unsafe_code, reason = "descriptors come as numbers")]
            // SAFETY: the kernel has just made them for this process.
            let came: Vec<_> =
                numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect();
            let length = message.bytes;
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let name =
                text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
            if text.contains("FDSTOREREMOVE=1") {
                self.kept.retain(|(kept, _)| kept != name);
            }
            self.kept.extend(came.into_iter().map(|fd| (name.to_owned(), fd)));
        }
    }

    /// The memory file with the sessions.
    fn sessions(&mut self) -> File {
        self.listen();
        let (_, kept) =
            self.kept.iter().find(|(name, _)| name == "sessions").expect("sessions were left");
        kept.try_clone().unwrap().into()
    }
}

/// A link of which host b has a service manager.
fn link(lab: &Lab, ends: &[End; 2]) -> (Process, Process, Keeper) {
    let mut keeper = Keeper::new(lab, Host::B);
    let (a, b) = (lab.start(Host::A, &ends[0]), keeper.start(lab, Host::B, &ends[1]));
    assert!(lab.pings(Host::A, INNER_B[0]));
    (a, b, keeper)
}

/// Ends a daemon as systemd does for a restart (`RestartKillSignal=`).
pub(super) fn end_for_restart(mut daemon: Process) {
    daemon.signal(Signal::SIGUSR1);
    assert_eq!(daemon.end(BOUND).code(), Some(0), "{}", daemon.said());
}

pub(super) fn kill(mut daemon: Process) {
    daemon.signal(Signal::SIGKILL);
    daemon.end(BOUND);
}

fn has_device(lab: &Lab) -> bool {
    lab.run(Host::B, "ip link show tun0").status.success()
}

#[test]
fn a_restart_keeps_session_device_and_port_under_a_transfer() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[1].listen_port = None;
    ends[0].endpoint = None;
    let (a, mut b, mut keeper) = link(&lab, &ends);
    let handshakes = a.count(HANDSHAKE);
    let transfer = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 256 << 20);
    for _ in 0..5 {
        transfer.goes_on(1 << 20);
        end_for_restart(b);
        assert!(has_device(&lab), "it is kept");
        b = keeper.start(&lab, Host::B, &ends[1]);
        b.wait_for(GOES_ON);
    }
    transfer.finish();
    assert_eq!(a.count(HANDSHAKE), handshakes, "no session was renewed");
    assert_eq!(b.count(HANDSHAKE), 0);
    assert_eq!(a.count(super::lab::MOVED), 0, "the port stayed");
    stop(b);
    keeper.listen();
    drop(keeper);
    assert!(wait_until(BOUND, || !has_device(&lab)), "it vanishes when nobody keeps it");
}

#[test]
fn what_is_left_is_erased_by_whoever_takes_it_and_sealed() {
    needs!("ping");
    let lab = Lab::direct();
    let ends = ends(direct_v4);
    let (_a, b, mut keeper) = link(&lab, &ends);
    stop(b);
    let mut file = keeper.sessions();
    assert!(file.set_len(1).is_err() && file.set_len(1 << 20).is_err(), "its length is sealed");
    let content = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(content(&mut file).iter().any(|byte| *byte != 0));
    let b = keeper.start(&lab, Host::B, &ends[1]);
    b.wait_for(GOES_ON);
    assert!(content(&mut file).iter().all(|byte| *byte == 0));
    keeper.listen();
    assert!(keeper.kept.iter().all(|(name, _)| name != "sessions"));
}

#[test]
fn after_a_crash_the_device_and_its_routes_stay_and_a_handshake_links_again() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[1].allowed_ips = Some(vec!["10.77.0.0/30", "192.168.7.0/24"]);
    let (a, mut b, mut keeper) = link(&lab, &ends);
    let handshakes = a.count(HANDSHAKE);
    let transfer = Transfer::begin(&lab, Host::A, Host::B, INNER_B[0], 64 << 20);
    transfer.goes_on(1 << 20);
    b.signal(Signal::SIGKILL);
    b.end(BOUND);
    let route = lab.ip(Host::B, "route get 192.168.7.7");
    assert!(route.contains("dev tun0"), "{route}");
    let b = keeper.start(&lab, Host::B, &ends[1]);
    a.wait_for_nth(handshakes + 1, HANDSHAKE);
    transfer.finish();
    assert_eq!(b.count(GOES_ON), 0);
    assert!(lab.pings(Host::B, INNER_A[0]));
}

#[test]
fn a_restart_under_another_configuration_takes_it_on() {
    needs!("ping");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[1].addresses.push("10.77.9.1/24");
    ends[1].allowed_ips = Some(vec!["10.77.0.0/30", "fd77::/64", "192.168.7.0/24"]);
    let (_a, b, mut keeper) = link(&lab, &ends);
    end_for_restart(b);
    let other = End {
        addresses: vec!["10.77.0.2/30", "fd77::2/64", "10.77.8.1/24"],
        allowed_ips: Some(vec!["10.77.0.0/30", "fd77::/64", "192.168.8.0/24"]),
        listen_port: Some(51999),
        ..ends[1].clone()
    };
    let b = keeper.start(&lab, Host::B, &other);
    let network = lab.network(Host::B);
    for (text, there) in
        [("10.77.9.1", false), ("192.168.7.0", false), ("10.77.8.1", true), ("192.168.8.0", true)]
    {
        assert_eq!(network.contains(text), there, "{text} in\n{network}");
    }
    assert!(lab.pings(Host::B, INNER_A[0]));
    stop(b);
    let renamed = End { name: "tun7".to_owned(), ..other };
    let _b = keeper.start(&lab, Host::B, &renamed);
    keeper.listen();
    assert!(wait_until(BOUND, || !has_device(&lab)), "the one of the old name is gone");
    assert!(lab.pings(Host::B, INNER_A[0]));
}

#[test]
fn what_others_added_to_the_device_stays_there_over_a_restart_and_a_crash() {
    needs!("ping");
    for end in [end_for_restart, kill] {
        let lab = Lab::direct();
        let mut ends = ends(direct_v4);
        ends[1].allowed_ips = Some(vec!["10.77.0.0/30", "fd77::/64", "192.168.7.0/24"]);
        let (_a, b, mut keeper) = link(&lab, &ends);
        lab.ip(Host::B, "address add dev tun0 10.99.0.1/24");
        lab.ip(Host::B, "route add 192.168.99.0/24 dev tun0");
        end(b);
        ends[1].allowed_ips = None;
        let _b = keeper.start(&lab, Host::B, &ends[1]);
        let network = lab.network(Host::B);
        for (text, there) in
            [("10.99.0.1/24", true), ("192.168.99.0/24", true), ("192.168.7.0/24", false)]
        {
            assert_eq!(network.contains(text), there, "{text} in\n{network}");
        }
    }
}

/// Both default routes.
pub(super) const BOTH: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// The rules of a default route, of both families.
fn rules(lab: &Lab) -> Vec<String> {
    let said = ["-4 rule", "-6 rule"].map(|words| lab.ip(Host::A, words)).concat();
    said.lines().filter(|line| line.starts_with("3276")).map(str::to_owned).collect::<Vec<_>>()
}

#[test]
fn a_default_route_leads_into_the_tunnel_also_during_a_restart_and_until_a_wrong_file_is_mended() {
    needs!("ping");
    let lab = far_lab();
    let ends = ends_with_networks(&BOTH);
    let mut keeper = Keeper::new(&lab, Host::A);
    let before = rules(&lab);
    let capture = Capture::begin(&lab, Host::Router);
    let mut a = keeper.start(&lab, Host::A, &ends[0]);
    let _b = lab.start(Host::B, &ends[1]);
    assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
    assert_eq!(rules(&lab).len(), before.len() + 4);
    let pings = Pings::begin(&lab);
    let monitor = monitor(&lab);
    for _ in 0..2 {
        end_for_restart(a);
        pings.wait_until_more_are_sent();
        let wrong = End { more: "surprise = 1", ..ends[0].clone() };
        let mut failed = keeper.launch(&lab, Host::A, &wrong);
        assert_eq!(failed.end(BOUND).code(), Some(1), "with 2 the device would be let go of");
        let said = failed.said();
        assert!(
            said.contains("the default route stays in the tunnel until that is mended"),
            "{said}"
        );
        pings.wait_until_more_are_sent();
        a = keeper.start(&lab, Host::A, &ends[0]);
        assert!(lab.pings(Host::A, FAR[0]) && lab.pings(Host::A, FAR[1]));
    }
    assert_eq!(capture.cleartext(&FAR_NETWORKS), [] as [[IpAddr; 2]; 0]);
    assert_eq!(monitor.count("Deleted 3276"), 0, "{}", monitor.said());
    stop(a);
    assert_eq!(rules(&lab), before);
    // What is not there any more would have been seen.
    monitor.wait_for_nth(4, "Deleted 3276");
    assert!(wait_until(BOUND, || !capture.cleartext(&FAR_NETWORKS).is_empty()));
}

#[test]
fn rules_of_a_default_route_that_a_crash_left_are_removed_where_the_next_file_has_none() {
    needs!("ping");
    let lab = far_lab();
    let mut ends = ends_with_networks(&BOTH);
    let mut keeper = Keeper::new(&lab, Host::A);
    let before = rules(&lab);
    for name in ["tun0", "tun7"] {
        kill(keeper.start(&lab, Host::A, &ends[0]));
        assert_eq!(rules(&lab).len(), before.len() + 4);
        ends[0].allowed_ips = None;
        ends[0].name = name.to_owned();
        let a = keeper.start(&lab, Host::A, &ends[0]);
        assert_eq!(rules(&lab), before, "{name}");
        kill(a);
        ends[0].allowed_ips = Some(BOTH.into());
    }
}

#[test]
fn the_kill_switch_outlives_a_crash_and_a_wrong_file_and_follows_the_name_of_the_interface() {
    needs!("ping", "nft");
    let lab = Lab::direct();
    let mut ends = ends(direct_v4);
    ends[1].more = "kill_switch = true";
    let (_a, mut b, mut keeper) = link(&lab, &ends);
    let tables = || String::from_utf8(lab.run(Host::B, "nft list tables").stdout).unwrap();
    b.signal(Signal::SIGKILL);
    b.end(BOUND);
    keeper.listen();
    assert_eq!(tables(), "table inet tunneld-tun0\n");

    let wrong = End { more: "surprise = 1", ..ends[1].clone() };
    let mut b = keeper.launch(&lab, Host::B, &wrong);
    let code = b.end(BOUND).code();
    assert_eq!(code, Some(1), "with 2 the service manager would give up, and let go of the rules");
    assert!(b.said().contains("the kill switch stays on"), "{}", b.said());
    assert_eq!(tables(), "table inet tunneld-tun0\n");

    let renamed = End { name: "tun7".to_owned(), ..ends[1].clone() };
    let b = keeper.start(&lab, Host::B, &renamed);
    assert!(wait_until(BOUND, || {
        keeper.listen();
        tables() == "table inet tunneld-tun7\n"
    }));
    assert!(lab.pings(Host::B, INNER_A[0]));
    stop(b);
    let off = End { more: "", ..renamed };
    let _b = keeper.start(&lab, Host::B, &off);
    assert!(wait_until(BOUND, || {
        keeper.listen();
        tables().is_empty()
    }));
}
