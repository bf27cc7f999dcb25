//! `tunneld top`: a live view of a running daemon in the terminal.

mod history;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;
use std::{process, thread};

use anyhow::Context;
use nix::sys::signal::{SIGHUP, SIGTERM, SigSet};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};

use super::client::{Client, Target};
use crate::daemon::status::Status;
use history::History;

/// Between two looks at the daemon.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows the daemon that `target` means until the user quits; then the terminal is as it was.
///
/// # Errors
/// There is no daemon at first, or no terminal.
pub fn run(target: &Target) -> anyhow::Result<()> {
    anyhow::ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "top needs a terminal; tunneld status works without"
    );
    let mut client = Client::connect(target)?;
    let mut history = History::default();
    history.push(client.status()?);
    restore_when_told_to_end()?;
    // Also after a panic: it sets a hook.
    let mut terminal = ratatui::try_init().context("preparing the terminal")?;
    let result = watch(&mut terminal, client, target, history);
    ratatui::restore();
    result
}

/// A signal that ends the program leaves a terminal that still shows it, unless somebody takes care.
fn restore_when_told_to_end() -> io::Result<()> {
    let signals = SigSet::from_iter([SIGTERM, SIGHUP]);
    signals.thread_block()?;
    let wait = move || {
        if let Ok(signal) = signals.wait() {
            ratatui::restore();
            // As a shell tells who was ended by a signal.
            process::exit((signal as i32).saturating_add(128));
        }
    };
    thread::Builder::new().spawn(wait).map(drop)
}

fn watch(
    terminal: &mut DefaultTerminal,
    client: Client,
    target: &Target,
    mut history: History,
) -> anyhow::Result<()> {
    let mut client = Some(client);
    let mut trouble = None;
    loop {
        terminal.draw(|frame| view::draw(frame, &history, trouble.as_deref()))?;
        if wait_for_quit()? {
            return Ok(());
        }
        match look(&mut client, target) {
            Ok(status) => {
                history.push(status);
                trouble = None;
            }
            // It may be started again.
            Err(error) => {
                client = None;
                trouble = Some(error.to_string());
            }
        }
    }
}

fn look(client: &mut Option<Client>, target: &Target) -> anyhow::Result<Status> {
    let connected = match client {
        Some(client) => client,
        None => client.insert(Client::connect(target)?),
    };
    Ok(connected.status()?)
}

/// Waits for the next look; whether the user quits meanwhile. Any other key, or another size of the terminal, is a look too.
fn wait_for_quit() -> io::Result<bool> {
    Ok(event::poll(PERIOD)? && matches!(event::read()?, Event::Key(key) if quits(key)))
}

fn quits(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
