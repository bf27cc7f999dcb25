//! `tunneld apply`: a running daemon tries a configuration, and goes back by itself unless the peer answers and the user
//! says that it is to be kept.

use std::future::pending;
use std::io::{self, BufRead as _, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::Mistake;
use super::candidate::Candidate;
use super::client::{Client, ClientError, Target};
use crate::config::{Config, DEFAULT_PATH};
use crate::daemon::status::Trial;
use crate::daemon::trial::TRIAL_SECONDS;

/// How often to look how the trial is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How much longer than the trial may take the program waits to hear that it is over.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the configurations of `tunneld@.service` are.
const UNIT_DIRECTORY: &str = "/etc/tunneld";
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 80;

/// What is asked for.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// How long the trial lasts: 10s to 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    confirm: u64,
    /// What to try, and to put in the place of the daemon's own file if it is kept; if not given, that file as it is
    /// now. Unless the daemon's own file is that of a unit, -c names it
    file: Option<PathBuf>,
}

/// The trial was not confirmed.
#[derive(Debug, thiserror::Error)]
#[error("not kept: {why}; {now}{advice}")]
struct NotKept {
    why: anyhow::Error,
    now: String,
    advice: String,
}

/// Has the daemon try the file, and keep it if the user says so.
///
/// # Errors
/// The daemon refuses to try it, and nothing has changed; or it was tried and not kept.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut client = Client::connect(&options.target)?;
    let own = PathBuf::from(client.status()?.file);
    let candidate = match &options.file {
        Some(file) => Candidate::beside(&place(&options.target, client.interface(), &own)?, file)?,
        None => None,
    };
    let tried = candidate.as_ref().map(Candidate::path);
    if let Some(config) = tried.and_then(|copy| Config::load(copy).ok())
        && config.interface.name != client.interface()
    {
        let (wanted, asked) = (config.interface.name, client.interface());
        let text = format!(
            "[interface] name needs a restart: it is {wanted} in the file, and {asked} is asked to try it"
        );
        return Err(Mistake(text).into());
    }
    let file = options.file.as_deref().unwrap_or(&own);
    let trial = match client.apply(tried, options.confirm) {
        Ok(trial) => trial,
        Err(ClientError::Refused(reason)) => {
            // The user does not know the copy.
            let copy = tried.unwrap_or(file).to_string_lossy();
            return Err(Mistake(reason.replace(&*copy, &file.to_string_lossy())).into());
        }
        Err(error) => return Err(error.into()),
    };
    let seconds = options.confirm;
    let runtime = super::runtime()?;
    let instead = match &candidate {
        Some(candidate) => format!(" instead of {}", candidate.place().display()),
        None => String::new(),
    };
    let shown = format!(
        "Trying {}{instead} for {seconds} s as trial {trial}, and waiting for the peer's answer.\n",
        file.display()
    );
    if let Err(why) = runtime.block_on(confirm(&mut client, &trial, seconds, &shown)) {
        let now = match client.revert(&trial) {
            Ok(()) => "the configuration before is back".to_owned(),
            Err(ClientError::Refused(how_it_ended)) => how_it_ended,
            Err(error) => {
                format!("{error}: tunneld goes back by itself; tunneld status says whether it has")
            }
        };
        let advice = match candidate {
            None => format!(
                ", but {} still has what was tried: mend it before the next reload or start",
                own.display()
            ),
            Some(_) => String::new(),
        };
        return Err(NotKept { why, now, advice }.into());
    }
    let Some(candidate) = candidate else { return Ok(super::print("Kept.\n")?) };
    let place = candidate.take_its_place()?;
    Ok(super::print(&format!("Kept: {} is now what was tried.\n", place.display()))?)
}

/// The file that is to be replaced: the one that the user named, or that of the unit for this interface. The daemon
/// says that it runs by `own`, but who has taken it over must not choose which file root writes.
fn place(target: &Target, interface: &str, own: &Path) -> Result<PathBuf, Mistake> {
    if let Some(named) = &target.config {
        return Ok(named.clone());
    }
    if is_of_a_unit(own) && Config::load(own).is_ok_and(|config| config.interface.name == interface)
    {
        return Ok(own.to_owned());
    }
    let own = own.display();
    Err(Mistake(format!(
        "the tunneld of {interface} says that it runs by {own}, and only it says so; name the file to be replaced with -c FILE; \
         not needed where that is {DEFAULT_PATH} or in {UNIT_DIRECTORY}, and is right and of this interface"
    )))
}

/// Whether it is what one of the units names, in a place where only root writes.
fn is_of_a_unit(file: &Path) -> bool {
    let is_instance = file.parent() == Some(Path::new(UNIT_DIRECTORY))
        && file.extension().is_some_and(|extension| extension == "toml");
    file == Path::new(DEFAULT_PATH) || is_instance
}

/// Waits until the peer has answered, asks the user, and confirms.
///
/// # Errors
/// Why it is not kept.
async fn confirm(
    client: &mut Client,
    trial: &str,
    seconds: u64,
    shown: &str,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    super::print(shown)?;
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let over = tokio::time::sleep(Duration::from_secs(seconds).saturating_add(PATIENCE));
    tokio::pin!(over);
    let mut answer = None;
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => bail!("interrupted"),
            _ = hangup.recv() => bail!("the terminal is gone"),
            _ = terminate.recv() => bail!("terminated"),
            () = &mut over => bail!("the time was over"),
            line = given(&mut answer) => {
                if line.trim() != "yes" {
                    bail!("the answer was not yes");
                }
                return Ok(client.confirm(trial)?);
            }
            _ = looks.tick() => {
                let status = status_of(client, trial)?;
                if status.peer_answered && answer.is_none() {
                    let seconds = status.seconds_left as u64;
                    super::print(&format!("The peer answers. Keep it? Type yes within {seconds} s: "))?;
                    answer = Some(ask()?);
                }
            }
        }
    }
}

/// How the trial is.
fn status_of(client: &mut Client, trial: &str) -> anyhow::Result<Trial> {
    match client.status()?.trial {
        Some(status) if status.id == trial => Ok(status),
        _ => bail!("the time was over, or somebody else ended it"),
    }
}

/// Begins to read one line from standard input.
fn ask() -> io::Result<oneshot::Receiver<String>> {
    let (give, given) = oneshot::channel();
    thread::Builder::new().name("answer".to_owned()).spawn(move || {
        let mut line = String::new();
        // What cannot be read is not yes.
        let _ = io::stdin().lock().take(LONGEST_ANSWER).read_line(&mut line);
        let _ = give.send(line);
    })?;
    Ok(given)
}

/// Waits for the line that was asked for, if one was.
async fn given(answer: &mut Option<oneshot::Receiver<String>>) -> String {
    match answer {
        Some(line) => line.await.unwrap_or_default(),
        None => pending().await,
    }
}

/// A time as the user writes it, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let unit =
        units.into_iter().find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length)));
    let (number, length) = unit.unwrap_or((text, 1));
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(length));
    let accepted = "accepted: a time from 10s to 1h, like 60s or 5m";
    seconds.filter(|seconds| TRIAL_SECONDS.contains(seconds)).ok_or_else(|| accepted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_units_are_replaced_on_a_daemons_word() {
        for file in ["/etc/tunneld.toml", "/etc/tunneld/b.toml"] {
            assert!(is_of_a_unit(Path::new(file)), "{file}");
        }
        for file in [
            "/etc/passwd",
            "/etc/tunneld/private.key",
            "/etc/tunneld/../cron.d/b.toml",
            "/etc/tunneld/a/b.toml",
            "/tmp/tunneld.toml",
            "etc/tunneld.toml",
            "",
        ] {
            assert!(!is_of_a_unit(Path::new(file)), "{file}");
        }
    }

    #[test]
    fn a_time_is_a_number_with_or_without_a_unit() {
        assert_eq!(
            ["10s", "90", "5m", "1h"].map(|text| seconds(text).unwrap()),
            [10, 90, 300, 3600]
        );
        for text in [
            "",
            "s",
            "9s",
            "-1s",
            "1.5m",
            "61m",
            "2h",
            "1d",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert!(seconds(text).unwrap_err().contains("accepted: "), "{text}");
        }
    }
}
