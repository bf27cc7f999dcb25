//! Flows: a receiver on one host, a sender on the other, and what the receiver says.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::WARM_UP;
use crate::lab::{Lab, Side};
use crate::launch;
use crate::wait::BOUND;

/// What a flow carries.
#[derive(Clone, Copy)]
pub(crate) enum Payload {
    /// So many TCP streams.
    Tcp { streams: u32 },
    /// UDP datagrams of so many bytes.
    Udp { bytes: usize },
}

/// Traffic from one host to the other, as fast as it goes, until dropped.
pub(crate) struct Flow {
    receiver: Program,
    _sender: Program,
    seconds: Duration,
}

/// What a receiver counted: bytes of TCP, or datagrams.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) count: f64,
    pub(crate) seconds: f64,
}

impl Counted {
    /// In one second.
    pub(crate) fn rate(self) -> f64 {
        self.count / self.seconds
    }
}

impl Flow {
    /// Begins; `to` is the receiver's address.
    pub(crate) fn begin(
        lab: &Lab,
        payload: Payload,
        from: Side,
        to: Ipv4Addr,
        seconds: Duration,
    ) -> Result<Self> {
        let mut receiver = Program::start(lab, from.other(), |command| {
            match payload {
                Payload::Tcp { streams } => {
                    command.args(["tcp-receive", "--streams", &streams.to_string()])
                }
                Payload::Udp { .. } => command.arg("udp-receive"),
            };
            command.args([&to.to_string(), "--seconds", &seconds.as_secs_f64().to_string()]);
        })?;
        let address = receiver.wait_for("listening", BOUND)?;
        let sender = Program::start(lab, from, |command| {
            match payload {
                Payload::Tcp { streams } => {
                    command.args(["tcp-send", "--streams", &streams.to_string()])
                }
                Payload::Udp { bytes } => command.args(["udp-send", "--bytes", &bytes.to_string()]),
            };
            command.arg(address);
        })?;
        Ok(Self { receiver, _sender: sender, seconds })
    }

    /// Waits until the warm-up is over.
    pub(crate) fn wait_for_counting(&mut self) -> Result<()> {
        self.receiver.wait_for("counting", WARM_UP + BOUND).map(drop)
    }

    /// Waits for the end of the measure.
    pub(crate) fn finish(mut self) -> Result<Counted> {
        let said = self.receiver.wait_for("counted", WARM_UP + self.seconds + BOUND)?;
        let numbers: Vec<f64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [0.0, _] => bail!("nothing arrived"),
            [count, seconds] => Ok(Counted { count, seconds }),
            _ => bail!("a receiver said {said:?}"),
        }
    }
}

/// A generator that runs; killed when dropped.
pub(super) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts one on a host, with the words that `describe` adds.
    pub(super) fn start(
        lab: &Lab,
        side: Side,
        describe: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = launch::command(lab, side, launch::this_program()?)?;
        command.arg("traffic").stdout(Stdio::piped()).stderr(Stdio::null());
        describe(&mut command);
        let mut child = command.spawn().context("cannot start a generator")?;
        let output = child.stdout.take().context("a generator has no output")?;
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            // To the end of the output, or until nobody listens any more.
            BufReader::new(output).lines().map_while(Result::ok).all(|said| line.send(said).is_ok())
        });
        Ok(Self { child, lines })
    }

    /// Waits for a line that begins with `word`, and gives the rest of it.
    pub(super) fn wait_for(&mut self, word: &str, bound: Duration) -> Result<String> {
        loop {
            let Ok(line) = self.lines.recv_timeout(bound) else {
                bail!("a generator did not say {word:?} within {} s", bound.as_secs());
            };
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("error", reason) => bail!("{reason}"),
                (first, rest) if first == word => return Ok(rest.to_owned()),
                _ => {}
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
