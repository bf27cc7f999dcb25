//! Runs scenarios by their seeds, on every processor there is; what fails is made small and told.

use std::env;
use std::io::{self, Write};
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::generate::generate;
use crate::scenario::Scenario;
use crate::shrink::shrink;
use crate::witness::{Rule, Violation};
use crate::world::{Outcome, run};

/// Scenarios of the fixed set: those with the seeds from 0 on.
const FIXED: u64 = 3000;
/// How long fresh ones are run, unless TUNNELD_SIMULATE_SECONDS says otherwise.
const FRESH: Duration = Duration::from_secs(25);

/// Runs `scenario`; a panic breaks a rule too.
pub fn attempt(scenario: &Scenario) -> Result<Outcome, Violation> {
    catch_unwind(|| run(scenario)).unwrap_or_else(|_| {
        Err(Violation { rule: Rule::NoPanic, text: "see the message above".to_owned() })
    })
}

/// What many runs came to.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    slowest: Duration,
    took: Duration,
    cpus: usize,
}

/// Runs the scenarios with the seeds `first` and after, at most `most` of them and until `time` is over.
///
/// # Panics
/// If one of them breaks a rule; it is then told as small as it gets.
fn run_all(first: u64, most: u64, time: Duration) -> Tally {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let (begun, runs, failed) = (now(), AtomicU64::new(0), AtomicBool::new(false));
    let (failure, slowest) = (Mutex::new(None), Mutex::new(Duration::ZERO));
    let work = || {
        let mut mine = Duration::ZERO;
        while begun.elapsed() < time && !failed.load(Ordering::Relaxed) {
            let number = runs.fetch_add(1, Ordering::Relaxed);
            if number >= most {
                break;
            }
            let scenario = generate(first.wrapping_add(number));
            match attempt(&scenario) {
                Ok(Outcome { recovery, .. }) => mine = mine.max(recovery),
                Err(violation) => {
                    failed.store(true, Ordering::Relaxed);
                    failure.lock().unwrap().get_or_insert((scenario, violation));
                }
            }
        }
        let mut slowest = slowest.lock().unwrap();
        *slowest = mine.max(*slowest);
    };
    thread::scope(|scope| {
        for _ in 0..cpus {
            scope.spawn(work);
        }
    });
    if let Some((scenario, violation)) = failure.into_inner().unwrap() {
        panic!("{}", report(&scenario, &violation));
    }
    let runs = runs.into_inner().min(most);
    Tally { runs, slowest: slowest.into_inner().unwrap(), took: begun.elapsed(), cpus }
}

#[expect(clippy::disallowed_methods, reason = "how much is run depends on the time there is")]
fn now() -> Instant {
    Instant::now()
}

/// What is told of a scenario that broke a rule.
pub fn report(scenario: &Scenario, violation: &Violation) -> String {
    let Violation { rule, text } = violation;
    let same = |other: &Scenario| attempt(other).is_err_and(|found| found.rule == *rule);
    let small = shrink(scenario, same);
    let seed = scenario.seed;
    format!(
        "{rule:?} is broken: {text}\nas small as it gets: {small}again, whole: \
         TUNNELD_SIMULATE_SEED={seed} cargo test --test simulation asked"
    )
}

pub fn tell(text: &str) {
    // Not `eprintln!`: the test harness keeps that to itself when a test passes.
    let _ = writeln!(io::stderr(), "{text}");
}

pub fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn tell_tally(name: &str, first: u64, tally: &Tally) {
    let Tally { runs, slowest, took, cpus } = tally;
    let rate = *runs as f64 * 60.0 / took.as_secs_f64();
    tell(&format!(
        "{name}: {runs} scenarios from seed {first} on in {took:.1?} on {cpus} CPUs, {rate:.0} a \
         minute; the slowest recovery took {slowest:.1?}"
    ));
}

#[test]
fn a_fixed_set_of_scenarios_breaks_no_rule() {
    tell_tally("fixed", 0, &run_all(0, FIXED, Duration::MAX));
}

#[test]
fn fresh_scenarios_break_no_rule() {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    // Short, so that it can be typed.
    let first = u64::from_le_bytes(seed) >> 24;
    let time = number("TUNNELD_SIMULATE_SECONDS").map_or(FRESH, Duration::from_secs);
    tell_tally("fresh", first, &run_all(first, u64::MAX, time));
}

#[test]
fn the_scenario_that_is_asked_for_breaks_no_rule() {
    if let Some(seed) = number("TUNNELD_SIMULATE_SEED") {
        tell(&generate(seed).to_string());
        tell_tally("asked for", seed, &run_all(seed, 1, Duration::MAX));
    }
}
