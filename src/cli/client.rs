//! The daemon that the user means, and what it answers on its control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::daemon::runtime;
use crate::daemon::status::Status;

/// How long a daemon may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Bytes of a line that is still believed to have an end.
const LONGEST_LINE: u64 = 1 << 20;
const SUFFIX: &str = ".sock";

/// Which daemon is meant: the only one that runs, if nothing is said.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The name of its interface
    #[arg(short, long, value_name = "NAME", conflicts_with = "config")]
    pub interface: Option<String>,
    /// The configuration that it runs by
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None of those that run here runs by it.
    #[error(
        "no tunneld that runs here runs by {file}: {asked}; one of them can be chosen with -i NAME"
    )]
    NotRunBy {
        /// What was looked for.
        file: PathBuf,
        /// Those that were asked, by name, each with what it said.
        asked: String,
    },
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
    /// Connects to the daemon that `target` means. No configuration is read: it may be wrong by now, name another
    /// interface, or be for other eyes.
    pub(super) fn connect(target: &Target) -> Result<Self, ClientError> {
        let directory = runtime::directory();
        match (&target.interface, &target.config) {
            (Some(name), _) => Self::of(&directory, name),
            (None, Some(file)) => Self::by_file(&directory, file),
            (None, None) => Self::of(&directory, &only(&directory)?),
        }
    }

    /// Connects to the daemon of this interface.
    fn of(directory: &Path, name: &str) -> Result<Self, ClientError> {
        if name.is_empty() || name.contains('/') {
            return Err(ClientError::Name(name.to_owned()));
        }
        let path = directory.join(format!("{name}{SUFFIX}"));
        let connect = || {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            stream.set_write_timeout(Some(ANSWER_TIME))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), path }),
            Err(cause) => Err(ClientError::Unreachable { path, cause }),
        }
    }

    /// Connects to the daemon that says that it runs by this file.
    fn by_file(directory: &Path, file: &Path) -> Result<Self, ClientError> {
        let names = names(directory);
        if names.is_empty() {
            return Err(ClientError::Nobody(directory.to_owned()));
        }
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for name in names {
            let connected = Self::of(directory, &name);
            match connected.and_then(|mut client| Ok((client.file()?, client))) {
                Ok((own, client)) if is_same(Path::new(&own), file) => found.push((name, client)),
                Ok((own, _)) => others.push(format!("{name} runs by {own}")),
                Err(error) => others.push(format!("{name}: {error}")),
            }
        }
        match <[_; 1]>::try_from(found) {
            Ok([(_, client)]) => Ok(client),
            Err(found) if found.is_empty() => {
                Err(ClientError::NotRunBy { file: file.to_owned(), asked: others.join(", ") })
            }
            Err(found) => {
                let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
                Err(ClientError::Several(names.join(", ")))
            }
        }
    }

    /// The name of its interface, by which it was found.
    pub(super) fn interface(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Asks how it is.
    pub(super) fn status(&mut self) -> Result<Status, ClientError> {
        self.ask("status")?;
        parse(&self.line()?)
    }

    /// Asks by which file it runs. Of another version's answer no more need be understood.
    fn file(&mut self) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Own {
            file: String,
        }
        self.ask("status")?;
        Ok(parse::<Own>(&self.line()?)?.file)
    }

    /// Has it read its file anew.
    pub(super) fn reload(&mut self) -> Result<(), ClientError> {
        self.change(&serde_json::json!({ "command": "reload" })).map(drop)
    }

    /// Has it try `file`, or its own as it is now, for so long; the id of the trial.
    pub(super) fn apply(
        &mut self,
        file: Option<&Path>,
        seconds: u64,
    ) -> Result<String, ClientError> {
        let request = serde_json::json!({ "command": "apply", "file": file, "seconds": seconds });
        self.change(&request)
    }

    /// Has it keep what it tries, if that is this trial.
    pub(super) fn confirm(&mut self, trial: &str) -> Result<(), ClientError> {
        self.change(&serde_json::json!({ "command": "confirm", "trial": trial })).map(drop)
    }

    /// Has it go back to what was before this trial, if that goes on.
    pub(super) fn revert(&mut self, trial: &str) -> Result<(), ClientError> {
        self.change(&serde_json::json!({ "command": "revert", "trial": trial })).map(drop)
    }

    /// Has it change something; the id of the trial that this began or ended, which is empty if it did neither.
    fn change(&mut self, request: &serde_json::Value) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Done {
            done: String,
            #[serde(default)]
            trial: String,
        }
        self.send(&request.to_string())?;
        let Done { done, trial } = parse(&self.line()?)?;
        if request.get("command") != Some(&done.as_str().into()) {
            // The answer to an earlier request that was not waited for.
            return Err(self.unreachable(io::Error::other("it answers something else")));
        }
        Ok(trial)
    }

    /// Asks for all that happens: each line is an event, with no limit of time between two.
    pub(super) fn listen(&mut self) -> Result<(), ClientError> {
        self.ask("events")?;
        let unlimited = self.stream.get_ref().set_read_timeout(None);
        unlimited.map_err(|cause| self.unreachable(cause))
    }

    /// The next line that it sends. Who has taken a daemon over is to gain nothing by what it says: a line has an end, and
    /// no signs that command a terminal.
    pub(super) fn line(&mut self) -> Result<String, ClientError> {
        let mut line = String::new();
        match (&mut self.stream).take(LONGEST_LINE).read_line(&mut line) {
            Ok(0) => Err(self.closed()),
            Ok(_) if !is_plain(&line) => {
                Err(self.unreachable(io::Error::other("it answers what is no line of text")))
            }
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

/// Whether this is a whole line, whose JSON has no signs but for people.
fn is_plain(line: &str) -> bool {
    let Some(line) = line.strip_suffix('\n') else { return false };
    // Two backslashes are one in the text.
    let escapes = line.replace(r"\\", "");
    let commands = [r"\u00", r"\b", r"\f", r"\r"];
    !line.contains(char::is_control) && !commands.iter().any(|sign| escapes.contains(sign))
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

/// Whether two paths lead to one file. Where who asks may not look, they must be written alike.
fn is_same(one: &Path, other: &Path) -> bool {
    std::path::absolute(other).is_ok_and(|other| one == other)
        || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|it| it == one))
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
    fn a_line_that_commands_a_terminal_is_no_answer() {
        for line in ["{}\n", "{\"file\":\"/é\\\\u001b\"}\n", "\"a\\nb\"\n"] {
            assert!(is_plain(line), "{line:?}");
        }
        for line in [
            "",
            "{}",
            "\x1b[1A\n",
            "\"\\u001b[1A\"\n",
            "\"\\\\\\u009b\"\n",
            "\"a\\rb\"\n",
            "a\nb\n",
        ] {
            assert!(!is_plain(line), "{line:?}");
        }
    }

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
