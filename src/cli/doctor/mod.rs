//! `tunneld doctor`: whether this host lets a configuration work, and what to do if not.
//!
//! `facts` asks the host, `verdict` judges what it said without asking anything itself, `report` prints.

mod ethernet;
mod facts;
mod finding;
mod firewall;
mod network;
mod permissions;
mod report;
mod synchronised;
#[cfg(test)]
mod tests;
mod verdict;

use clap::Args;

use super::ConfigFile;
use facts::Facts;
use finding::Verdict;

/// What is to be looked at.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Print all of it as one line of JSON
    #[arg(long)]
    json: bool,
}

/// The link cannot start; the report says why.
#[derive(Debug, thiserror::Error)]
#[error("the link cannot start: of what was found {count} is bad")]
pub struct Unwell {
    count: usize,
    /// Whether the configuration is among what is bad.
    pub mistake: bool,
}

/// Looks, and prints what it found. What it tries is gone again afterwards: a device of another name, and a socket.
///
/// # Errors
/// [`Unwell`]; or standard output.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    let facts = runtime.block_on(Facts::gather(&options.file.config));
    // A name lookup may hang in the system's resolver: nobody waits for it.
    runtime.shutdown_background();
    let findings = verdict::judge(&facts);
    super::print(&report::text(&findings, options.json)?)?;
    match findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        count => Err(Unwell { count, mistake: facts.link.is_err() }.into()),
    }
}
