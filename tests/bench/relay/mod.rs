//! A relay between two namespaces, in place of a cable: the kernel here may have no netem.
//!
//! It holds a plain TUN device in each namespace, reads the packets from one, and writes them to the other when
//! their [`Path`] says.

mod device;
mod path;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::libc::IFF_TUN;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::time::{ClockId, clock_gettime};

use path::Path;
pub(crate) use path::Weather;

/// The name of its device in either namespace.
pub(crate) const DEVICE: &str = "wan";

/// A running relay; its devices vanish when it is dropped.
pub(crate) struct Relay {
    /// The way from each namespace to the other.
    paths: Arc<Mutex<[Path; 2]>>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Makes a device in each of two namespaces, which are still to be brought up, and relays between them.
    ///
    /// # Errors
    /// The devices could not be made.
    pub(crate) fn start(namespaces: [&str; 2], weather: Weather) -> io::Result<Self> {
        let [a, b] = namespaces.map(|namespace| device::open(namespace, DEVICE, IFF_TUN));
        let paths = Arc::new(Mutex::new([Path::new(weather, 0), Path::new(weather, 0)]));
        let stop = Arc::new(EventFd::new()?);
        let mut run = Run {
            devices: [a?, b?],
            paths: Arc::clone(&paths),
            stop: Arc::clone(&stop),
            flying: BinaryHeap::new(),
            entered: 0,
        };
        let thread = Some(thread::spawn(move || run.until_stopped()));
        Ok(Self { paths, stop, thread })
    }

    /// Changes the weather both ways; the chances of all packets from now on follow from `seed`.
    pub(crate) fn turn(&self, weather: Weather, seed: u64) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, way) in paths.iter_mut().zip(0..) {
            path.turn(weather, seed * 2 + way);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the relay's thread has.
struct Run {
    devices: [File; 2],
    paths: Arc<Mutex<[Path; 2]>>,
    stop: Arc<EventFd>,
    /// The next to arrive is on top.
    flying: BinaryHeap<Reverse<Flight>>,
    /// How many packets were let in.
    entered: u64,
}

/// A packet on its way; the first to arrive is the least, and of those that arrive together the first that came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrival: Duration,
    number: u64,
    to: usize,
    packet: Arc<[u8]>,
}

impl Run {
    fn until_stopped(&mut self) {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            self.land(now());
            let [a, b, stopped] = self.wait(now());
            if stopped {
                return;
            }
            for (from, readable) in [a, b].into_iter().enumerate() {
                if readable {
                    self.take_off(from, &mut buffer);
                }
            }
        }
    }

    /// Writes what arrives until now. A device that is down loses its packets, as a broken path would.
    fn land(&mut self, now: Duration) {
        while self.flying.peek().is_some_and(|Reverse(flight)| flight.arrival <= now)
            && let Some(Reverse(flight)) = self.flying.pop()
        {
            let _ = (&self.devices[flight.to]).write(&flight.packet);
        }
    }

    /// Waits for a packet, the next arrival, or the end; which of the three descriptors have something.
    fn wait(&self, now: Duration) -> [bool; 3] {
        let timeout = self.flying.peek().map(|Reverse(next)| next.arrival.saturating_sub(now));
        let [a, b] = &self.devices;
        let mut polled = [a.as_fd(), b.as_fd(), self.stop.as_fd()]
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        match ppoll(&mut polled, timeout.map(Into::into), None) {
            Ok(_) => polled.map(|descriptor| descriptor.any().unwrap_or(true)),
            Err(_) => [false; 3],
        }
    }

    /// Lets in what a device has, but not so much at once that others would land late.
    fn take_off(&mut self, from: usize, buffer: &mut [u8]) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..MAX_AT_ONCE {
            let Ok(len) = (&self.devices[from]).read(buffer) else {
                return;
            };
            let arrivals = paths[from].pass(now(), len);
            if arrivals == [None; 2] {
                continue;
            }
            let packet: Arc<[u8]> = buffer[..len].into();
            for arrival in arrivals.into_iter().flatten() {
                self.entered += 1;
                let (number, packet) = (self.entered, Arc::clone(&packet));
                self.flying.push(Reverse(Flight { arrival, number, to: 1 - from, packet }));
            }
        }
    }
}

/// Time on the relay's clock.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock").into()
}

/// Bytes of the largest packet that a device can have.
const MAX_PACKET: usize = 65_535;
const MAX_AT_ONCE: usize = 32;
