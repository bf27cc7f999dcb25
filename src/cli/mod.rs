//! The command line: what can be asked of tunneld, and the answers that go to standard output.

pub mod check;
pub mod client;
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "it handles no packets but its own"
)]
pub mod demo;
pub mod events;
pub mod keys;
pub mod logging;
mod lossy;
pub mod status;
pub mod top;

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_PATH;

const AFTER_HELP: &str = "\
Environment:
  TUNNELD_LOG  how much is logged: error, warn, info (the default), debug or trace
  NO_COLOR     if set and not empty, no colours in the log

Exit codes:
  0  success
  1  a failure at run time
  2  a mistake in the command line, in TUNNELD_LOG or in the configuration

First steps, on each of the two hosts:
  (umask 077; tunneld genkey > /etc/tunneld/private.key)
  tunneld pubkey < /etc/tunneld/private.key     # give this one to the other host
  tunneld check                                 # is /etc/tunneld.toml right?
  systemctl start tunneld";

/// Links two Linux hosts over the internet: a tunnel in user space that speaks WireGuard's protocol.
#[derive(Debug, Parser)]
#[command(name = "tunneld", version, after_help = AFTER_HELP, help_expected = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What tunneld can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the tunnel until told to end
    Run(ConfigFile),
    /// Say whether a configuration is right, and what it means
    Check(ConfigFile),
    /// Say how the link of a running tunneld is
    Status(status::Options),
    /// Watch a running tunneld in the terminal
    Top(client::Target),
    /// Tell what happens to the link of a running tunneld, as it happens
    Events(events::Options),
    /// Make a private key and print it
    Genkey,
    /// Read a private key from standard input and print its public key
    Pubkey,
    /// Make a preshared key and print it
    Genpsk,
    /// Try a tunnel between two network namespaces of this machine
    Demo(demo::Options),
}

/// The option that `run` and `check` share.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader has gone.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes `text` to standard output, all of it.
fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// A line of a summary.
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<14} {value}")
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn or(value: Option<impl Display>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_each_argument_has_help() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_is_in_etc_unless_said_otherwise() {
        let file = |arguments: &[&str]| match Cli::try_parse_from(arguments).unwrap().command {
            Command::Run(options) | Command::Check(options) => options.config,
            other => panic!("{other:?}"),
        };
        assert_eq!(file(&["tunneld", "run"]), PathBuf::from("/etc/tunneld.toml"));
        assert_eq!(file(&["tunneld", "check", "-c", "x"]), PathBuf::from("x"));
        assert_eq!(file(&["tunneld", "run", "--config=x"]), PathBuf::from("x"));
    }
}
