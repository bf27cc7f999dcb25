//! The command line: what can be asked of tunneld, and the answers that go to standard output.

pub mod apply;
pub mod bench;
mod candidate;
pub mod check;
pub mod client;
pub mod completions;
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "it handles no packets but its own"
)]
pub mod demo;
pub mod device;
pub mod doctor;
pub mod events;
mod journal;
pub mod keys;
pub mod logging;
mod lossy;
pub mod manual;
mod new_files;
pub mod pair;
pub mod reload;
pub mod status;
pub mod top;
pub mod translate;

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::config::DEFAULT_PATH;
use logging::LogFormat;

/// Paragraphs of a title and indented lines, as [`manual`] expects them; so is the example of each command.
const AFTER_HELP: &str = "\
Environment:
  TUNNELD_LOG  how much is logged, whatever the configuration says: error, warn, info, debug or trace
  NO_COLOR     if set and not empty, no colours in the log

Files:
  /etc/tunneld.toml  the configuration: tunneld.toml(5)
  /etc/tunneld/      where keys are kept by custom; for root and the service: root:tunneld, mode 640
  /var/lib/tunneld/  what the service remembers over a restart

Exit status:
  0  success
  1  a failure at run time; the service manager tries again
  2  a mistake in the command line, in TUNNELD_LOG or in the configuration; mend it first

Examples:
  tunneld pair --a a.example.net --b -          # writes both configurations, and says where they go
  tunneld check                                 # is /etc/tunneld.toml right?
  systemctl enable --now tunneld                # start now, and whenever the host does
  journalctl -u tunneld                         # what happened?

See also:
  tunneld.toml(5), systemctl(1), journalctl(1), wg(8)";

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
    #[command(after_help = "Example:\n  tunneld run -c ./tunneld.toml")]
    Run(RunOptions),
    /// Say whether a configuration is right, and what it means
    #[command(after_help = "Example:\n  tunneld check && systemctl reload tunneld")]
    Check(ConfigFile),
    /// Say whether this host lets a configuration work, and if not, what mends it
    #[command(after_help = "Example:\n  tunneld doctor -c /etc/tunneld.toml")]
    Doctor(doctor::Options),
    /// Make a running tunneld take on what its file says now; what is wrong changes nothing
    #[command(after_help = "Example:\n  tunneld reload -c /etc/tunneld.toml")]
    Reload(client::Target),
    /// Have a running tunneld try a configuration: it goes back by itself unless the peer answers and you confirm
    #[command(after_help = "Examples:
  tunneld apply                        # the daemon's own file, as it was edited
  tunneld apply --confirm 5m new.toml  # another one, which takes its place if you confirm")]
    Apply(apply::Options),
    /// Say how the link of a running tunneld is
    #[command(after_help = "Example:\n  tunneld status --json")]
    Status(status::Options),
    /// Watch a running tunneld in the terminal
    #[command(after_help = "Example:\n  tunneld top -i tun0")]
    Top(client::Target),
    /// Tell what happens to the link of a running tunneld, as it happens
    #[command(after_help = "Example:\n  tunneld events --json")]
    Events(events::Options),
    /// Make a private key and print it
    #[command(after_help = "Example:\n  (umask 077; tunneld genkey > /etc/tunneld/private.key)")]
    Genkey,
    /// Read a private key from standard input and print its public key
    #[command(after_help = "Example:\n  tunneld pubkey < /etc/tunneld/private.key")]
    Pubkey,
    /// Make a preshared key and print it
    #[command(after_help = "Example:\n  (umask 077; tunneld genpsk > /etc/tunneld/psk)")]
    Genpsk,
    /// Write the configurations of two hosts that are to be linked
    #[command(after_help = "Example:\n  tunneld pair --a a.example.net --b -")]
    Pair(pair::Options),
    /// Make a configuration of a wg-quick file
    #[command(after_help = "Example:\n  tunneld import /etc/wireguard/wg0.conf -o ./tunneld.toml")]
    Import(translate::Import),
    /// Make a wg-quick file of a configuration
    #[command(after_help = "Example:\n  (umask 077; tunneld export --wg > wg0.conf)")]
    Export(translate::Export),
    /// Make, remove and show tun and tap devices
    #[command(
        subcommand,
        after_help = "Example:\n  tunneld device add tun0 --user tunneld --mtu 1420"
    )]
    Device(device::Action),
    /// Try a tunnel between two network namespaces of this machine
    #[command(after_help = "Example:\n  tunneld demo --seconds 10")]
    Demo(demo::Options),
    /// Measure which cipher is faster on this processor
    #[command(after_help = "Example:\n  tunneld bench --json")]
    Bench(bench::Options),
    /// Print what a shell needs to complete the arguments of tunneld
    #[command(
        after_help = "Example:\n  tunneld completions bash > ~/.local/share/bash-completion/completions/tunneld"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  tunneld manual | man -l -")]
    Manual,
}

impl Command {
    /// The form of the log that was asked for.
    #[must_use]
    pub fn log_format(&self) -> Option<LogFormat> {
        match self {
            Self::Run(options) => options.log_format,
            _ => None,
        }
    }
}

/// What `run` may be told.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The form of the log; if not given, journald where standard error is the journal, else text
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The option that `run` and `check` share.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// What was asked for makes no sense: a mistake of the command line that shows only when its options are seen together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(String);

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

/// What runs a command that waits for the kernel or a socket.
fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

/// One line of JSON.
fn json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
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
    fn the_help_of_every_command_has_an_example_of_it() {
        let program = Cli::command();
        let nested = program.get_subcommands().flat_map(clap::Command::get_subcommands);
        for command in program.get_subcommands().chain(nested) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (title, lines) = help.split_once('\n').unwrap_or_default();
            assert!(matches!(title, "Example:" | "Examples:"), "{}", command.get_name());
            let words = format!(" {} ", command.get_name());
            let example =
                |line: &str| line.contains("tunneld ") && format!("{line} ").contains(&words);
            assert!(lines.lines().any(example), "{help}");
        }
    }

    #[test]
    fn the_configuration_is_in_etc_unless_said_otherwise() {
        let file = |arguments: &[&str]| match Cli::try_parse_from(arguments).unwrap().command {
            Command::Run(options) => options.file.config,
            Command::Check(file) => file.config,
            other => panic!("{other:?}"),
        };
        assert_eq!(file(&["tunneld", "run"]), PathBuf::from("/etc/tunneld.toml"));
        assert_eq!(file(&["tunneld", "check", "-c", "x"]), PathBuf::from("x"));
        assert_eq!(file(&["tunneld", "run", "--config=x"]), PathBuf::from("x"));
    }
}
