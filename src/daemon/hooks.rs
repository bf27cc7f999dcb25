//! Hooks: the administrator's programs, run when something happens to the link. One at a time and in order; none can
//! hold up the daemon, outlast its time, or see anything but a few values that were checked before.

mod process;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::config::{self, Config};
use crate::proto::Event;
use process::Job;

/// How long a hook may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Least time between two runs for a peer that moves: how often it does may be a stranger's doing.
const MOVES_INTERVAL: Duration = Duration::from_secs(1);
/// Most hooks that wait for their turn.
const MOST_WAITING: usize = 16;
/// Shells have such a path of their own where there is none; what they run has not.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a hook is for, by its key in the configuration.
const UP: &str = "up";
const DOWN: &str = "down";
const PEER_UP: &str = "peer_up";
const PEER_DOWN: &str = "peer_down";
const ENDPOINT_CHANGED: &str = "endpoint_changed";

/// The hooks of one link. Owned by control, which calls [`Hooks::turn`] whenever it waits.
pub(super) struct Hooks {
    programs: config::Hooks,
    /// What every hook is told.
    environment: Vec<(&'static str, String)>,
    waiting: VecDeque<Job>,
    running: Option<JoinHandle<()>>,
    moves: Interval,
    /// Where the peer is, while it is linked.
    linked: Option<SocketAddr>,
}

impl Hooks {
    /// The hooks that `config` wants. To be called on the runtime.
    pub(super) fn new(config: &Config) -> Self {
        let mut moves = tokio::time::interval(MOVES_INTERVAL);
        moves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waiting = VecDeque::new();
        let (programs, environment) = (config.hooks.clone(), environment(config));
        Self { programs, environment, waiting, running: None, moves, linked: None }
    }

    /// The peer is another one from now on.
    pub(super) fn lose_peer(&mut self) {
        if let Some(last) = self.linked.take() {
            self.add(PEER_DOWN, Some(last));
        }
    }

    /// The hooks that `config` wants, for whatever happens from now on.
    pub(super) fn take_on(&mut self, config: &Config) {
        self.programs = config.hooks.clone();
        self.environment = environment(config);
    }

    /// The link is set up.
    pub(super) fn up(&mut self) {
        self.add(UP, None);
    }

    /// `event` happened, after which the link is up or not.
    pub(super) fn follow(&mut self, event: &Event, link_is_up: bool) {
        let seen = match event {
            Event::HandshakeCompleted { endpoint, .. }
            | Event::TakenOver { endpoint, .. }
            | Event::EndpointMoved(endpoint) => Some(endpoint.remote),
            _ => None,
        };
        let before = self.linked;
        self.linked = if link_is_up { seen.or(before) } else { None };
        match (before, self.linked) {
            (None, Some(now)) => self.add(PEER_UP, Some(now)),
            (Some(before), None) => self.add(PEER_DOWN, Some(before)),
            (Some(before), Some(now)) if before != now => self.add(ENDPOINT_CHANGED, Some(now)),
            _ => {}
        }
    }

    /// Waits until there is something to do, and does it: sees a hook end, or starts the next. May be cancelled.
    pub(super) async fn turn(&mut self) {
        if let Some(running) = &mut self.running {
            // It cannot fail: a panic has aborted the process.
            let _ = running.await;
            self.running = None;
            return;
        }
        match self.waiting.front().map(|job| job.event) {
            None => std::future::pending().await,
            Some(ENDPOINT_CHANGED) => {
                self.moves.tick().await;
            }
            Some(_) => {}
        }
        self.start();
    }

    /// The link has ended: lets the hook that runs end, leaves out those that wait, and runs the last ones.
    pub(super) async fn finish(&mut self) {
        if !self.waiting.is_empty() {
            tracing::warn!(hooks = self.waiting.len(), "hooks left out: the link has ended");
            self.waiting.clear();
        }
        self.lose_peer();
        self.add(DOWN, None);
        loop {
            if let Some(running) = self.running.take() {
                let _ = running.await;
            }
            if self.waiting.is_empty() {
                return;
            }
            self.start();
        }
    }

    fn add(&mut self, event: &'static str, endpoint: Option<SocketAddr>) {
        let programs = &self.programs;
        let command = match event {
            UP => &programs.up,
            DOWN => &programs.down,
            PEER_UP => &programs.peer_up,
            PEER_DOWN => &programs.peer_down,
            _ => &programs.endpoint_changed,
        };
        if command.is_empty() {
            return;
        }
        let mut environment = self.environment.clone();
        environment.push(("TUNNELD_EVENT", event.to_owned()));
        environment.extend(endpoint.map(|endpoint| ("TUNNELD_ENDPOINT", endpoint.to_string())));
        let job = Job { event, command: command.clone(), environment };
        if event == ENDPOINT_CHANGED {
            // Where the peer was meanwhile is of no use any more.
            self.waiting.retain(|job| job.event != ENDPOINT_CHANGED);
        }
        if self.waiting.len() >= MOST_WAITING {
            tracing::warn!(event, "hook left out: {MOST_WAITING} wait already");
            return;
        }
        self.waiting.push_back(job);
    }

    fn start(&mut self) {
        self.running = self.waiting.pop_front().map(|job| tokio::spawn(tell(job)));
    }
}

/// Runs a hook and tells how it ended.
async fn tell(job: Job) {
    let event = job.event;
    let (outcome, said) = process::run(job, tokio::time::sleep(LIMIT)).await;
    let said = Some(said).filter(|said| !said.is_empty());
    match outcome {
        Ok(status) if status.success() => tracing::info!(event, said, "hook done"),
        Ok(status) => tracing::warn!(event, %status, said, "hook failed"),
        Err(error) => tracing::warn!(event, %error, said, "hook failed"),
    }
}

fn environment(Config { interface, peer, .. }: &Config) -> Vec<(&'static str, String)> {
    let addresses: Vec<_> = interface.addresses.iter().map(ToString::to_string).collect();
    vec![
        ("PATH", PATH.to_owned()),
        ("TUNNELD_INTERFACE", interface.name.clone()),
        ("TUNNELD_ADDRESSES", addresses.join(" ")),
        ("TUNNELD_PEER", peer.public_key.to_string()),
    ]
}
