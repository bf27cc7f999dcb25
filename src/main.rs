//! The `tunneld` command.

use std::process::ExitCode;

use clap::Parser;
use tunneld::cli::client::ClientError;
use tunneld::cli::doctor::Unwell;
use tunneld::cli::{self, Cli, Command, logging};
use tunneld::config::ConfigError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            logging::error(&error);
            exit_code(&error)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    logging::start(command.log_format())?;
    match command {
        Command::Run(options) => tunneld::daemon::run(&options.file.config, logging::set_level),
        Command::Check(options) => cli::check::run(&options.config),
        Command::Doctor(options) => cli::doctor::run(options),
        Command::Reload(target) => Ok(cli::reload::run(target)?),
        Command::Apply(options) => cli::apply::run(options),
        Command::Status(options) => cli::status::run(options),
        Command::Top(target) => cli::top::run(target),
        Command::Events(options) => cli::events::run(options),
        Command::Genkey => cli::keys::genkey(),
        Command::Pubkey => cli::keys::pubkey(),
        Command::Genpsk => cli::keys::genpsk(),
        Command::Pair(options) => cli::pair::run(options),
        Command::Import(options) => cli::translate::import(options),
        Command::Export(options) => cli::translate::export(options),
        Command::Device(action) => cli::device::run(action),
        Command::Demo(options) => cli::demo::run(options),
        Command::Bench(options) => cli::bench::run(options),
        Command::Completions { shell } => cli::completions::run(*shell),
        Command::Manual => cli::manual::run(),
    }
}

/// 2 for what only its author can mend: the command line (by clap), the environment, the configuration.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let usage = error.downcast_ref::<ClientError>().is_some_and(ClientError::is_usage);
    let mistake = error.is::<ConfigError>() || error.is::<logging::BadLevel>();
    let unwell = error.downcast_ref::<Unwell>().is_some_and(|unwell| unwell.mistake);
    if usage || mistake || unwell || error.is::<cli::Mistake>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// Whoever read our output has gone, as in `tunneld check | head`; that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<cli::OutputError>().is_some_and(cli::OutputError::is_broken_pipe)
}
