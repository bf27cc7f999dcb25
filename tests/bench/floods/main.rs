//! Floods of datagrams, and what they leave of a link: `cargo bench --bench floods`, as root.
//!
//! Host b is flooded over a cable of its own while it is linked with host a: by tunneld, and by wireguard-go with the same
//! flood. docs/reliability.md has the figures and says what must be shown.
//!
//! ```text
//! options   the command line                 story         the order of things
//! attacker  the third host, its cable        flood         the sender
//! weapons   the datagrams it sends           eavesdropper  what passes between the hosts
//! caller    new handshakes of the real peer  report        figures to tables and verdicts
//! ```
//!
//! Hosts, daemons and traffic are those of the benchmark `compare`; the tests in tests/netns use the same weapons.

#![allow(clippy::print_stdout, reason = "what a benchmark is for")]

mod attacker;
mod caller;
mod eavesdropper;
#[path = "../../common/flood.rs"]
mod flood;
#[path = "../compare/lab.rs"]
mod lab;
#[path = "../compare/launch.rs"]
mod launch;
mod memory;
mod options;
#[allow(dead_code, reason = "the comparison looks at usage too")]
#[path = "../compare/peers/mod.rs"]
mod peers;
#[allow(dead_code, unused_imports, reason = "the comparison has more to report")]
#[path = "../compare/report/mod.rs"]
mod report;
#[path = "../compare/signals.rs"]
mod signals;
mod story;
mod tables;
#[allow(dead_code, unused_imports, reason = "the comparison measures pings too")]
#[path = "../compare/traffic/mod.rs"]
mod traffic;
#[allow(dead_code, reason = "the comparison measures CPU time too")]
#[path = "../compare/usage.rs"]
mod usage;
#[path = "../compare/wait.rs"]
mod wait;
#[path = "../../common/weapons.rs"]
mod weapons;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use options::{Job, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let Err(error) = run(&options) else { return ExitCode::SUCCESS };
    // Nothing is left to try if not even the error can be written.
    let _ = writeln!(io::stderr(), "floods: error: {error:#}");
    ExitCode::FAILURE
}

fn run(options: &Options) -> Result<()> {
    match &options.job {
        None => story::run(options),
        Some(Job::Inside(there)) => launch::become_program(there),
        Some(Job::Traffic(generator)) => {
            // Whoever measures reads the reason where it reads the result.
            generator.run().inspect_err(|error| println!("error {error:#}"))
        }
    }
}
