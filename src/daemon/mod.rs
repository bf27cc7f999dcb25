//! The daemon: device, underlay and tunnel joined by three threads.
//!
//! - *outbound* (`outbound.rs`): device → sealed datagrams → underlay;
//! - *inbound* (`inbound.rs`): underlay → opened in place → device;
//! - *control* (`control.rs`), on the thread that calls [`run`]: everything that happens seldom.
//!
//! The data threads never wait for control. They share the device and the sockets with it, and the state in
//! [`crate::proto`].

mod backoff;
pub(crate) mod clock;
mod control;
mod data_path;
mod dns;
mod doors;
mod endpoints;
pub(crate) mod entropy;
mod handover;
mod hooks;
mod inbound;
mod kill_switch;
mod lock;
pub(crate) mod network;
pub(crate) mod observer;
mod outbound;
mod parameters;
mod readable;
mod reader;
mod reload;
mod report;
pub(crate) mod runtime;
mod sandbox;
mod service;
mod shaper;
pub(crate) mod state;
pub(crate) mod status;
mod threads;
mod totals;
pub(crate) mod trial;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::prctl;

use crate::config::{self, Config, Interface};
use crate::net::Underlay;
use crate::proto::{self, Handover, Inbound, Outbound, Tunnel};
use crate::tun::{Origin, Record, StandIn, Tun};
use crate::wire::Offload;
use clock::Alarm;
use control::{Control, Ended};
use data_path::{DataPath, DataThreads, HandshakeMessage};
use dns::Dns;
use doors::Doors;
use doors::query::Asker;
use endpoints::Endpoints;
use entropy::entropy;
use handover::Kept;
use hooks::Hooks;
use kill_switch::KillSwitch;
use lock::InterfaceLock;
use network::Network;
use observer::{About, Observer};
use parameters::parameters;
use reader::Reader;
use report::Report;
use service::Signals;
use state::State;

/// How long a thread waits for more that blocks: as long as the daemon runs.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Sets how much is logged; whether it could, as the environment may override it.
pub type SetLogLevel = fn(tracing::Level) -> bool;

/// Runs the link that the configuration in `file` describes until SIGTERM or SIGINT, then removes what it made. At
/// SIGUSR1 it ends too, and leaves that to the next process. Logs as much as the configuration says, by `set_log_level`.
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
    let record = record(kept.network)?;
    // Before all else: nothing is to leave while the rest is set up.
    let kill_switch = kill_switch(&config, kept.kill_switch)?;
    let (tun, stand_in) = device(&config.interface, kept.device, kept.stand_in, &record).await?;
    let underlay = underlay(&config, kept.underlay)?;
    let network = Network::new(&config, &tun, record).await?;
    if let Some(stand_in) = stand_in {
        handover::forget_stand_in();
        stand_in.remove().await;
    }
    let ours = config.interface.private_key.public_key();
    let state = State::load(&ours, &config.peer.public_key);
    let (tunnel, outbound, inbound) = tunnel(&config, &state, kept.sessions)?;
    network.tell_mtu(&tunnel);
    let calls = config.peer.persistent_keepalive.is_some();
    let observer = Observer::new(clock::boot(), About::new(&config), calls);
    let (asker, queries) = Asker::new(observer.notices());
    let metrics = config.metrics.map(|metrics| metrics.listen);
    let _doors = Doors::open(&config.interface.name, metrics, &asker);
    let (dns, hooks) = (Dns::new(&config, &tun), Hooks::new(&config));
    // Before there is another thread: it would not be confined.
    sandbox::confine_control(&runtime::writable());
    tokio::task::spawn_blocking(|| ());
    let path = Arc::new(DataPath::new(tun, underlay, &config.interface.shaping)?);
    let (threads, reports) = DataThreads::start(&path, outbound, inbound)?;
    let mut control = Control {
        reader: Reader::new(file),
        trial: None,
        last_trial: None,
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
    begin(&mut control);
    let ended = control.run(signals, reports).await;
    stop(threads, &mut control, &ended).await;
    outcome(ended)
}

/// The tunnel, with the sessions that an earlier process has left.
fn tunnel(
    config: &Config,
    state: &State,
    sessions: Option<Handover>,
) -> anyhow::Result<(Tunnel, Outbound, Inbound)> {
    clock::check(state.timestamp());
    // The tunnel has the keys, and the configuration: with these parameters they are nowhere else for long.
    let parameters = parameters(config, state.timestamp());
    let (mut tunnel, outbound, inbound) = proto::tunnel(&parameters, &*entropy()?);
    if let Some(handover) = sessions {
        tunnel.take_over(clock::boot(), &handover);
    }
    let shaping = &config.interface.shaping;
    tunnel.set_rewrites(shaping.copy_dscp, shaping.clamp_mss);
    Ok((tunnel, outbound, inbound))
}

/// Tells everybody that the link is set up.
fn begin(control: &mut Control) {
    let dns = control.dns.clone();
    let goes_on = control.network.goes_on();
    control.tell_name_servers(async move { dns.begin(goes_on).await });
    tell_started(&control.path);
    service::ready(&control.running());
    control.hooks.up();
}

/// What the end of the loop means for the process.
fn outcome(ended: anyhow::Result<Ended>) -> anyhow::Result<()> {
    match ended? {
        Ended::Signal(signal) => tracing::info!("stopped: {signal}"),
        Ended::Restart => {
            tracing::info!("stopped for a restart: what was made in the network stays");
        }
        Ended::Failure(failure) => return Err(failure),
    }
    Ok(())
}

/// Reads the configuration. If it is wrong while something holds packets back, that is no mistake to give up at: the
/// service manager would let go of it.
fn load(file: &Path, kept: &Kept) -> anyhow::Result<Config> {
    Config::load(file).map_err(|error| match kept.guard() {
        Some(guard) => anyhow::anyhow!("{error}; {guard} until that is mended"),
        None => error.into(),
    })
}

/// The list of what is ours in the network: the one that was kept, or a new one.
fn record(kept: Option<Record>) -> anyhow::Result<Record> {
    if let Some(record) = kept {
        return Ok(record);
    }
    let record = Record::new().context("making a memory file")?;
    handover::keep_network(&record);
    Ok(record)
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

/// Opens the device, or goes on with the one that was kept. If that was for another one, something stands in for it,
/// until the default routes lead to this one.
async fn device(
    interface: &Interface,
    kept: Option<OwnedFd>,
    stand_in: Option<StandIn>,
    record: &Record,
) -> anyhow::Result<(Tun, Option<StandIn>)> {
    let config::Offload { tun_gso: gso, tun_gro: gro, .. } = interface.offload;
    let (name, layer) = (interface.name.as_str(), interface.layer());
    let wanted = Offload { gso, gro };
    let other = match kept {
        Some(same) if Tun::is_device(same.as_fd(), name, layer) => {
            return Ok((Tun::inherit(same, name, layer, wanted)?, stand_in));
        }
        other => other,
    };
    // One that was there before the daemon still has its routes.
    let has_routes = other.is_none() && record.is_of(name);
    let stand_in = match stand_in {
        None if !has_routes => stand_in_for(record).await,
        kept => kept,
    };
    if let Some(other) = other {
        // It is kept, and holds packets back, until something else can.
        anyhow::ensure!(
            stand_in.is_some() || !record.has_rules(),
            "nothing can stand in for the device before: it stays, and the default route with it"
        );
        handover::forget_device();
        Tun::remove(other).await;
    }
    let tun = Tun::open(name, layer, wanted)?;
    tun.refuse_shared().await?;
    if tun.origin() == Origin::Created {
        handover::keep_device(tun.as_fd());
    }
    Ok((tun, stand_in))
}

/// What stands in for a device to which default routes lead, if there are any.
async fn stand_in_for(record: &Record) -> Option<StandIn> {
    if !record.has_rules() {
        return None;
    }
    let opened = StandIn::open(record).await.inspect_err(|error| {
        tracing::warn!(%error, "nothing can stand in for the device: packets for the default route may leave past the tunnel");
    });
    let stand_in = opened.ok()?;
    handover::keep_stand_in(&stand_in);
    Some(stand_in)
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

/// Ends the data threads, leaves the sessions to the next process unless this one failed, erases the keys, takes back
/// what was changed unless that process is to find it, and tells the counters.
async fn stop(threads: DataThreads, control: &mut Control, ended: &anyhow::Result<Ended>) {
    let failed = matches!(ended, Ok(Ended::Failure(_)) | Err(_));
    // A service manager starts the daemon anew, and lets go of all that it keeps when it gives up or is to stop.
    let left = failed && control.path.tun.origin() != Origin::Found && handover::has_keeper();
    // The device may be gone.
    let _stand_in = if left { stand_in_for(control.network.record()).await } else { None };
    let stays = left || matches!(ended, Ok(Ended::Restart));
    service::stopping();
    let inbound = threads.stop(&control.path);
    if let (Ok(Ended::Signal(_) | Ended::Restart), Some(inbound)) = (ended, inbound)
        && let Err(error) = handover::leave(&control.tunnel.hand_over(inbound))
    {
        tracing::warn!(%error, "the sessions end with this process");
    }
    control.tunnel.erase();
    control.tell_name_servers(std::future::ready(()));
    if !stays {
        control.dns.undo().await;
    }
    control.state.finish().await;
    control.hooks.finish().await;
    if !stays && let Err(error) = control.network.undo().await {
        tracing::warn!(%error, "not everything could be taken back");
    }
    control.count_not_received();
    totals::tell(&control.status());
}
