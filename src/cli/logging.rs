//! The log: on standard error, in the form that suits what reads it there.
//!
//! The journal adds time and source itself and takes the level as a prefix, `<4>`. Everyone else gets the time, the
//! level as a word, and colours if it is a terminal. Nobody ever waits for whoever reads it.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::sync::LazyLock;

use nix::sys::stat::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{self, Format, FormatEvent, FormatFields};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, format::Writer};
use tracing_subscriber::registry::LookupSpan;

use super::lossy::Lossy;

/// The environment variable that says how much is logged.
const VARIABLE: &str = "TUNNELD_LOG";

/// `TUNNELD_LOG` holds something else than a level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("TUNNELD_LOG: {0:?} is not a level; accepted: error, warn, info, debug, trace")]
pub struct BadLevel(String);

/// Starts the log of this process.
///
/// # Errors
/// [`BadLevel`], or the log is started already.
pub fn start() -> anyhow::Result<()> {
    let level = level(env::var_os(VARIABLE).map(|text| text.to_string_lossy().into_owned()))?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(|| &*STDERR)
        // It would report a log that cannot be written by a panic.
        .log_internal_errors(false);
    let started = if goes_to_journal() {
        let lines = Journal(
            Format::default().with_ansi(false).with_level(false).with_target(false).without_time(),
        );
        tracing::subscriber::set_global_default(
            builder.with_ansi(false).event_format(lines).finish(),
        )
    } else {
        let colours = io::stderr().is_terminal()
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        tracing::subscriber::set_global_default(
            builder.with_ansi(colours).with_timer(Seconds).finish(),
        )
    };
    Ok(started?)
}

/// A level by its name; `info` if there is none.
fn level(name: Option<String>) -> Result<Level, BadLevel> {
    match name.as_deref() {
        Some("error") => Ok(Level::ERROR),
        Some("warn") => Ok(Level::WARN),
        None | Some("" | "info") => Ok(Level::INFO),
        Some("debug") => Ok(Level::DEBUG),
        Some("trace") => Ok(Level::TRACE),
        Some(other) => Err(BadLevel(other.to_owned())),
    }
}

/// Tells of an error that ends the program.
pub fn error(error: &anyhow::Error) {
    let prefix = if goes_to_journal() { "<3>" } else { "" };
    // Nothing is left to try if not even the error can be written.
    let _ = (&*STDERR).write_all(format!("{prefix}tunneld: error: {error:#}\n").as_bytes());
}

static STDERR: LazyLock<Lossy<io::Stderr>> = LazyLock::new(|| {
    let prefix = if goes_to_journal() { "<4>" } else { "" };
    Lossy::new(io::stderr(), prefix)
});

/// systemd.exec(5): `JOURNAL_STREAM` names the device and inode of the journal's socket; standard error may since
/// have become something else.
fn goes_to_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    fstat(io::stderr()).is_ok_and(|about| stream == format!("{}:{}", about.st_dev, about.st_ino))
}

/// Date and time in UTC, as the log has it.
pub(super) fn time_of_day() -> String {
    let mut text = String::new();
    // Text has room for more text.
    let _ = Seconds.format_time(&mut Writer::new(&mut text));
    text
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

/// Each line with its level as syslog numbers it (sd-daemon(3)).
struct Journal(Format<format::Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let number = syslog_level(*event.metadata().level());
        for line in text.lines() {
            writeln!(writer, "<{number}>{line}")?;
        }
        Ok(())
    }
}

fn syslog_level(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Memory {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn the_journal_gets_a_level_on_each_line_and_no_time() {
        let memory = Memory::default();
        let lines = Journal(Format::default().with_level(false).with_target(false).without_time());
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(memory.clone())
            .with_ansi(false)
            .event_format(lines)
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!(port = 51820, name = "tun0", "ready");
            tracing::warn!("two\nlines");
            tracing::error!("no");
            tracing::trace!("detail");
        });
        assert_eq!(
            memory.text(),
            "<6>ready port=51820 name=\"tun0\"\n<4>two\n<4>lines\n<3>no\n<7>detail\n"
        );
    }

    #[test]
    fn the_time_has_seconds_and_no_fractions() {
        let mut text = String::new();
        Seconds.format_time(&mut Writer::new(&mut text)).unwrap();
        assert_eq!(text.len(), "2026-01-02T03:04:05Z".len(), "{text}");
        assert!(text.ends_with('Z') && text.starts_with("20"), "{text}");
    }

    #[test]
    fn levels_go_by_their_names() {
        assert_eq!(level(None), Ok(Level::INFO));
        assert_eq!(level(Some("trace".to_owned())), Ok(Level::TRACE));
        assert_eq!(
            level(Some("loud".to_owned())).unwrap_err().to_string(),
            "TUNNELD_LOG: \"loud\" is not a level; accepted: error, warn, info, debug, trace"
        );
    }
}
