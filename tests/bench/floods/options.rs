//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::launch::Inside;
use crate::traffic::Generator;
use crate::wait::seconds;
use crate::weapons::Weapon;

/// Floods one end of a link and measures what is left of it. Needs root.
#[derive(Parser)]
#[command(name = "floods", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Length of one measure; six of them, with 20 s each, reach over the next rekey
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// The floods, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) floods: Vec<Weapon>,

    /// The subjects, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "tunneld,wireguard-go")]
    pub(crate) peers: Vec<String>,

    /// Cargo says this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,

    #[command(subcommand)]
    pub(crate) job: Option<Job>,
}

/// What this program does when it is run by itself.
#[derive(Subcommand)]
pub(crate) enum Job {
    /// Enter a namespace and become another program
    #[command(hide = true)]
    Inside(Inside),

    /// Make or take traffic
    #[command(hide = true, subcommand)]
    Traffic(Generator),
}
