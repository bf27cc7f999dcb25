//! Where and when a run was made.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::options::Options;
use crate::report::Circumstances;

/// Of this run, on this machine.
pub(crate) fn look_around(options: &Options) -> Result<Circumstances> {
    let today = Command::new("date").arg("+%F").output().context("cannot run `date`")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("/proc is missing")?;
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?;
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown model", |(_, model)| model);
    Ok(Circumstances {
        date: String::from_utf8_lossy(&today.stdout).trim().to_owned(),
        kernel: kernel.trim().to_owned(),
        machine: format!("{cpus} CPUs ({model})"),
        rounds: options.rounds,
        seconds: options.seconds.as_secs_f64(),
    })
}
