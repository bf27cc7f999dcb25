//! The control loop: one input to the tunnel, then every output of it, then sleep until the next.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::SetLogLevel;
use super::clock::{self, Alarm};
use super::data_path::{DataPath, HandshakeMessage, Reports};
use super::dns::Dns;
use super::doors::query::{Change, Query};
use super::endpoints::Endpoints;
use super::entropy::entropy;
use super::hooks::Hooks;
use super::kill_switch::KillSwitch;
use super::network::Network;
use super::observer::Observer;
use super::reader::Reader;
use super::report::Report;
use super::service::{self, Signals, Told};
use super::state::State;
use super::status::Status;
use super::trial::Trial;
use crate::config::Config;
use crate::proto::{Discard, Event, Now, Request, Role, Tunnel};
use crate::wire::Screen;

/// TOS of handshake messages: AF41, as the kernel sends them, so that they pass where data queues.
const HANDSHAKE_TOS: u8 = 0x88;
/// How often to look for hints while there is no link.
const HINTS_INTERVAL: Duration = Duration::from_secs(5);

/// Most handshake messages taken in before what they lead to is sent.
const BATCH: usize = 16;

/// Owned by the control thread.
pub(super) struct Control {
    pub(super) reader: Reader,
    /// What it runs by.
    pub(super) config: Config,
    /// What it goes back to unless that is confirmed.
    pub(super) trial: Option<Trial>,
    /// The id of the last one that ended, and how it did.
    pub(super) last_trial: Option<(String, &'static str)>,
    pub(super) set_log_level: SetLogLevel,
    pub(super) path: Arc<DataPath>,
    pub(super) tunnel: Tunnel,
    pub(super) report: Report,
    pub(super) observer: Observer,
    /// What others ask.
    pub(super) queries: mpsc::Receiver<Query>,
    pub(super) endpoints: Endpoints,
    pub(super) hooks: Hooks,
    pub(super) alarm: Alarm,
    pub(super) network: Network,
    pub(super) kill_switch: Option<KillSwitch>,
    pub(super) dns: Dns,
    /// Speaks with systemd-resolved.
    pub(super) telling: Option<JoinHandle<()>>,
    pub(super) state: State,
    /// What the kernel lets pass.
    pub(super) screen: Option<Screen>,
}

/// Why the loop ended.
pub(super) enum Ended {
    /// By a signal, named.
    Signal(&'static str),
    /// To be started again at once.
    Restart,
    /// As a data thread did.
    Failure(anyhow::Error),
}

impl Control {
    /// Runs until a signal or a failed data thread ends it.
    pub(super) async fn run(
        &mut self,
        mut signals: Signals,
        Reports { mut failures, mut handshakes }: Reports,
    ) -> anyhow::Result<Ended> {
        self.tunnel.start(clock::now());
        let mut batch = Vec::with_capacity(BATCH);
        let mut hints = interval(HINTS_INTERVAL);
        let watchdog = service::watchdog_interval();
        // Three times in each interval: a thread may be late once.
        let mut watch = interval(watchdog.map_or(HINTS_INTERVAL, |every| every.mul_f64(1.0 / 3.0)));
        loop {
            self.settle(clock::now())?;
            self.state.keep(self.tunnel.last_timestamp()).await;
            // In this order: what ends us, what is due, and last what strangers can fill.
            tokio::select! {
                biased;
                told = signals.next() => match told {
                    Told::Stop(signal) => return Ok(Ended::Signal(signal)),
                    Told::Restart => return Ok(Ended::Restart),
                    Told::Reload => self.reader.read_own(),
                },
                Some(failure) = failures.recv() => return Ok(Ended::Failure(failure)),
                rang = self.alarm.ring() => {
                    rang.context("waiting for the alarm")?;
                    self.count_not_received();
                    self.tunnel.handle_timeout(clock::now());
                    self.end_trial_if_due().await;
                }
                () = self.path.threads.control.notified() => self.tunnel.handle_facts(clock::now()),
                () = self.network.change() => {
                    self.network.look(&mut self.tunnel, &mut self.report).await;
                }
                (endpoint, addresses) = self.endpoints.resolved() => {
                    self.tunnel.resolved(clock::now(), endpoint, &addresses);
                    self.network.look_again();
                }
                () = self.hooks.turn() => {}
                _ = hints.tick(), if !self.report.link_is_up() => {
                    self.report.strangers(clock::boot(), self.tunnel.stats());
                }
                _ = watch.tick(), if watchdog.is_some() => {
                    if self.path.threads.turn() {
                        service::alive();
                    }
                }
                (request, read) = self.reader.done() => self.take_in(request, read).await,
                Some(query) = self.queries.recv() => self.answer(query).await,
                1.. = handshakes.recv_many(&mut batch, BATCH) => {
                    self.receive(&mut batch, handshakes.len());
                }
            }
        }
    }

    /// Does this beside everything else, and no longer what was being told.
    pub(super) fn tell_name_servers(&mut self, tell: impl Future<Output = ()> + Send + 'static) {
        if let Some(before) = self.telling.replace(tokio::spawn(tell)) {
            before.abort();
        }
    }

    /// Takes in handshake messages, with `queued` more of them waiting.
    fn receive(&mut self, batch: &mut Vec<HandshakeMessage>, queued: usize) {
        let now = clock::now();
        let behind = (queued..queued.saturating_add(batch.len())).rev();
        for (HandshakeMessage { from, message }, queued) in batch.drain(..).zip(behind) {
            if let Err(reason) = self.tunnel.receive(now, from, &message, queued) {
                tracing::trace!(%from, reason = reason.name(), "discarded");
            }
        }
    }

    /// Answers what others ask; who has gone meanwhile gets no answer.
    async fn answer(&mut self, query: Query) {
        match query {
            Query::Read(request) => self.reader.begin(request),
            Query::Decide(decision, trial, answer) => {
                let _ = answer.send(self.decide(decision, trial.as_deref()).await);
            }
            Query::Status(answer) => {
                let _ = answer.send(self.status());
            }
            Query::Change(change, answer) => {
                let _ = answer.send(self.change(change));
            }
        }
    }

    /// Everything there is to say now.
    pub(super) fn status(&self) -> Status {
        let trial = self.trial.as_ref().map(|trial| trial.status(clock::boot()));
        let mtu = self.network.mtu();
        self.observer.status(&self.path, &self.tunnel, mtu, self.reader.own(), trial)
    }

    /// Tells those who listen what was done, and to which trial, if it was to one.
    pub(super) fn tell_listeners(&self, done: &str, trial: Option<&str>) {
        let remote = self.tunnel.endpoint().map(|endpoint| endpoint.remote);
        self.observer.tell(clock::now(), done, remote, trial);
    }

    /// Makes a change; if one part of it cannot be, none is made.
    fn change(&mut self, Change { endpoint, persistent_keepalive }: Change) -> bool {
        let now = clock::now();
        if endpoint.is_some_and(|remote| !self.tunnel.move_peer(now, remote)) {
            return false;
        }
        if let Some(interval) = persistent_keepalive {
            self.tunnel.set_persistent_keepalive(now, interval);
        }
        self.network.look_again();
        true
    }

    /// Counts what the kernel discarded.
    pub(super) fn count_not_received(&self) {
        let discarded = self.path.underlay.take_discarded();
        self.tunnel.stats().discard_many(Discard::NotReceived, discarded);
    }

    /// Takes out of the tunnel what there is to send, to tell and to wake, and sets the alarm.
    fn settle(&mut self, now: Now) -> anyhow::Result<()> {
        while let Some(event) = self.tunnel.poll_event() {
            let (endpoint, stats) = (self.tunnel.endpoint(), self.tunnel.stats());
            self.report.event(now.boot, &event, endpoint, stats);
            let remote = endpoint.map(|endpoint| endpoint.remote);
            self.observer.event(now, &event, self.report.reason(stats), remote);
            self.hooks.follow(&event, self.report.link_is_up());
            match event {
                Event::HandshakeCompleted { endpoint, role } => {
                    // That the peer reaches us says nothing of an endpoint that is tried.
                    if role == Role::Initiator || self.config.peer.endpoints.is_empty() {
                        self.trial.iter_mut().for_each(Trial::peer_answered);
                    }
                    self.tunnel.mix(&*entropy()?);
                    if self.path.underlay.settle_on(endpoint.source) {
                        self.path.threads.inbound.wake();
                    }
                    self.network.look_again();
                }
                Event::EndpointMoved(_) => self.network.look_again(),
                Event::NextEndpoint(number) => {
                    if let Some(endpoint) = self.endpoints.configured(number) {
                        self.report.tried(format_args!("calling the next endpoint, {endpoint}"));
                    }
                }
                _ => {}
            }
        }
        while let Some(request) = self.tunnel.poll_request() {
            match request {
                Request::LookUp(endpoint) => self.endpoints.look_up(endpoint),
                Request::ChangePort => self.change_port(),
            }
        }
        self.network.suspect(self.tunnel.take_suspect());
        while let Some(transmit) = self.tunnel.poll_transmit() {
            let bytes = transmit.message.as_bytes();
            self.path.underlay.send(&transmit.endpoint, bytes, HANDSHAKE_TOS);
        }
        let screen = self.tunnel.screen();
        if screen != self.screen {
            self.path.underlay.screen(screen.as_ref());
            self.screen = screen;
        }
        if self.tunnel.inbound_has_orders() {
            self.path.threads.inbound.wake();
        }
        if self.tunnel.outbound_has_orders() {
            self.path.threads.outbound.wake();
        }
        let due = self.tunnel.poll_timeout().map(|(at, _)| at);
        let next = due.into_iter().chain(self.trial.as_ref().map(Trial::ends)).min();
        self.alarm.set(next).context("setting the alarm")
    }

    fn change_port(&mut self) {
        match self.path.underlay.change_port() {
            Ok(port) => {
                self.report.tried(format_args!("sending from another UDP port, {port}"));
                // The new sockets have none yet.
                self.screen = None;
                self.path.threads.inbound.wake();
            }
            Err(error) => tracing::warn!(%error, "no other UDP port to send from"),
        }
    }
}

/// Ticks at once, and then at most once in `period`.
fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
