//! What the values of `[log]` mean.

use tracing::Level;

use super::error::Fault;
use super::file::LogTable;

const ACCEPTED_LEVEL: &str = r#""error", "warn", "info", "debug" or "trace""#;

/// How much is logged if nothing is said, also before the file is read.
pub(crate) const DEFAULT_LEVEL: Level = Level::INFO;

/// The level that the section says; without one, the default.
pub(super) fn level(table: Option<LogTable<'_>>) -> Result<Level, Fault> {
    let Some(value) = table.and_then(|table| table.level) else { return Ok(DEFAULT_LEVEL) };
    let level = level_named(value.expect_text(ACCEPTED_LEVEL)?);
    level.ok_or_else(|| value.fault("is not a level", ACCEPTED_LEVEL))
}

/// The level of this name.
pub(crate) fn level_named(name: &str) -> Option<Level> {
    match name {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    }
}

/// The name of a level, as the file has it.
pub(crate) fn level_name(level: Level) -> String {
    level.as_str().to_ascii_lowercase()
}
