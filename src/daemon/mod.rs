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
mod dns;
mod doors;
mod endpoints;
mod handover;
mod hooks;
mod inbound;
mod kill_switch;
mod lock;
mod network;
pub(crate) mod observer;
mod outbound;
mod readable;
mod reader;
mod reload;
mod report;
pub(crate) mod runtime;
mod service;
mod state;
pub(crate) mod status;
mod threads;
pub(crate) mod trial;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
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
use crate::proto::{self, HANDSHAKE_QUEUE, Inbound, Parameters, Stats};
use crate::tun::{Origin, Tun, TunCounters};
use crate::wire::{Endpoint, Handshake, Offload};
use clock::Alarm;
use control::{Control, Ended};
use dns::Dns;
use doors::Doors;
use doors::query::Asker;
use endpoints::Endpoints;
use handover::Kept;
use hooks::Hooks;
use kill_switch::KillSwitch;
use lock::InterfaceLock;
use network::Network;
use observer::{About, Observer};
use reader::Reader;
use report::Report;
use service::Signals;
use state::State;
use threads::Threads;

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

/// Sets how much is logged; whether it could, as the environment may override it.
pub type SetLogLevel = fn(tracing::Level) -> bool;

/// Runs the link that the configuration in `file` describes until SIGTERM or SIGINT, then removes what it made. Logs as
/// much as that says, by `set_log_level`.
///
/// # Errors
/// [`ConfigError`](config::ConfigError); or the link could not be set up, or broke for good: the device was deleted.
pub fn run(file: &Path, set_log_level: SetLogLevel) -> anyhow::Result<()> {
    // Keys must not reach the disk in a core file. The unit's LimitCORE does not keep them from a program that the kernel
    // pipes core files to.
    prctl::set_dumpable(false).context("forbidding core files")?;
    // First of all: the sessions are to be erased, whatever comes next.
    let kept = Kept::take();
    let config = load(file, &kept)?;
    set_log_level(config.log_level);
    let _lock = InterfaceLock::take(&config.interface.name)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Once there is a thread for what blocks, it stays: that none can be made later must not end the daemon.
        .thread_keep_alive(FOREVER)
        .build()
        .context("starting the control thread's runtime")?;
    runtime.spawn_blocking(|| ());
    // What is told of it must mean the same to others, wherever they are.
    let file = std::path::absolute(file).context("asking where this process is")?;
    let result = runtime.block_on(run_on(file, config, kept, set_log_level));
    // A name lookup may hang in the system's resolver, or a file on its disk: nobody waits for it.
    runtime.shutdown_background();
    result
}

async fn run_on(
    file: PathBuf,
    config: Config,
    kept: Kept,
    set_log_level: SetLogLevel,
) -> anyhow::Result<()> {
    let signals = Signals::listen().context("listening for signals")?;
    let interface = &config.interface;
    // Before all else: nothing is to leave while the rest is set up.
    let kill_switch = kill_switch(&config, kept.kill_switch)?;
    let tun = device(interface, kept.device).await?;
    let underlay = underlay(&config, kept.underlay)?;
    let network = Network::new(&config, &tun).await?;
    let dns = Dns::new(&config, &tun);
    let hooks = Hooks::new(&config);
    let peer = &config.peer;
    let ours = interface.private_key.public_key();
    let state = State::load(&ours, &peer.public_key);
    clock::check(state.timestamp());
    let parameters = parameters(&config, state.timestamp());
    let (mut tunnel, outbound, mut inbound) = proto::tunnel(&parameters, &*entropy()?);
    if let Some(handover) = kept.sessions {
        tunnel.take_over(clock::boot(), &handover);
    }
    // The tunnel has the keys, and the configuration: they are to be nowhere else.
    drop(parameters);

    let calls = peer.persistent_keepalive.is_some();
    let observer = Observer::new(clock::boot(), About::new(&config), calls);
    let (asker, queries) = Asker::new(observer.notices());
    let _doors = Doors::open(&interface.name, config.metrics.map(|metrics| metrics.listen), &asker);
    let path = Arc::new(DataPath {
        tun,
        underlay: Arc::new(underlay),
        threads: Threads::new().context("making the threads' wake-ups")?,
    });
    let (handshakes_in, handshakes) = mpsc::channel(HANDSHAKE_QUEUE);
    let (failures_in, failures) = mpsc::channel(2);
    let threads = (
        spawn("outbound", &path, &failures_in, move |path| (outbound::run(path, outbound), ()))?,
        spawn("inbound", &path, &failures_in, move |path| {
            (inbound::run(path, &mut inbound, handshakes_in), inbound)
        })?,
    );
    let mut control = Control {
        reader: Reader::new(file),
        trial: None,
        set_log_level,
        path: Arc::clone(&path),
        tunnel,
        report: Report::new(ours),
        observer,
        queries,
        endpoints: Endpoints::new(config.peer.endpoints.clone()),
        hooks,
        alarm: Alarm::new().context("making the alarm")?,
        network,
        kill_switch,
        dns,
        telling: None,
        state,
        screen: None,
        config,
    };
    let dns = control.dns.clone();
    control.tell_name_servers(async move { dns.begin().await });
    tell_started(&path);
    service::ready(&control.running());
    control.hooks.up();
    let ended = control.run(signals, failures, handshakes).await;
    stop(&path, threads, &mut control, &ended).await;
    match ended? {
        Ended::Signal(signal) => {
            tracing::info!("stopped: {signal}");
            Ok(())
        }
        Ended::Failure(failure) => Err(failure),
    }
}

/// Reads the configuration. If it is wrong while a kill switch is on, that is no mistake to give up at: the service
/// manager would let go of the rules.
fn load(file: &Path, kept: &Kept) -> anyhow::Result<Config> {
    Config::load(file).map_err(|error| match kept.kill_switch {
        Some(_) => anyhow::anyhow!("{error}; the kill switch stays on until that is mended"),
        None => error.into(),
    })
}

/// Turns the kill switch on, if it is wanted; with the socket that was kept, if that is for the same interface.
fn kill_switch(
    config: &Config,
    kept: Option<(String, OwnedFd)>,
) -> anyhow::Result<Option<KillSwitch>> {
    let name = &config.interface.name;
    let (same, other): (Option<_>, Option<_>) = match kept {
        Some((of, socket)) if of == *name => (Some(socket), None),
        other => (None, other),
    };
    let kill_switch = KillSwitch::of(config, same)?;
    handover::keep_kill_switch(name, kill_switch.as_ref());
    // Not before the new rules hold.
    if let Some((of, _socket)) = other {
        handover::keep_kill_switch(&of, None);
    }
    Ok(kill_switch)
}

/// Opens the device, or goes on with the one that was kept.
async fn device(interface: &Interface, kept: Option<OwnedFd>) -> anyhow::Result<Tun> {
    let config::Offload { tun_gso: gso, tun_gro: gro, .. } = interface.offload;
    let (name, wanted) = (interface.name.as_str(), Offload { gso, gro });
    if let Some(kept) = kept {
        if let Some(tun) = Tun::inherit(kept, name, wanted).await? {
            return Ok(tun);
        }
        handover::forget_device();
    }
    let tun = Tun::open(name, wanted)?;
    if tun.origin() == Origin::Created {
        handover::keep_device(tun.as_fd());
    }
    Ok(tun)
}

/// Binds the sockets, or goes on with those that were kept.
fn underlay(config: &Config, kept: Vec<OwnedFd>) -> anyhow::Result<Underlay> {
    let interface = &config.interface;
    let config::Offload { udp_gso: gso, udp_gro: gro, .. } = interface.offload;
    let wanted = Offload { gso, gro };
    let underlay = Underlay::bind(interface.listen_port, config.mark(), wanted, kept)?;
    handover::keep_underlay(&underlay.main());
    Ok(underlay)
}

/// 32 random bytes of the system.
fn entropy() -> anyhow::Result<Secret> {
    let mut bytes = Secret::zero();
    getrandom::fill(&mut *bytes).context("asking the system for randomness")?;
    Ok(bytes)
}

/// What the configuration says to the tunnel; its endpoints are still to be resolved.
fn parameters(
    Config { interface, peer, .. }: &Config,
    last_timestamp: Option<Duration>,
) -> Parameters {
    Parameters {
        routed: routed(interface, &peer.allowed_ips),
        addresses: interface.addresses.iter().map(IpNet::addr).collect(),
        private_key: interface.private_key.clone(),
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.clone(),
        allowed_ips: peer.allowed_ips.clone(),
        endpoints: vec![Vec::new(); peer.endpoints.len()],
        last_timestamp,
        persistent_keepalive: peer.persistent_keepalive,
        mtu: interface.mtu.map_or(network::DEFAULT_MTU, u32::from) as usize,
    }
}

/// The networks whose way is through the device. Routes in a table of its own are for packets that the administrator's
/// rules send there: outer packets may take another way. Past a default route of ours they do, by their mark.
fn routed(interface: &Interface, allowed_ips: &[IpNet]) -> Vec<IpNet> {
    let routes = if interface.table == Table::Auto { allowed_ips } else { &[] };
    let routes = routes.iter().filter(|network| network.prefix_len() != 0);
    interface.addresses.iter().chain(routes).copied().collect()
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

/// Ends the data threads, leaves the sessions to the next process, erases the keys, takes back what was changed, and tells the
/// counters.
async fn stop(
    path: &DataPath,
    (outbound, inbound): (JoinHandle<()>, JoinHandle<Inbound>),
    control: &mut Control,
    ended: &anyhow::Result<Ended>,
) {
    service::stopping();
    path.threads.stop();
    // A thread that panicked has aborted the process.
    let (_, inbound) = (outbound.join(), inbound.join());
    if let (Ok(Ended::Signal(_)), Ok(inbound)) = (ended, inbound)
        && let Err(error) = handover::leave(&control.tunnel.hand_over(inbound))
    {
        tracing::warn!(%error, "the sessions end with this process");
    }
    control.tunnel.erase();
    control.tell_name_servers(std::future::ready(()));
    control.dns.undo().await;
    control.state.finish().await;
    control.hooks.finish().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;

    #[test]
    fn a_default_route_of_ours_hides_no_endpoint_but_other_networks_do() {
        let key = |byte| PrivateKey::clamped([byte; 32]);
        let text = format!(
            "[interface]\naddresses = ['10.77.0.1/30', 'fd77::1/64']\nprivate_key = '{}'\n[peer]\npublic_key = '{}'\nallowed_ips = ['0.0.0.0/0', '2001:db8::/32']",
            key(1).to_base64().as_str(),
            key(2).public_key()
        );
        let Config { interface, peer, .. } = Config::parse(&text, Path::new("t")).unwrap();
        let inside = routed(&interface, &peer.allowed_ips);
        let shown: Vec<String> = inside.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.77.0.1/30", "fd77::1/64", "2001:db8::/32"]);
    }
}
