//! `tunneld completions`: what a shell needs to complete arguments, from the same source as `--help`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Prints the completions for `shell`.
///
/// # Errors
/// Standard output.
pub fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tunneld", &mut script);
    Ok(super::print(&String::from_utf8(script)?)?)
}
