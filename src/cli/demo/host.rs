//! A host of the demonstration: a thread in a network namespace of its own, which does the jobs it is handed.
//!
//! What a job makes there (sockets, processes) stays there, wherever it is used later.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use super::namespace;

type Job = Box<dyn FnOnce() + Send>;

/// One host; its namespace ends with it.
pub(super) struct Host {
    name: &'static str,
    /// `None` once the thread is told to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What a job will give.
pub(super) struct Pending<T>(Receiver<Result<T>>);

impl Host {
    /// A new host, with nothing but a loopback device that is down.
    pub(super) fn start(name: &'static str) -> Result<Self> {
        let (jobs, handed) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name(format!("host {name}"))
            .spawn(move || handed.into_iter().for_each(|job| job()))
            .context("cannot make a thread")?;
        let host = Self { name, jobs: Some(jobs), thread: Some(thread) };
        host.run(namespace::enter_new)?;
        Ok(host)
    }

    /// Its name, for a person.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Does `job` on this host, after those before it.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (result, pending) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            // Nobody may be waiting any more, after an error elsewhere.
            let _ = result.send(job());
        });
        if let Some(jobs) = &self.jobs {
            // A thread that is gone shows in `wait`.
            let _ = jobs.send(job);
        }
        Pending(pending)
    }

    /// Does `job` on this host, and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin(job).wait()
    }
}

impl<T> Pending<T> {
    /// Waits for the job; each bounds itself.
    pub(super) fn wait(self) -> Result<T> {
        self.0.recv().context("the thread of a host is gone")?
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic: every job gives a result.
            let _ = thread.join();
        }
    }
}
