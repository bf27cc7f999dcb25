//! The two data threads: what they share with control, how they start and end.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use tokio::sync::mpsc;

use super::shaper::Limits;
use super::threads::Threads;
use super::{entropy, inbound, outbound};
use crate::config::Shaping;
use crate::net::Underlay;
use crate::proto::{HANDSHAKE_QUEUE, Inbound, Outbound};
use crate::tun::Tun;
use crate::wire::{Endpoint, Handshake};

/// What the threads share besides the tunnel's own state.
pub(super) struct DataPath {
    pub(super) tun: Tun,
    pub(super) underlay: Arc<Underlay>,
    pub(super) threads: Threads,
    pub(super) limits: Limits,
}

/// A handshake message on its way to control.
pub(super) struct HandshakeMessage {
    pub(super) from: Endpoint,
    pub(super) message: Handshake,
}

/// What the data threads have for control; both queues are bounded.
pub(super) struct Reports {
    pub(super) handshakes: mpsc::Receiver<HandshakeMessage>,
    /// Why a thread has ended by itself.
    pub(super) failures: mpsc::Receiver<anyhow::Error>,
}

/// The data threads while they run.
pub(super) struct DataThreads {
    outbound: JoinHandle<()>,
    inbound: JoinHandle<Inbound>,
}

impl DataPath {
    pub(super) fn new(tun: Tun, underlay: Underlay, shaping: &Shaping) -> anyhow::Result<Self> {
        Ok(Self {
            tun,
            underlay: Arc::new(underlay),
            threads: Threads::new().context("making the threads' wake-ups")?,
            limits: Limits::new(shaping, [entropy::seed()?, entropy::seed()?]),
        })
    }
}

impl DataThreads {
    /// Starts both; if one fails, control hears of it.
    pub(super) fn start(
        path: &Arc<DataPath>,
        outbound: Outbound,
        mut inbound: Inbound,
    ) -> anyhow::Result<(Self, Reports)> {
        let (handshakes_in, handshakes) = mpsc::channel(HANDSHAKE_QUEUE);
        let (failures_in, failures) = mpsc::channel(2);
        let threads = Self {
            outbound: spawn("outbound", path, &failures_in, move |path| {
                (outbound::run(path, outbound), ())
            })?,
            inbound: spawn("inbound", path, &failures_in, move |path| {
                (inbound::run(path, &mut inbound, handshakes_in), inbound)
            })?,
        };
        Ok((threads, Reports { handshakes, failures }))
    }

    /// Ends both, which takes them no longer than what waits because of a limit may take; what inbound leaves.
    pub(super) fn stop(self, path: &DataPath) -> Option<Inbound> {
        path.threads.stop();
        // A thread that panicked has aborted the process.
        let (_, inbound) = (self.outbound.join(), self.inbound.join());
        inbound.ok()
    }
}

/// Starts a data thread, which leaves what `body` says; if it fails, control hears of it.
fn spawn<T: Send + 'static>(
    name: &'static str,
    path: &Arc<DataPath>,
    failures: &mpsc::Sender<anyhow::Error>,
    body: impl FnOnce(&DataPath) -> (anyhow::Result<()>, T) + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    let (path, failures) = (Arc::clone(path), failures.clone());
    let run = move || {
        let (ended, left) = body(&path);
        if let Err(error) = ended {
            // The queue has room for each thread's one failure.
            let _ = failures.try_send(error.context(format!("the {name} thread ended")));
        }
        left
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .with_context(|| format!("starting the {name} thread"))
}
