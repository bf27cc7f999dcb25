//! The daemon that the user means, and what it answers on its control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::daemon::runtime;
use crate::daemon::status::Status;

/// How long a daemon may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
const SUFFIX: &str = ".sock";

/// Which daemon is meant: the only one that runs, if nothing is said.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The name of its interface
    #[arg(short, long, value_name = "NAME", conflicts_with = "config")]
    pub interface: Option<String>,
    /// Its configuration
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None of those that run here runs by it.
    #[error("no tunneld that runs here runs by {0}")]
    NotRunBy(PathBuf),
    /// The command line does not say which.
    #[error("several tunneld run here: {0}; choose one of them with -i NAME")]
    Several(String),
    /// What was given cannot be the name of an interface.
    #[error(
        "-i: {0:?} is no name of an interface; accepted: the [interface] name of a tunneld that runs here"
    )]
    Name(String),
    /// There is none.
    #[error("no tunneld runs here: there is no socket in {0}")]
    Nobody(PathBuf),
    /// It cannot be reached.
    #[error("no tunneld answers at {path}: {cause}{}", advice(.cause))]
    Unreachable {
        /// Where its socket is.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It refuses, or answers something else.
    #[error("tunneld answers: {0}")]
    Refused(String),
}

impl ClientError {
    /// Whether only who typed the command line can mend it.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Several(_) | Self::Name(_))
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; root may ask, and the group that the socket belongs to"
        }
        io::ErrorKind::NotFound => "; is it running?",
        _ => "",
    }
}

/// A connection to a daemon.
pub(super) struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to each daemon that runs here.
    pub(super) fn connect_all() -> Vec<Self> {
        let interfaces = names(&runtime::directory());
        let target = |name| Target { interface: Some(name), config: None };
        // Where nobody answers, one was killed.
        interfaces.into_iter().filter_map(|name| Self::connect(&target(name)).ok()).collect()
    }

    /// Connects to the daemon that `target` means.
    pub(super) fn connect(target: &Target) -> anyhow::Result<Self> {
        let path = socket(target)?;
        let connect = || {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            stream.set_write_timeout(Some(ANSWER_TIME))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), path }),
            Err(cause) => Err(ClientError::Unreachable { path, cause }.into()),
        }
    }

    /// Connects to the daemon that `target` means, without reading its file: that may be wrong by now.
    pub(super) fn find(target: &Target) -> anyhow::Result<Self> {
        let Some(file) = &target.config else { return Self::connect(target) };
        let wanted = fs::canonicalize(file).ok();
        let runs_by_it = |client: &mut Self| {
            let own = client.status().ok().and_then(|status| fs::canonicalize(status.file).ok());
            own.is_some() && own == wanted
        };
        let found = Self::connect_all()
            .into_iter()
            .find_map(|mut client| runs_by_it(&mut client).then_some(client));
        found.ok_or_else(|| ClientError::NotRunBy(file.clone()).into())
    }

    /// Asks how it is.
    pub(super) fn status(&mut self) -> Result<Status, ClientError> {
        self.ask("status")?;
        parse(&self.line()?)
    }

    /// Has it read its file anew, if that is `file`; whether it has.
    pub(super) fn reload(&mut self, file: Option<&Path>) -> Result<bool, ClientError> {
        self.change(&serde_json::json!({ "command": "reload", "file": file }))
    }

    /// Has it try `file` for so long.
    pub(super) fn apply(&mut self, file: &Path, seconds: u64) -> Result<(), ClientError> {
        let request = serde_json::json!({ "command": "apply", "file": file, "seconds": seconds });
        self.change(&request).map(drop)
    }

    /// Has it keep what it tries.
    pub(super) fn confirm(&mut self) -> Result<(), ClientError> {
        self.change(&serde_json::json!({ "command": "confirm" })).map(drop)
    }

    /// Has it go back to what was before it tried something.
    pub(super) fn revert(&mut self) -> Result<(), ClientError> {
        self.change(&serde_json::json!({ "command": "revert" })).map(drop)
    }

    /// Has it change something; whether there was anything to do for it.
    fn change(&mut self, request: &serde_json::Value) -> Result<bool, ClientError> {
        #[derive(Deserialize)]
        struct Done {
            done: String,
        }
        self.send(&request.to_string())?;
        let Done { done } = parse(&self.line()?)?;
        if done != "nothing" && request.get("command") != Some(&done.as_str().into()) {
            // The answer to an earlier request that was not waited for.
            return Err(self.unreachable(io::Error::other("it answers something else")));
        }
        Ok(done != "nothing")
    }

    /// Asks for all that happens: each line is an event, with no limit of time between two.
    pub(super) fn listen(&mut self) -> Result<(), ClientError> {
        self.ask("events")?;
        let unlimited = self.stream.get_ref().set_read_timeout(None);
        unlimited.map_err(|cause| self.unreachable(cause))
    }

    /// The next line that it sends.
    pub(super) fn line(&mut self) -> Result<String, ClientError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(self.closed()),
            Ok(_) => Ok(line),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                Err(self.unreachable(io::Error::other("it does not answer")))
            }
            Err(cause) => Err(self.broken(cause)),
        }
    }

    fn ask(&mut self, command: &str) -> Result<(), ClientError> {
        self.send(&format!("{{\"command\":\"{command}\"}}"))
    }

    fn send(&mut self, request: &str) -> Result<(), ClientError> {
        let sent = self.stream.get_ref().write_all(format!("{request}\n").as_bytes());
        sent.map_err(|cause| self.broken(cause))
    }

    fn broken(&self, cause: io::Error) -> ClientError {
        match cause.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.closed(),
            _ => self.unreachable(cause),
        }
    }

    fn closed(&self) -> ClientError {
        let why = "it has closed the connection: it ends, or serves as many others as it may";
        self.unreachable(io::Error::other(why))
    }

    fn unreachable(&self, cause: io::Error) -> ClientError {
        ClientError::Unreachable { path: self.path.clone(), cause }
    }
}

/// An answer, unless it is a refusal.
pub(super) fn parse<T: DeserializeOwned>(line: &str) -> Result<T, ClientError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_str(line).map_err(|error| {
        let refusal = serde_json::from_str::<Refusal>(line);
        ClientError::Refused(refusal.map_or_else(|_| error.to_string(), |refusal| refusal.error))
    })
}

/// Where the socket of the daemon is that `target` means.
fn socket(target: &Target) -> anyhow::Result<PathBuf> {
    let directory = runtime::directory();
    let name = match target {
        Target { interface: Some(name), .. } => name.clone(),
        Target { config: Some(file), .. } => Config::load(file)?.interface.name,
        _ => only(&directory)?,
    };
    if name.is_empty() || name.contains('/') {
        return Err(ClientError::Name(name).into());
    }
    Ok(directory.join(format!("{name}{SUFFIX}")))
}

/// The names of those that have a socket in `directory`, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect();
    names.sort();
    names
}

/// The name of the only daemon that has a socket in `directory`.
fn only(directory: &Path) -> Result<String, ClientError> {
    let names = names(directory);
    match names.as_slice() {
        [] => Err(ClientError::Nobody(directory.to_owned())),
        [one] => Ok(one.clone()),
        _ => Err(ClientError::Several(names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn the_only_daemon_is_meant_if_nothing_is_said() {
        let directory = tempdir().unwrap();
        let place = |name: &str| fs::write(directory.path().join(name), "").unwrap();
        place("tun0.4026531840.lock");
        assert!(matches!(only(directory.path()), Err(ClientError::Nobody(_))));
        place("tun0.sock");
        assert_eq!(only(directory.path()).unwrap(), "tun0");
        place("a.b.sock");
        let several = only(directory.path()).unwrap_err();
        assert!(several.is_usage() && several.to_string().contains("a.b, tun0"), "{several}");
    }

    #[test]
    fn a_refusal_is_told_in_the_daemons_words() {
        let error = parse::<Status>("{\"error\":\"no\"}\n").unwrap_err();
        assert_eq!(error.to_string(), "tunneld answers: no");
    }
}
