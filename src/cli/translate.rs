//! `tunneld import` and `tunneld export`: configurations from and to other programs' files. The file goes to standard
//! output, what has no counterpart to standard error.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Mistake, keys, new_files};
use crate::config::wg_quick::{self, Translation};
use crate::config::{Config, DEFAULT_PATH};
use crate::wire::Profile;

/// What `tunneld import` may be told.
#[derive(Debug, Args)]
pub struct Import {
    /// A file of wg-quick with one peer
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// Write to this new file, for its owner alone, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `tunneld export` may be told.
#[derive(Debug, Args)]
pub struct Export {
    /// As a file of wg-quick
    #[arg(long, required = true)]
    pub wg: bool,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Write to this new file, for its owner alone, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Translates a file of wg-quick to a configuration.
///
/// # Errors
/// What is wrong with the file, or the configuration cannot be written.
pub fn import(Import { from, output }: &Import) -> anyhow::Result<()> {
    answer("tunneld", &wg_quick::import(from)?, output.as_deref())
}

/// Translates a configuration to a file of wg-quick.
///
/// # Errors
/// What is wrong with the configuration, or the file cannot be written.
pub fn export(Export { config, output, .. }: &Export) -> anyhow::Result<()> {
    let end = Config::load(config)?;
    if end.peer.profile != Profile::WireGuard {
        let (file, profile) = (config.display(), end.peer.profile.name());
        return Err(Mistake(format!(
            "{file}: [peer] profile: {profile:?} is nothing that WireGuard can link with; accepted: \"wireguard\", on both ends"
        ))
        .into());
    }
    answer("wg-quick", &wg_quick::export(&end), output.as_deref())
}

fn answer(
    there: &str,
    Translation { text, left_out }: &Translation,
    output: Option<&Path>,
) -> anyhow::Result<()> {
    match output {
        Some(path) => new_files::write(&[(path.to_owned(), text)])?,
        None => keys::print_secret(text)?,
    }
    if !left_out.is_empty() {
        let list: String = left_out.iter().map(|what| format!("  {what}\n")).collect();
        // The file is written: that nobody reads on is no failure.
        let _ = write!(io::stderr(), "without a counterpart in {there}:\n{list}");
    }
    Ok(())
}
