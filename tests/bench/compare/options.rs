//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::launch::Inside;
use crate::shaping::Shaping;
use crate::traffic::Generator;
use crate::wait::seconds;

/// Compares tunneld with other tunnels on this machine. Needs root; each peer that is installed takes part.
#[derive(Parser)]
#[command(name = "compare", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// How often each subject is measured; the medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Length of one measure
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// Length of the idle measure, which is made once; 0 leaves it out
    #[arg(long, default_value = "50", value_parser = seconds)]
    pub(crate) idle_seconds: Duration,

    /// Length of each stream over the wide-area path; 0 leaves it out
    #[arg(long, default_value = "15", value_parser = seconds)]
    pub(crate) wide_area_seconds: Duration,

    /// The subjects, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,

    /// Leave out what is measured on one CPU
    #[arg(long)]
    pub(crate) skip_pinned: bool,

    /// Put the tables into this file too, between its two markers
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// Cargo says this to every benchmark
    #[arg(long, hide = true, global = true)]
    bench: bool,

    #[command(subcommand)]
    pub(crate) job: Option<Job>,
}

/// What this program does when it is run by itself.
#[derive(Subcommand)]
pub(crate) enum Job {
    /// Measure a ping beside a stream under a limit of the rate
    Shaping(Shaping),

    /// Enter a namespace and become another program
    #[command(hide = true)]
    Inside(Inside),

    /// Make or take traffic
    #[command(hide = true, subcommand)]
    Traffic(Generator),
}
