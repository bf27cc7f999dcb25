//! tunneld beside other tunnels, on this machine: `cargo bench --bench compare`, as root.
//!
//! In alternating rounds each subject links two network namespaces, is measured, and is taken down. What is printed are
//! medians, their ratios to tunneld, and whether what must be shown is shown; docs/performance.md explains each measure.
//!
//! ```text
//! options   the command line        report   figures to tables and verdicts; knows nothing of the rest
//! story     the order of things     measures what is done to a subject that is up
//! lab       namespaces, veth        peers    how each subject is configured and started
//! launch    programs in there       traffic  the generators, which run as programs in there too
//! shaping   a ping under a limit    wide_area  TCP over a path with delay and loss
//! ```

#![allow(clippy::print_stdout, reason = "what a benchmark is for")]

mod circumstances;
mod idle;
mod lab;
mod launch;
mod measures;
mod options;
mod peers;
mod report;
mod shaping;
mod signals;
mod story;
mod traffic;
mod usage;
mod wait;
#[path = "../wide_area/mod.rs"]
mod wide_area;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use options::{Job, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let Err(error) = run(&options) else { return ExitCode::SUCCESS };
    // Nothing is left to try if not even the error can be written.
    let _ = writeln!(io::stderr(), "compare: error: {error:#}");
    ExitCode::FAILURE
}

fn run(options: &Options) -> Result<()> {
    match &options.job {
        None => story::run(options),
        Some(Job::Shaping(shaping)) => shaping::run(shaping),
        Some(Job::Inside(there)) => launch::become_program(there),
        Some(Job::Traffic(generator)) => {
            // Whoever measures reads the reason where it reads the result.
            generator.run().inspect_err(|error| println!("error {error:#}"))
        }
    }
}
