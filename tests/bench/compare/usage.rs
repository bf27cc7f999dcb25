//! What a daemon uses, as /proc tells it, with all its threads and child processes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// CPU time in /proc counts in hundredths of a second on every architecture.
const TICKS: f64 = 100.0;

/// The figures of one daemon; all but `resident` count from its start.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Usage {
    /// Seconds of CPU time, of user and system.
    pub(crate) cpu: f64,
    /// Bytes of memory in use.
    pub(crate) resident: f64,
    /// How often it went to sleep, and so was woken.
    pub(crate) switches: f64,
}

impl Usage {
    /// Of a process and its descendants.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut usage = Self::default();
        for pid in with_descendants(root)? {
            let process = Path::new("/proc").join(pid.to_string());
            let Some(stat) = Stat::read(&process) else { continue };
            usage.cpu += stat.ticks / TICKS;
            usage.resident += status(&process, "VmRSS:") * 1024.0;
            let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
            usage.switches += threads
                .map(|thread| status(&thread.path(), "voluntary_ctxt_switches:"))
                .sum::<f64>();
        }
        Ok(usage)
    }
}

/// A process and all that descend from it.
fn with_descendants(root: u32) -> Result<Vec<u32>> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .context("cannot read /proc")?
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, Stat::read(&entry.path())?.parent))
        })
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    Ok(family)
}

/// What `stat` says of a process.
struct Stat {
    parent: u32,
    /// Of user and system.
    ticks: f64,
}

impl Stat {
    /// `None` if the process is gone.
    fn read(process: &Path) -> Option<Self> {
        let text = fs::read_to_string(process.join("stat")).ok()?;
        // The name, in parentheses, may hold anything; what follows are fields 3 and on of proc_pid_stat(5).
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3);
        let ticks = |number| field(number)?.parse::<f64>().ok();
        Some(Self { parent: field(4)?.parse().ok()?, ticks: ticks(14)? + ticks(15)? })
    }
}

/// The number in a line of `status`; 0 if it is not there.
pub(crate) fn status(process: &Path, key: &str) -> f64 {
    let text = fs::read_to_string(process.join("status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}
