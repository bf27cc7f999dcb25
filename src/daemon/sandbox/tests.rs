use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::libc::{self, c_long};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, sched_yield, unshare};
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, socket};
use nix::unistd::getppid;
use tempfile::tempdir;

use super::*;
use crate::testing::skip;

/// Runs `body` on a thread of its own, to be confined there.
fn on_a_thread(body: impl FnOnce() + Send) {
    thread::scope(|scope| {
        if let Err(panic) = scope.spawn(body).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// What the kernel says to a call that makes no sense.
#[expect(unsafe_code, reason = "the calls that are refused have no other interface")]
fn answer(call: c_long) -> Errno {
    // SAFETY: no pointer is valid, no descriptor open, no flag known: what is not refused here fails by itself.
    match unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) } {
        -1 => Errno::last(),
        value => panic!("call {call} gave {value}"),
    }
}

/// Whether `test` may go on; if not, it is skipped: the kernel lacks something.
fn is_applied(test: &str, applied: anyhow::Result<()>) -> bool {
    applied.map_err(|error| skip(test, error)).is_ok()
}

fn is_refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn a_data_thread_goes_on_with_what_it_has() {
    let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = other.local_addr().unwrap();
    let (mut reader, mut writer) = io::pipe().unwrap();
    on_a_thread(|| {
        confine_data_thread();
        one.send_to(b"datagram", to).unwrap();
        let mut fds = [PollFd::new(other.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::NONE).unwrap(), 1);
        let mut buffer = [0; 8];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(other.as_raw_fd(), &mut parts, None, MsgFlags::empty());
        assert_eq!(message.unwrap().bytes, 8);
        let written = writer.write_vectored(&[IoSlice::new(b"pac"), IoSlice::new(b"ket")]);
        assert_eq!(written.unwrap(), 6);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 6);
        // What the allocator gets from the system and gives back, and randomness.
        let mut large = vec![1_u8; 1 << 20];
        large.resize(1 << 24, 1);
        drop(large);
        assert_eq!(HashMap::from([(1, 2)]).get(&1), Some(&2));
        drop((one, other));
        assert_eq!(sched_yield(), Ok(()));
    });
}

#[test]
fn a_data_thread_gets_nothing_new() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    on_a_thread(|| {
        if !is_applied("a_data_thread_gets_nothing_new", calls::allow_data_path_only()) {
            return;
        }
        assert!(is_refused(File::open("/proc/self/status")));
        assert!(is_refused(UdpSocket::bind("127.0.0.1:0")));
        assert!(is_refused(socket.connect("127.0.0.1:9")));
        assert!(is_refused(socket.set_ttl(9)));
        assert!(is_refused(Command::new("/bin/true").spawn()));
        for call in [
            libc::SYS_execve,
            libc::SYS_kill,
            libc::SYS_openat,
            libc::SYS_prctl,
            libc::SYS_setsockopt,
        ] {
            assert_eq!(answer(call), Errno::EPERM, "{call}");
        }
        // All of these ask for memory that can be executed, or for another process than this.
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_tgkill] {
            assert_eq!(answer(call), Errno::EPERM, "{call}");
        }
    });
}

#[test]
fn an_abort_of_a_data_thread_ends_the_process() {
    let test = "daemon::sandbox::tests::an_abort_of_a_data_thread_ends_the_process";
    if std::env::var_os(ABORTS).is_some() {
        on_a_thread(|| {
            confine_data_thread();
            writeln!(io::stderr(), "the last words").unwrap();
            std::process::abort();
        });
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ABORTS, "")
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the last words"), "{said}");
}

/// Set in the process that is to abort.
const ABORTS: &str = "TUNNELD_TEST_ABORTS";

#[test]
fn landlock_alone_leaves_a_data_thread_no_file_no_port_and_no_signal_to_others() {
    let (listener, file) = (TcpListener::bind("127.0.0.1:0").unwrap(), "/proc/self/status");
    let to = listener.local_addr().unwrap();
    File::open(file).unwrap();
    on_a_thread(|| {
        let test = "landlock_alone_leaves_a_data_thread_no_file_no_port_and_no_signal_to_others";
        if !is_applied(test, open_nothing()) {
            return;
        }
        assert!(is_refused(File::open(file)));
        assert!(is_refused(fs::read_dir("/")));
        assert!(is_refused(Command::new("/bin/true").spawn()));
        assert!(is_refused(TcpStream::connect(to)));
        assert!(is_refused(TcpListener::bind("127.0.0.1:0")));
        assert_eq!(kill(getppid(), None), Err(Errno::EPERM));
    });
}

#[test]
fn control_reads_and_runs_anything_and_writes_where_it_may() {
    let [here, there] = [(); 2].map(|()| tempdir().unwrap());
    let (new, sub) = (here.path().join("new"), here.path().join("sub"));
    on_a_thread(|| {
        let applied = write_only_below(&[here.path().into(), "/nonexistent".into()]);
        if !is_applied("control_reads_and_runs_anything_and_writes_where_it_may", applied) {
            return;
        }
        fs::write(&new, "first").unwrap();
        fs::write(&new, "next").unwrap();
        fs::create_dir(&sub).unwrap();
        fs::rename(&new, sub.join("newer")).unwrap();
        let _socket = UnixListener::bind(here.path().join("socket")).unwrap();
        fs::remove_dir_all(&sub).unwrap();
        fs::write("/dev/null", "").unwrap();
        assert_ne!(fs::read_to_string("/proc/self/status").unwrap(), "");
        let elsewhere = there.path().join("new");
        assert!(is_refused(fs::write(&elsewhere, "")));
        assert!(is_refused(fs::create_dir(&elsewhere)));
        assert!(is_refused(fs::remove_dir(there.path())));
        // Nor may what it starts.
        let shell = Command::new("/bin/sh").args(["-c", "> \"$0\""]).arg(&elsewhere).output();
        assert!(!shell.unwrap().status.success());
        assert_eq!(fs::read_dir(there.path()).unwrap().count(), 0);
    });
}

#[test]
fn control_may_start_threads_and_programs_and_nothing_dangerous() {
    on_a_thread(|| {
        let test = "control_may_start_threads_and_programs_and_nothing_dangerous";
        if !is_applied(test, calls::refuse_dangerous()) {
            return;
        }
        thread::spawn(|| ()).join().unwrap();
        let status = Command::new("/bin/cat").arg("/proc/self/status").output().unwrap().stdout;
        let status = String::from_utf8(status).unwrap();
        assert!(
            status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"),
            "{status}"
        );
        for call in [
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_mount,
            libc::SYS_setns,
            libc::SYS_reboot,
            libc::SYS_io_uring_setup,
            libc::SYS_personality,
            // All flags: every namespace.
            libc::SYS_clone,
        ] {
            assert_eq!(answer(call), Errno::EPERM, "{call}");
        }
        let socket = |family| socket(family, SockType::Datagram, SockFlag::empty(), None);
        assert!(socket(AddressFamily::Unix).is_ok() && socket(AddressFamily::Inet6).is_ok());
        assert_eq!(socket(AddressFamily::Packet).err(), Some(Errno::EPERM));
        assert_eq!(unshare(CloneFlags::CLONE_NEWNET), Err(Errno::EPERM));
        assert_eq!(answer(libc::SYS_clone3), Errno::ENOSYS);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(answer(0x4000_0000 | libc::SYS_getpid), Errno::EPERM);
    });
}

#[test]
fn what_is_lacking_is_told_once() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = tracing_subscriber::fmt().with_writer(Arc::new(writer)).with_ansi(false).finish();
    let told = Once::new();
    tracing::subscriber::with_default(log, || {
        or_without("walls", &told, Ok(()));
        or_without("walls", &told, Err(anyhow::anyhow!("none here")));
        or_without("walls", &told, Err(anyhow::anyhow!("none there")));
    });
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(
        log.ends_with("WARN tunneld::daemon::sandbox: running without walls: none here\n"),
        "{log}"
    );
    assert_eq!(log.lines().count(), 1);
}
