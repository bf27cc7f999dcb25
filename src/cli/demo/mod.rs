//! `tunneld demo`: two hosts on this machine, a real daemon in each, real traffic both ways, and what it measured.
//!
//! Each host is a thread in a network namespace of its own, without a name; a veth pair is the underlay between them.
//! Namespaces, devices and daemons end with the process that made them, even if that is killed.

mod daemon;
mod host;
mod leash;
mod namespace;
mod ping;
mod plan;
mod report;
mod tcp;
mod veth;
mod wait;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use daemon::Daemon;
use host::Host;
use plan::Plan;
use report::Report;
use wait::Watch;

/// What `tunneld demo` may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long TCP runs each way, in seconds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Runs the demonstration; an error if anything of it failed. It must be called before any thread is made.
///
/// # Errors
///
/// If a permission or a kernel feature is missing, or if any of the traffic did not get through.
pub fn run(options: &Options) -> Result<()> {
    let watch = Arc::new(Watch::new()?);
    namespace::leave_the_machine()?;
    let mut report = Report::new(options.json)?;
    let outcome = story(options, &watch, &mut report);
    // Here everything is removed again: the signal that asked for it may now end the process.
    watch.obey();
    report.finish(outcome)
}

/// The whole demonstration; whatever it made is gone when it returns.
fn story(options: &Options, watch: &Arc<Watch>, report: &mut Report) -> Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("tunneld-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let [a, b] = [Host::start("a")?, Host::start("b")?];
    veth::connect(&a, &b)?;
    let plan = Plan::new()?;

    let mut daemons = [
        Daemon::start(&a, directory.path(), &plan.config(0))?,
        Daemon::start(&b, directory.path(), &plan.config(1))?,
    ];
    let outcome = daemons_ready(&mut daemons, watch, report)
        .and_then(|()| traffic(options, [&a, &b], watch, report))
        .and_then(|()| stop([&a, &b], &mut daemons, watch, report));
    if outcome.is_err() && watch.caught().is_none() {
        for daemon in &mut daemons {
            report.log(daemon.host(), &daemon.log())?;
        }
    }
    outcome
}

/// Waits until both daemons say that they are ready.
fn daemons_ready(daemons: &mut [Daemon; 2], watch: &Watch, report: &mut Report) -> Result<()> {
    let began = wait::now();
    let outcome = daemons
        .iter_mut()
        .try_for_each(|daemon| daemon.wait_ready(watch))
        .map(|()| began.elapsed());
    report.step("start", outcome, |took| {
        format!("both daemons ready in {}", report::milliseconds(*took))
    })?;
    Ok(())
}

/// Pings and TCP, both ways, through the tunnel.
fn traffic(
    options: &Options,
    hosts: [&Host; 2],
    watch: &Arc<Watch>,
    report: &mut Report,
) -> Result<()> {
    let [a, b] = hosts;
    let first = ping::first_answer(a, plan::INNER_V4[1].into(), watch);
    report.step("handshake", first, |took| {
        format!("first ping answered after {}", report::milliseconds(*took))
    })?;

    let v4 = ping_both_ways(hosts, plan::INNER_V4.map(IpAddr::from), watch);
    report.figures.ping_ipv4_us = Some(report.ping("ping IPv4", v4)?);
    let v6 = ping_both_ways(hosts, plan::INNER_V6.map(IpAddr::from), watch);
    report.figures.ping_ipv6_us = Some(report.ping("ping IPv6", v6)?);

    let seconds = Duration::from_secs(options.seconds);
    let there = tcp::transfer(a, b, plan::INNER_V4[1].into(), seconds, watch);
    report.figures.tcp_a_to_b_gbps = Some(report.transfer("TCP a to b", there)?);
    let back = tcp::transfer(b, a, plan::INNER_V4[0].into(), seconds, watch);
    report.figures.tcp_b_to_a_gbps = Some(report.transfer("TCP b to a", back)?);
    Ok(())
}

/// Round trips from each host to the other's `inner` address.
fn ping_both_ways(
    hosts: [&Host; 2],
    inner: [IpAddr; 2],
    watch: &Arc<Watch>,
) -> Result<Vec<Duration>> {
    let mut trips = ping::round_trips(hosts[0], inner[1], watch)?;
    trips.extend(ping::round_trips(hosts[1], inner[0], watch)?);
    Ok(trips)
}

/// Ends both daemons as systemd would, and looks whether they left anything.
fn stop(
    hosts: [&Host; 2],
    daemons: &mut [Daemon; 2],
    watch: &Watch,
    report: &mut Report,
) -> Result<()> {
    let began = wait::now();
    let outcome = daemons
        .iter_mut()
        .try_for_each(|daemon| daemon.stop(watch))
        .map(|()| began.elapsed())
        .and_then(|took| {
            hosts.iter().try_for_each(|host| veth::expect_gone(host))?;
            Ok(took)
        });
    report.step("stop", outcome, |took| {
        format!("both daemons ended in {}, their devices are gone", report::milliseconds(*took))
    })?;
    Ok(())
}
