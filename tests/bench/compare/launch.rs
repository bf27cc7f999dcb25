//! Programs inside the lab. Each is started through this program itself, which enters the namespace, keeps to its CPU,
//! ties its life to the benchmark's, and only then becomes the other program, under the same process number.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Error, Result, bail};
use clap::Args;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::lab::{Lab, Side};
use crate::report::Cpus;
use crate::signals;

/// The CPU of those that are pinned to one.
const PINNED: usize = 0;

/// The last so many lines of a log are worth showing.
const LINES: usize = 5;

/// A program, and where it is to run.
#[derive(Args)]
pub(crate) struct Inside {
    /// The file of the network namespace
    namespace: PathBuf,

    /// Keep to one CPU
    #[arg(long)]
    pinned: bool,

    /// The program and its arguments
    #[arg(last = true, required = true)]
    words: Vec<OsString>,
}

/// A command that runs `program` on a host; arguments may follow.
pub(crate) fn command(lab: &Lab, side: Side, program: impl Into<OsString>) -> Result<Command> {
    let mut command = Command::new(this_program()?);
    command.arg("inside").arg(lab.namespace_file(side));
    if lab.cpus() == Cpus::One {
        command.arg("--pinned");
    }
    // A group of its own: Ctrl-C on the terminal is for the benchmark alone.
    command.arg("--").arg(program.into()).stdin(Stdio::null()).process_group(0);
    Ok(command)
}

/// This very file.
pub(crate) fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's file")
}

/// Enters the namespace and becomes the program; returns only if it cannot.
pub(crate) fn become_program(there: &Inside) -> Result<()> {
    let namespace = File::open(&there.namespace)
        .with_context(|| format!("no namespace {}", there.namespace.display()))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
    if there.pinned {
        let mut cpus = CpuSet::new();
        cpus.set(PINNED)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot keep to one CPU")?;
    }
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the program to the benchmark")?;
    signals::release()?;
    let Some((program, arguments)) = there.words.split_first() else {
        bail!("no program is named");
    };
    let error = Command::new(program).args(arguments).exec();
    Err(Error::new(error).context(format!("cannot run {}", program.display())))
}

/// A daemon of a tunnel; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it says goes into a file of the lab.
    pub(crate) fn start(lab: &Lab, side: Side, mut command: Command) -> Result<Self> {
        let log = lab.path(side, "log");
        let file = File::create(&log).context("cannot make a log")?;
        let errors = file.try_clone().context("cannot share a log")?;
        let child = command.stdout(file).stderr(errors).spawn().context("cannot start a daemon")?;
        Ok(Self { child, log })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// An error, with its last words, if it has ended.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look after a daemon")? {
            bail!("the daemon ended ({status}): {}", self.last_words());
        }
        Ok(())
    }

    /// The last lines of its log, as one.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        lines[lines.len().saturating_sub(LINES)..].join(" / ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
