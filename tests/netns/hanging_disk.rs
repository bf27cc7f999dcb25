//! A configuration on a disk that does not answer: a file system that nobody serves.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nix::sys::signal::Signal;

use super::config::ends;
use super::lab::{HANDSHAKE, Host, INNER_A, INNER_B, Lab, STARTED, direct_v4, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::socket::{ask, connect, socket};

/// What the service manager wants to hear from at least so often.
const INTERVAL: Duration = Duration::from_secs(1);

const RELOAD: &str = r#"{"command":"reload"}"#;
const STATUS: &str = r#"{"command":"status"}"#;

/// A pair of which a's file can be put on such a disk.
struct Pair {
    lab: Lab,
    a: Process,
    b: Process,
    /// Who closes it ends the waiting: then the disk is gone.
    disk: File,
    /// How often the service manager has heard that the daemon is alive.
    alive: Arc<AtomicUsize>,
}

impl Pair {
    fn start() -> Self {
        let lab = Lab::direct();
        let home = lab.directory_of(Host::A);
        fs::create_dir(home.join("disk")).unwrap();
        let manager = UnixDatagram::bind(home.join("notify")).unwrap();
        let disk = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let both = ends(direct_v4);
        let daemon = lab.daemon_command(Host::A, &both[0]);
        // In a mount namespace of the daemon's own, with which it goes. What follows `ip netns exec NAME` is the daemon.
        let script = "mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none \"$DISK\" && exec \"$@\" 3<&-";
        let mut command = lab.command(Host::A, "unshare -m sh -c");
        command.arg(script).arg("sh").args(daemon.get_args().skip(3));
        for (name, value) in daemon.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("DISK", home.join("disk")).env("NOTIFY_SOCKET", home.join("notify"));
        command.env("WATCHDOG_USEC", INTERVAL.as_micros().to_string());
        let parent_fd = disk.as_fd().try_clone_to_owned().unwrap();
        command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
        let a = Process::start("daemon A", command);
        a.wait_for(STARTED);
        let b = lab.start(Host::B, &both[1]);
        assert!(lab.pings(Host::A, INNER_B[0]));
        Self { lab, a, b, disk, alive: listen(manager) }
    }

    /// Puts a's file there.
    fn hang(&self) {
        let home = self.lab.directory_of(Host::A);
        fs::remove_file(home.join("tun0.toml")).unwrap();
        symlink(home.join("disk/tun0.toml"), home.join("tun0.toml")).unwrap();
    }
}

/// Hears all that the daemon says, as a service manager does: it would wait for one that does not.
fn listen(manager: UnixDatagram) -> Arc<AtomicUsize> {
    let alive = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&alive);
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok(n) = manager.recv(&mut message) {
            let said = message[..n].starts_with(b"WATCHDOG=1");
            count.fetch_add(usize::from(said), Ordering::Relaxed);
        }
    });
    alive
}

#[test]
fn while_a_file_is_not_to_be_read_the_link_and_its_handshakes_go_on() {
    needs!("ping", "unshare", "sh", "mount", "/dev/fuse");
    let pair = Pair::start();
    let path = socket(&pair.lab);
    pair.hang();
    // One of them is obeyed, as far as that can be; the other is told so.
    let mut askers = [(); 2].map(|()| {
        let path = path.clone();
        thread::spawn(move || ask(&mut connect(&path), RELOAD))
    });
    assert!(wait_until(BOUND, || askers.iter().any(JoinHandle::is_finished)));
    askers.sort_by_key(|asker| !asker.is_finished());
    let [told, waits] = askers;
    assert!(told.join().unwrap().contains("ask again"));
    pair.a.signal(Signal::SIGHUP);
    assert!(ask(&mut connect(&path), STATUS).contains("\"link\""));
    let handshakes = pair.a.count(HANDSHAKE);
    stop(pair.b);
    let _b = pair.lab.start(Host::B, &ends(direct_v4)[1]);
    assert!(pair.lab.pings(Host::B, INNER_A[0]));
    assert!(pair.a.count(HANDSHAKE) > handshakes);
    let before = pair.alive.load(Ordering::Relaxed);
    let goes_on = || pair.alive.load(Ordering::Relaxed) > before + 2;
    assert!(wait_until(BOUND, goes_on), "the service manager hears that it is alive");
    assert!(!waits.is_finished());

    drop(pair.disk);
    let answer = waits.join().unwrap();
    assert!(answer.contains("tun0.toml: cannot be read"), "{answer}");
    pair.a.wait_for_nth(2, "not reloaded");
    let home = pair.lab.directory_of(Host::A);
    fs::remove_file(home.join("tun0.toml")).unwrap();
    pair.lab.write_file(Host::A, "tun0", &ends(direct_v4)[0].to_toml());
    assert!(ask(&mut connect(&path), RELOAD).contains("done"));
}

#[test]
fn nobody_waits_for_such_a_disk_at_the_end() {
    needs!("ping", "unshare", "sh", "mount", "/dev/fuse");
    let pair = Pair::start();
    pair.hang();
    pair.a.signal(Signal::SIGHUP);
    let busy = || ask(&mut connect(&socket(&pair.lab)), RELOAD).contains("ask again");
    assert!(wait_until(BOUND, busy));
    stop(pair.a);
}
