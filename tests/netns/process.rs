//! A program that runs beside the test: its lines as they come, and its end.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::shown::shows_a_secret;

/// How long a condition may take to come true, where nothing says otherwise: silence alone is noticed after 15 s
/// (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT).
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Looks until `condition` is true, and gives whether it ever was within `bound`. The only place that pauses.
pub(crate) fn wait_until(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = now() + bound;
    loop {
        if condition() {
            return true;
        }
        if now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "real kernels run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A running program; killed when dropped, and its lines shown if the test failed. They must show no secret.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Lines>,
    collectors: [JoinHandle<()>; 2],
}

/// The lines so far.
#[derive(Default)]
struct Lines {
    seen: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // A test that fails while it looks at the lines still shows them.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads to the end in a thread of its own.
    fn collect(self: &Arc<Self>, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                lines.lock().push(String::from_utf8_lossy(&line).into_owned());
                lines.more.notify_all();
            }
        })
    }
}

impl Process {
    /// Starts it.
    pub(crate) fn start(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} starts: {e}"));
        let lines = Arc::<Lines>::default();
        let collectors = [
            lines.collect(child.stdout.take().expect("it was asked for")),
            lines.collect(child.stderr.take().expect("it was asked for")),
        ];
        Self { name: name.to_owned(), child, lines, collectors }
    }

    /// Waits for a line that contains `text`, and gives it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(1, text)
    }

    /// Waits until as many as `n` lines contain `text`, and gives the n-th.
    pub(crate) fn wait_for_nth(&self, n: usize, text: &str) -> String {
        let line = self.nth(n, text, BOUND);
        line.unwrap_or_else(|| {
            panic!("{}: no line number {n} with {text:?} within {BOUND:?}", self.name)
        })
    }

    /// Whether a line contains `text`, or does so within `bound`.
    pub(crate) fn says(&self, text: &str, bound: Duration) -> bool {
        self.nth(1, text, bound).is_some()
    }

    fn nth(&self, n: usize, text: &str, bound: Duration) -> Option<String> {
        let deadline = now() + bound;
        let mut seen = self.lines.lock();
        loop {
            if let Some(line) = seen.iter().filter(|line| line.contains(text)).nth(n - 1) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return None;
            }
            (seen, _) =
                self.lines.more.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many lines so far contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        let seen = self.lines.lock();
        seen.iter().filter(|line| line.contains(text)).count()
    }

    /// Everything it said so far.
    pub(crate) fn said(&self) -> String {
        self.lines.lock().join("\n")
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("pids are small"));
        kill(pid, signal).unwrap_or_else(|e| panic!("{}: {e}", self.name));
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, bound: Duration) -> ExitStatus {
        let ended = wait_until(bound, || !self.runs());
        assert!(ended, "{} did not end within {bound:?}", self.name);
        self.collect_the_rest();
        self.child.wait().expect("it is our child")
    }

    /// Waits for its last lines, which come after its end. Whoever inherited its output may hold it open a moment longer.
    fn collect_the_rest(&self) {
        wait_until(BOUND, || self.collectors.iter().all(JoinHandle::is_finished));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let status = self.child.wait();
        if thread::panicking() {
            let _ = writeln!(
                std::io::stderr(),
                "--- {} ({status:?}) said:\n{}\n---",
                self.name,
                self.said()
            );
        } else {
            self.collect_the_rest();
            assert!(!shows_a_secret(&self.said()), "{} shows a secret", self.name);
        }
    }
}

#[test]
fn a_program_that_shows_a_secret_fails_the_test() {
    let secret = [0x5e; 32];
    crate::shown::must_not_be_shown(secret);
    let says = |what: &str| {
        let mut command = Command::new("echo");
        command.arg(what);
        let echo = Process::start("echo", command);
        echo.wait_for("key");
        echo
    };
    drop(says("key=fine"));
    let shown = says(&format!("key={}", "5e".repeat(32)));
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(shown)));
    assert!(dropped.is_err());
}
