//! A real daemon on a host of the demonstration: this same program, run as `tunneld run -c FILE`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::Host;
use super::leash;
use super::wait::{LOOK, Watch};

/// The last so many lines of a log are worth showing.
const LINES: usize = 60;

/// A running daemon; killed when dropped.
pub(super) struct Daemon {
    host: &'static str,
    child: Child,
    log: PathBuf,
    /// Where it says that it is ready, as it says it to systemd.
    notify: UnixDatagram,
}

impl Daemon {
    /// Starts the daemon of `host` with this configuration; its files go in a directory of its own under `directory`.
    pub(super) fn start(host: &Host, directory: &Path, config: &str) -> Result<Self> {
        let directory = directory.join(host.name());
        fs::create_dir(&directory).context("cannot make a directory")?;
        let file = directory.join("tunneld.toml");
        create(&file)?.write_all(config.as_bytes())?;
        let log = directory.join("log");
        let stderr = create(&log)?;
        let socket = directory.join("notify");
        let notify = UnixDatagram::bind(&socket).with_context(|| {
            format!("cannot make the socket {}: is TMPDIR too long?", socket.display())
        })?;
        notify.set_read_timeout(Some(LOOK))?;

        // What this program was started from, even if that file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("tunneld")
            .args(["run", "-c"])
            .arg(&file)
            .env("RUNTIME_DIRECTORY", &directory)
            .env("STATE_DIRECTORY", &directory)
            .env("NOTIFY_SOCKET", &socket)
            .env("NO_COLOR", "1")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0);
        leash::tie(&mut command);
        let child = host.run(move || Ok(command.spawn()?)).context("cannot start the daemon")?;
        Ok(Self { host: host.name(), child, log, notify })
    }

    /// The name of its host.
    pub(super) fn host(&self) -> &'static str {
        self.host
    }

    /// Waits until it says that it is ready.
    pub(super) fn wait_ready(&mut self, watch: &Watch) -> Result<()> {
        let what = format!("the daemon of host {} is ready", self.host);
        watch.until(&what, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon of host {} ended: {status}", self.host);
            }
            let mut message = [0; 4096];
            match self.notify.recv(&mut message) {
                Ok(n) => Ok(message[..n]
                    .split(|&byte| byte == b'\n')
                    .any(|line| line == b"READY=1")
                    .then_some(())),
                Err(e) if is_timeout(&e) => Ok(None),
                Err(e) => Err(e).context("cannot hear from the daemon"),
            }
        })
    }

    /// Ends it as systemd would; an error if it does not end well.
    pub(super) fn stop(&mut self, watch: &Watch) -> Result<()> {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            bail!("the daemon of host {} has no process", self.host);
        };
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon of host {} ended by itself: {status}", self.host);
        }
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let what = format!("the daemon of host {} ends on SIGTERM", self.host);
        let status: ExitStatus = watch.until(&what, || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("the daemon of host {} ended badly: {status}", self.host);
        }
        Ok(())
    }

    /// The end of its log, and how it ended if it did.
    pub(super) fn log(&mut self) -> String {
        let mut log = match fs::read(&self.log) {
            Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
            Err(e) => format!("(unreadable: {e})\n"),
        };
        if let Ok(Some(status)) = self.child.try_wait() {
            log += &format!("(ended: {status})\n");
        }
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new file that only its owner may read.
fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn last_lines(text: &str) -> String {
    let skipped = text.lines().count().saturating_sub(LINES);
    text.lines().skip(skipped).flat_map(|line| [line, "\n"]).collect()
}
