//! The log, in the form that suits what reads it.
//!
//! The journal gets entries with fields of their own (`journal.rs`). Everyone else gets lines on standard error: text
//! with the time, the level as a word, and colours if it is a terminal; or JSON. Nobody ever waits for whoever reads
//! it.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Arc, LazyLock, OnceLock};

use anyhow::Context as _;
use nix::sys::stat::fstat;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::{Registry, registry};

use super::journal::{self, Entry, Journal};
use super::lossy::Lossy;
use crate::config::{DEFAULT_LEVEL, level_named};

/// The environment variable that says how much is logged.
const VARIABLE: &str = "TUNNELD_LOG";

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people, on standard error
    Text,
    /// A JSON object on each line, on standard error
    Json,
    /// Entries of systemd's journal, with a field for each value
    Journald,
}

/// `TUNNELD_LOG` holds something else than a level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("TUNNELD_LOG: {0:?} is not a level; accepted: error, warn, info, debug, trace")]
pub struct BadLevel(String);

/// Starts the log of this process, at the level that `TUNNELD_LOG` says, or the default. Without a format it goes to the journal if standard error does, and is text
/// otherwise.
///
/// # Errors
/// [`BadLevel`]; the journal was asked for and is not there; or the log is started already.
pub fn start(format: Option<LogFormat>) -> anyhow::Result<()> {
    let environment = level(env::var_os(VARIABLE).map(|text| text.to_string_lossy().into_owned()))?;
    let (filter, level) = Layer::new(LevelFilter::from(environment.unwrap_or(DEFAULT_LEVEL)));
    let all = registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(false)
        // It would report a log that cannot be written by a panic.
        .log_internal_errors(false);
    if let Some(journal) = journal(format)? {
        let entries = lines.with_writer(Arc::new(journal)).event_format(Entry);
        set_global_default(all.with(entries))?;
    } else if format == Some(LogFormat::Json) {
        let objects = lines.with_writer(|| &*STDERR).with_timer(Seconds).json().flatten_event(true);
        set_global_default(all.with(objects))?;
        // It is set once, here.
        let _ = ALL_IS_JSON.set(());
    } else {
        let colours = io::stderr().is_terminal()
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = lines.with_writer(|| &*STDERR).with_timer(Seconds).with_ansi(colours);
        set_global_default(all.with(lines))?;
    }
    // It is set once, here.
    let _ = LEVEL.set(Adjustable { overridden: environment.is_some(), level });
    Ok(())
}

/// Logs as much as `level` says from now on; whether it does, as the environment overrides it.
#[must_use]
pub fn set_level(level: Level) -> bool {
    let Some(log) = LEVEL.get().filter(|log| !log.overridden) else { return false };
    log.level.reload(LevelFilter::from(level)).is_ok()
}

/// How much is logged.
struct Adjustable {
    /// By the environment.
    overridden: bool,
    level: Handle<LevelFilter, Registry>,
}

static LEVEL: OnceLock<Adjustable> = OnceLock::new();

fn journal(format: Option<LogFormat>) -> anyhow::Result<Option<Journal>> {
    match format {
        Some(LogFormat::Journald) => {
            let context =
                || format!("--log-format journald: nobody listens at {}", journal::SOCKET);
            Journal::open().map(Some).with_context(context)
        }
        None if goes_to_journal() => Ok(Journal::open().ok()),
        _ => Ok(None),
    }
}

/// A level by its name, if there is one.
fn level(name: Option<String>) -> Result<Option<Level>, BadLevel> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    level_named(&name).map(Some).ok_or(BadLevel(name))
}

/// Tells of an error that ends the program.
pub fn error(error: &anyhow::Error) {
    if ALL_IS_JSON.get().is_some() {
        tracing::error!("{error:#}");
        return;
    }
    let prefix = if goes_to_journal() { "<3>" } else { "" };
    // Nothing is left to try if not even the error can be written.
    let _ = (&*STDERR).write_all(format!("{prefix}tunneld: error: {error:#}\n").as_bytes());
}

/// Whoever reads standard error expects JSON on each line.
static ALL_IS_JSON: OnceLock<()> = OnceLock::new();

static STDERR: LazyLock<Lossy<io::Stderr>> = LazyLock::new(|| Lossy::new(io::stderr(), lost));

/// Tells how many lines of the log nobody will see.
fn lost(lines: u64) -> String {
    let message = format!("{lines} lines of the log could not be written");
    if ALL_IS_JSON.get().is_some() {
        return format!("{{\"level\":\"WARN\",\"message\":\"{message}\"}}\n");
    }
    format!("tunneld: warning: {message}\n")
}

/// systemd.exec(5): `JOURNAL_STREAM` names the device and inode of the journal's socket; standard error may since
/// have become something else.
fn goes_to_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    fstat(io::stderr()).is_ok_and(|about| stream == format!("{}:{}", about.st_dev, about.st_ino))
}

/// The time of day in UTC, without fractions of a second.
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let mut text = String::new();
        SystemTime.format_time(&mut Writer::new(&mut text))?;
        match text.split_once('.') {
            Some((seconds, _)) => write!(writer, "{seconds}Z"),
            None => writer.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_has_seconds_and_no_fractions() {
        let mut text = String::new();
        Seconds.format_time(&mut Writer::new(&mut text)).unwrap();
        assert_eq!(text.len(), "2026-01-02T03:04:05Z".len(), "{text}");
        assert!(text.ends_with('Z') && text.starts_with("20"), "{text}");
    }

    #[test]
    fn levels_go_by_their_names() {
        assert_eq!((level(None), level(Some(String::new()))), (Ok(None), Ok(None)));
        assert_eq!(level(Some("trace".to_owned())), Ok(Some(Level::TRACE)));
        assert_eq!(
            level(Some("loud".to_owned())).unwrap_err().to_string(),
            "TUNNELD_LOG: \"loud\" is not a level; accepted: error, warn, info, debug, trace"
        );
    }
}
