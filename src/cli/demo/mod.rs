//! To come.

/// How the demonstration runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long to send in each direction
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub seconds: u64,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// Always, until there is one.
pub fn run(_options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
