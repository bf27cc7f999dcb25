//! One hook as a process: started without a shell, in a process group of its own that does not outlive it, with no
//! environment but the given one. What it says is kept, up to a bound.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, PipeReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, read};
use tokio::net::unix::pipe::Receiver;
use tokio::task::spawn_blocking;

/// Most bytes that are kept of what a hook says.
const MOST_SAID: usize = 1024;
/// Between two looks at what it says: one that never ends gets no more of our time than this allows.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// What a pipe holds unless somebody changes that: pipe(7).
const PIPE: usize = 64 * 1024;

/// A hook to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) event: &'static str,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
}

/// Runs `job`, and kills it when its time is up. How it ended, and what it said.
pub(super) async fn run(
    job: Job,
    time_is_up: impl Future<Output = ()>,
) -> (io::Result<ExitStatus>, String) {
    let mut said = Said(Vec::new());
    let outcome = run_to_its_end(job, time_is_up, &mut said).await;
    (outcome, String::from_utf8_lossy(&said.0).trim().to_owned())
}

async fn run_to_its_end(
    job: Job,
    time_is_up: impl Future<Output = ()>,
    said: &mut Said,
) -> io::Result<ExitStatus> {
    // The program may lie on a disk that is slow, or far away.
    let (mut child, output) = spawn_blocking(move || start(&job)).await??;
    let output = Receiver::from_owned_fd(output.into());
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut leader = spawn_blocking(move || wait_without_reaping(group));
    let in_time = tokio::select! {
        _ = &mut leader => true,
        () = time_is_up => false,
        never = said.follow(output.as_ref().ok()) => match never {},
    };
    // All of it, and what it left running. It is not reaped yet, so the number is still that of its group.
    let _ = killpg(group, Signal::SIGKILL);
    if !in_time {
        leader.await??;
    }
    said.rest(output.as_ref().ok());
    let status = child.wait()?;
    in_time.then_some(status).ok_or_else(|| io::Error::other("its time was up: killed"))
}

fn start(Job { command, environment, .. }: &Job) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (reader, writer) = io::pipe()?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()?;
    Ok((child, reader))
}

fn wait_without_reaping(child: Pid) -> io::Result<()> {
    loop {
        match waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// The beginning of what a hook said.
struct Said(Vec<u8>);

impl Said {
    /// Reads on and on, so that the hook is not held up.
    async fn follow(&mut self, output: Option<&Receiver>) -> Infallible {
        if let Some(output) = output {
            while output.readable().await.is_ok() && self.read(output) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        pending().await
    }

    /// Reads what is left, as far as it is kept.
    fn rest(&mut self, output: Option<&Receiver>) {
        let Some(output) = output else { return };
        let mut buffer = [0; MOST_SAID];
        while self.0.len() < MOST_SAID {
            // Not by the runtime, which may not have heard yet that there is something.
            match read(output, &mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => self.keep(&buffer, length),
            }
        }
    }

    fn keep(&mut self, buffer: &[u8], length: usize) {
        let room = MOST_SAID.saturating_sub(self.0.len());
        self.0.extend(buffer.iter().take(length.min(room)));
    }

    /// Reads once. Whether there may be more.
    fn read(&mut self, output: &Receiver) -> bool {
        let mut buffer = vec![0; PIPE];
        match output.try_read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.keep(&buffer, length);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
