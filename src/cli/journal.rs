//! The journal: each event an entry with fields of its own, as systemd's native protocol has them.
//!
//! `MESSAGE` is the whole line as a terminal would show it, so that plain `journalctl` tells everything; each value is
//! also a field, such as `TUNNELD_DEVICE`, to search by. Nobody waits for the journal: what it does not take at once is
//! lost, and counted.

use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// The way to the journal, of any thread: takes one entry at a time, as [`Entry`] writes it.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Journal {
    /// The one of this host.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(SOCKET.into())
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(&path)?;
        // Not connected: whoever takes the place of this listener gets the entries after that.
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, lost: AtomicU64::new(0) })
    }

    fn takes(&self, entry: &[u8]) -> bool {
        self.socket.send_to(entry, &self.path).is_ok()
    }
}

impl Write for &Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let message = format!("{lost} entries of the log could not be written");
        if lost > 0 && !self.takes(begin(Level::WARN, &message).as_bytes()) {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if !self.takes(entry) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an event as an entry.
pub(super) struct Entry;

impl<S, N> FormatEvent<S, N> for Entry
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
        let mut message = String::new();
        context.format_fields(Writer::new(&mut message), event)?;
        let mut fields = Fields(begin(*event.metadata().level(), &message));
        event.record(&mut fields);
        writer.write_str(&fields.0)
    }
}

/// The fields that each entry has.
fn begin(level: Level, message: &str) -> String {
    let mut fields = Fields(String::new());
    fields.put("SYSLOG_IDENTIFIER", "tunneld");
    fields.put("PRIORITY", priority(level));
    fields.put("MESSAGE", message);
    fields.0
}

/// The level as syslog(3) numbers it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Fields so far, each a line.
struct Fields(String);

impl Fields {
    fn put(&mut self, name: &str, value: &str) {
        self.0.push_str(name);
        self.0.push('=');
        // A line break would end the field, and begin one that is none of ours.
        self.0.extend(value.trim_end().chars().map(|c| if c == '\n' { ' ' } else { c }));
        self.0.push('\n');
    }

    fn put_value(&mut self, field: &Field, value: &str) {
        if field.name() != "message" {
            let name = field.name().to_ascii_uppercase().replace('.', "_");
            self.put(&format!("TUNNELD_{name}"), value);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_value(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_value(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// What listens in the place of the journal.
    struct Listener {
        socket: UnixDatagram,
        directory: TempDir,
    }

    impl Listener {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(directory.path().join("socket")).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, directory }
        }

        fn journal(&self) -> Journal {
            Journal::at(self.directory.path().join("socket")).unwrap()
        }

        fn entries(&self) -> Vec<String> {
            let mut entry = [0; 4096];
            std::iter::from_fn(|| {
                let length = self.socket.recv(&mut entry).ok()?;
                Some(String::from_utf8(entry[..length].to_vec()).unwrap())
            })
            .collect()
        }
    }

    #[test]
    fn an_event_is_one_entry_with_a_field_for_each_value() {
        let listener = Listener::new();
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(Arc::new(listener.journal()))
            .with_ansi(false)
            .event_format(Entry)
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!(port = 51820, device = "tun0", "started");
            tracing::warn!(error = %"no\nPRIORITY=0", "two\nlines");
            tracing::error!("no");
            tracing::trace!("detail");
        });
        let [started, lines, error, trace] = listener.entries().try_into().unwrap();
        assert_eq!(
            started,
            "SYSLOG_IDENTIFIER=tunneld\nPRIORITY=6\nMESSAGE=started port=51820 device=\"tun0\"\n\
             TUNNELD_PORT=51820\nTUNNELD_DEVICE=tun0\n"
        );
        assert_eq!(
            lines,
            "SYSLOG_IDENTIFIER=tunneld\nPRIORITY=4\nMESSAGE=two lines error=no PRIORITY=0\n\
             TUNNELD_ERROR=no PRIORITY=0\n"
        );
        assert!(error.contains("PRIORITY=3\nMESSAGE=no\n"), "{error}");
        assert!(trace.contains("PRIORITY=7\nMESSAGE=detail\n"), "{trace}");
    }

    #[test]
    fn entries_that_are_not_taken_are_lost_and_told_before_the_next_that_is() {
        let listener = Listener::new();
        let journal = Arc::new(listener.journal());
        let mut writer = journal.make_writer();
        // The kernel's queue has some hundred places at most.
        let mut written = 0;
        while journal.lost.load(Ordering::Relaxed) < 3 {
            writer.write_all(b"MESSAGE=x\n").unwrap();
            written += 1;
        }
        assert_eq!(listener.entries().len(), written - 3);
        writer.write_all(b"MESSAGE=y\n").unwrap();
        let [told, next] = listener.entries().try_into().unwrap();
        assert!(told.ends_with("MESSAGE=3 entries of the log could not be written\n"), "{told}");
        assert_eq!(next, "MESSAGE=y\n");
    }

    #[test]
    fn without_a_listener_there_is_no_journal() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Journal::at(directory.path().join("socket")).is_err());
    }
}
