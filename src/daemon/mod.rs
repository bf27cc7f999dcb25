//! The daemon: device, underlay and tunnel joined by three threads.
//!
//! - *outbound* (`outbound.rs`): device → sealed datagrams → underlay;
//! - *inbound* (`inbound.rs`): underlay → opened in place → device;
//! - *control* (`control.rs`), on the thread that calls [`run`]: everything that happens seldom.
//!
//! The data threads never wait for control. They share the device and the sockets with it, and the state in
//! [`crate::proto`].

mod backoff;
mod clock;
mod control;
mod doors;
mod endpoints;
mod http;
mod inbound;
mod lines;
mod local;
mod lock;
mod metrics;
mod network;
pub(crate) mod observer;
mod outbound;
mod query;
mod readable;
mod report;
pub(crate) mod runtime;
mod service;
mod socket;
mod state;
pub(crate) mod status;
mod threads;
mod uapi;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use nix::sys::prctl;
use tokio::sync::mpsc;

use crate::config::{self, Config, Interface, Table};
use crate::crypto::secret::Secret;
use crate::net::{Underlay, UnderlayCounters, UnderlayDiscard};
use crate::proto::{self, HANDSHAKE_QUEUE, Parameters, Stats};
use crate::tun::{Link, LinkSettings, Tun, TunCounters};
use crate::wire::{Endpoint, Handshake, Offload};
use clock::Alarm;
use control::{Control, Ended};
use doors::Doors;
use endpoints::Endpoints;
use lock::InterfaceLock;
use network::Network;
use observer::{About, Observer};
use query::Asker;
use report::Report;
use service::Signals;
use state::State;
use threads::Threads;

/// The MTU until the path to the peer is known: that of an IPv6 path of 1500 bytes.
const DEFAULT_MTU: u32 = 1420;

/// How long a thread waits for more that blocks: as long as the daemon runs.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What the threads share besides the tunnel's own state.
struct DataPath {
    tun: Tun,
    underlay: Arc<Underlay>,
    threads: Threads,
}

/// A handshake message on its way to control.
struct HandshakeMessage {
    from: Endpoint,
    message: Handshake,
}

/// Runs the link that the configuration in `file` describes until SIGTERM or SIGINT, then removes what it made.
///
/// # Errors
/// [`ConfigError`](config::ConfigError); or the link could not be set up, or broke for good: the device was deleted.
pub fn run(file: &Path) -> anyhow::Result<()> {
    // Keys must not reach the disk in a core file. The unit's LimitCORE does not keep them from a program that the kernel
    // pipes core files to.
    prctl::set_dumpable(false).context("forbidding core files")?;
    let config = Config::load(file)?;
    let _lock = InterfaceLock::take(&config.interface.name)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Once there is a thread for what blocks, it stays: that none can be made later must not end the daemon.
        .thread_keep_alive(FOREVER)
        .build()
        .context("starting the control thread's runtime")?;
    runtime.spawn_blocking(|| ());
    let result = runtime.block_on(run_on(config));
    // A name lookup may hang in the system's resolver: nobody waits for it.
    runtime.shutdown_background();
    result
}

async fn run_on(config: Config) -> anyhow::Result<()> {
    let signals = Signals::listen().context("listening for signals")?;
    let Config { interface, peer, metrics } = config;
    let about = About::new(&interface, &peer);
    let config::Offload { tun_gso, tun_gro, udp_gso, udp_gro } = interface.offload;
    let tun = Tun::open(&interface.name, Offload { gso: tun_gso, gro: tun_gro })?;
    let wanted = Offload { gso: udp_gso, gro: udp_gro };
    let underlay = Arc::new(Underlay::bind(interface.listen_port, interface.fwmark, wanted)?);
    let mut link = Link::open(&tun).await?;
    let mtu = interface.mtu.map_or(DEFAULT_MTU, u32::from);
    let settings = settings(&interface, &peer.allowed_ips, mtu);
    if let Err(error) = link.configure(&settings).await {
        let _ = link.undo().await;
        return Err(error.into());
    }
    let ours = interface.private_key.public_key();
    let state = State::load(&ours, &peer.public_key);
    clock::check(state.timestamp());
    let routed = routed(&interface, &settings.routes);
    let parameters = Parameters {
        private_key: interface.private_key,
        public_key: peer.public_key,
        preshared_key: peer.preshared_key,
        allowed_ips: peer.allowed_ips,
        addresses: interface.addresses.iter().map(IpNet::addr).collect(),
        routed,
        endpoints: vec![Vec::new(); peer.endpoints.len()],
        last_timestamp: state.timestamp(),
        persistent_keepalive: peer.persistent_keepalive,
        mtu: mtu as usize,
    };
    let (tunnel, outbound, inbound) = proto::tunnel(&parameters, &*entropy()?);
    // The tunnel has the keys: they are to be in memory once.
    drop(parameters);

    let observer = Observer::new(clock::boot(), about, peer.persistent_keepalive.is_some());
    let (asker, queries) = Asker::new(observer.notices());
    let _doors = Doors::open(&interface.name, metrics.map(|metrics| metrics.listen), &asker);
    let path = Arc::new(DataPath {
        tun,
        underlay,
        threads: Threads::new().context("making the threads' wake-ups")?,
    });
    let (handshakes_in, handshakes) = mpsc::channel(HANDSHAKE_QUEUE);
    let (failures_in, failures) = mpsc::channel(2);
    let threads = [
        spawn("outbound", &path, &failures_in, move |path| outbound::run(path, outbound))?,
        spawn("inbound", &path, &failures_in, move |path| {
            inbound::run(path, inbound, handshakes_in)
        })?,
    ];
    let least_mtu = config::least_mtu(&interface.addresses).into();
    let follows_path = interface.mtu.is_none().then_some(least_mtu);
    let mut control = Control {
        path: Arc::clone(&path),
        tunnel,
        report: Report::new(ours),
        observer,
        queries,
        endpoints: Endpoints::new(peer.endpoints),
        alarm: Alarm::new().context("making the alarm")?,
        network: Network::new(link, settings, interface.fwmark, follows_path),
        state,
        screen: None,
    };
    tell_started(&path);
    let ended = control.run(signals, failures, handshakes).await;
    stop(&path, threads, control).await;
    match ended? {
        Ended::Signal(signal) => {
            tracing::info!("stopped: {signal}");
            Ok(())
        }
        Ended::Failure(failure) => Err(failure),
    }
}

/// 32 random bytes of the system.
fn entropy() -> anyhow::Result<Secret> {
    let mut bytes = Secret::zero();
    getrandom::fill(&mut *bytes).context("asking the system for randomness")?;
    Ok(bytes)
}

/// The networks whose way is through the device. Routes in a table of its own are for packets that the
/// administrator's rules send there: outer packets may take another way.
fn routed(interface: &Interface, routes: &[IpNet]) -> Vec<IpNet> {
    let routes = if interface.table == Table::Auto { routes } else { &[] };
    interface.addresses.iter().chain(routes).copied().collect()
}

fn settings(interface: &Interface, allowed_ips: &[IpNet], mtu: u32) -> LinkSettings {
    let (routes, table) = match interface.table {
        Table::Auto => (allowed_ips.to_vec(), None),
        Table::Off => (Vec::new(), None),
        Table::Number(table) => (allowed_ips.to_vec(), Some(table)),
    };
    LinkSettings { addresses: interface.addresses.clone(), mtu: Some(mtu), routes, table }
}

fn tell_started(path: &DataPath) {
    let (device, port) = (path.tun.name(), path.underlay.port());
    let udp = path.underlay.offload();
    tracing::info!(
        device,
        port,
        tun_gso = %path.tun.gives(),
        tun_gro = %path.tun.takes(),
        udp_gso = udp.gso,
        udp_gro = udp.gro,
        "started"
    );
    service::ready(&format!("running {device}, UDP port {port}"));
}

/// Starts a data thread; if it fails, control hears of it.
fn spawn(
    name: &'static str,
    path: &Arc<DataPath>,
    failures: &mpsc::Sender<anyhow::Error>,
    body: impl FnOnce(&DataPath) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let (path, failures) = (Arc::clone(path), failures.clone());
    let run = move || {
        if let Err(error) = body(&path) {
            // The queue has room for each thread's one failure.
            let _ = failures.try_send(error.context(format!("the {name} thread ended")));
        }
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .with_context(|| format!("starting the {name} thread"))
}

/// Ends the data threads, erases the keys, takes back what was changed, and tells the counters.
async fn stop(path: &DataPath, threads: [JoinHandle<()>; 2], mut control: Control) {
    service::stopping();
    path.threads.stop();
    for thread in threads {
        // A thread that panicked has aborted the process.
        let _ = thread.join();
    }
    control.tunnel.erase();
    control.state.finish().await;
    if let Err(error) = control.network.undo().await {
        tracing::warn!(%error, "not everything could be taken back");
    }
    control.count_not_received();
    tell_counters(path, control.tunnel.stats());
}

fn tell_counters(path: &DataPath, stats: &Stats) {
    let ((sent, sent_bytes), (received, received_bytes)) = (stats.sent(), stats.received());
    tracing::info!(
        sent,
        sent_bytes,
        received,
        received_bytes,
        "discarded: {}",
        report::discards(stats)
    );
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    // About 1 on the way that large transfers took: the offload was not used.
    let per_call = |count: &AtomicU64, calls: &AtomicU64| {
        format!("{:.1}", load(count) as f64 / load(calls).max(1) as f64)
    };
    let UnderlayCounters { send, receive } = path.underlay.counters();
    tracing::info!(
        sent = load(&send.datagrams),
        send_calls = load(&send.calls),
        per_send = per_call(&send.datagrams, &send.calls),
        gso_refused = load(&send.gso_refused),
        received = load(&receive.datagrams),
        receive_calls = load(&receive.calls),
        per_receive = per_call(&receive.datagrams, &receive.calls),
        truncated = load(&receive.truncated),
        "underlay: not sent: {}",
        report::named(UnderlayDiscard::ALL.iter().map(|why| (why.name(), send.discarded(*why))))
    );
    let TunCounters { read, write } = path.tun.counters();
    tracing::info!(
        read = load(&read.packets),
        read_calls = load(&read.calls),
        per_read = per_call(&read.packets, &read.calls),
        superpackets_read = load(&read.superpackets),
        malformed = load(&read.malformed),
        written = load(&write.packets),
        write_calls = load(&write.calls),
        per_write = per_call(&write.packets, &write.calls),
        superpackets_written = load(&write.superpackets),
        down = load(&write.down),
        refused = load(&write.refused),
        superpackets_refused = load(&write.superpackets_refused),
        "device"
    );
}
