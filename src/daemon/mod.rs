//! To come.

use crate::config::Config;

/// Runs the tunnel until it is told to end.
///
/// # Errors
/// Always, until there is a daemon.
pub fn run(config: Config) -> anyhow::Result<()> {
    anyhow::bail!("{}: not built yet", config.interface.name)
}
