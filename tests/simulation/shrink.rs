//! Makes a scenario that fails smaller, as long as it still fails.

use std::time::Duration;

use crate::scenario::{Action, Scenario, Step};

/// The smallest scenario that was found for which `fails` still holds.
pub fn shrink(scenario: &Scenario, fails: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut best = scenario.clone();
    // Each round makes it smaller; the bound is for the reader.
    for _ in 0..100 {
        let smaller = candidates(&best).find(|candidate| fails(candidate));
        match smaller {
            Some(smaller) => best = smaller,
            None => break,
        }
    }
    best
}

/// Smaller scenarios, the smallest first: without half of the steps, a quarter, and so on down to one; then with
/// steps that do less; then with a simpler path.
fn candidates(scenario: &Scenario) -> impl Iterator<Item = Scenario> {
    let steps = scenario.steps.len();
    let sizes = std::iter::successors(Some(steps.div_ceil(2)), |size| Some(size / 2));
    let without = sizes.take_while(|size| *size > 0).flat_map(move |size| {
        (0..steps).step_by(size).map(move |from| from..steps.min(from + size))
    });
    let without = without.map(|range| {
        let mut smaller = scenario.clone();
        smaller.steps.drain(range);
        smaller
    });
    let lesser = (0..steps).flat_map(move |index| {
        lesser(&scenario.steps[index]).map(move |step| {
            let mut smaller = scenario.clone();
            smaller.steps[index] = step;
            smaller
        })
    });
    without.chain(lesser).chain(simpler(scenario))
}

/// The step sooner, shorter, or with less in it.
fn lesser(step: &Step) -> impl Iterator<Item = Step> {
    let half = |time: Duration| Duration::from_millis((time / 2).as_millis() as u64);
    let sooner = Step { at: half(step.at), ..*step };
    let shorter = Step { lasts: half(step.lasts), ..*step };
    let less = Step { action: less(step.action), ..*step };
    let changed = [
        (sooner, step.at > Duration::ZERO),
        (shorter, step.lasts > Duration::ZERO),
        (less, format!("{:?}", less.action) != format!("{:?}", step.action)),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(step, _)| step)
}

fn less(action: Action) -> Action {
    match action {
        Action::Weather { from, lost, doubled, altered, late } => Action::Weather {
            from,
            lost: lost / 2,
            doubled: doubled / 2,
            altered: altered / 2,
            late: late / 2,
        },
        Action::Wall { side, by } => Action::Wall { side, by: by / 2 },
        Action::Burst { side, packets, len } => {
            Action::Burst { side, packets: packets.div_ceil(2), len }
        }
        Action::Replay { dice, count } => Action::Replay { dice, count: count.div_ceil(2) },
        Action::Tamper { dice, count } => Action::Tamper { dice, count: count.div_ceil(2) },
        Action::Inject { dice, count } => Action::Inject { dice, count: count.div_ceil(2) },
        Action::Flood { dice, to, count } => Action::Flood { dice, to, count: count.div_ceil(2) },
        other => other,
    }
}

fn simpler(scenario: &Scenario) -> impl Iterator<Item = Scenario> {
    let calm = Scenario::calm(scenario.seed);
    let simpler = [
        Scenario { lag: calm.lag, ..scenario.clone() },
        Scenario { pace: calm.pace, ..scenario.clone() },
        Scenario { lookup: calm.lookup, ..scenario.clone() },
        Scenario { apart: calm.apart, ..scenario.clone() },
        Scenario { stays: calm.stays, ..scenario.clone() },
        Scenario { keepalive: calm.keepalive, ..scenario.clone() },
        Scenario { frames: calm.frames, ..scenario.clone() },
        Scenario { pieces: calm.pieces, ..scenario.clone() },
        Scenario { pieces: calm.pieces, profiles: calm.profiles, ..scenario.clone() },
        Scenario { a_is_named: calm.a_is_named, ..scenario.clone() },
        Scenario { dead: calm.dead, ..scenario.clone() },
        Scenario { only_second: calm.only_second, ..scenario.clone() },
        Scenario { only_second: calm.only_second, listed: calm.listed, ..scenario.clone() },
        Scenario { latency: calm.latency, ..scenario.clone() },
        Scenario { interval: calm.interval, ..scenario.clone() },
    ];
    let before = scenario.to_string();
    simpler.into_iter().filter(move |simpler| simpler.to_string() != before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::secs;
    use crate::scenario::Side;

    fn step(at: u64, action: Action) -> Step {
        Step { at: secs(at), lasts: secs(8), action }
    }

    /// Thirty faults, of which only the two together make it fail.
    fn fails(scenario: &Scenario) -> bool {
        let any = |like: fn(&Action) -> bool| scenario.steps.iter().any(|step| like(&step.action));
        any(|action| matches!(action, Action::Restart { side: Side::B }))
            && any(|action| matches!(action, Action::Wall { by, .. } if *by <= -5))
    }

    #[test]
    fn of_many_steps_those_remain_that_make_it_fail_and_they_do_as_little_as_they_can() {
        let filler = (0..28).map(|at| step(at, Action::Move { side: Side::A, told: true }));
        let mut steps = filler.collect::<Vec<_>>();
        steps.insert(3, step(9, Action::Wall { side: Side::A, by: -1000 }));
        steps.insert(20, step(7, Action::Restart { side: Side::B }));
        let scenario =
            Scenario { steps, latency: secs(2), keepalive: Some(secs(9)), ..Scenario::calm(1) };
        let expected = Scenario {
            steps: vec![
                Step {
                    at: Duration::ZERO,
                    lasts: Duration::ZERO,
                    action: Action::Wall { side: Side::A, by: -7 },
                },
                Step {
                    at: Duration::ZERO,
                    lasts: Duration::ZERO,
                    action: Action::Restart { side: Side::B },
                },
            ],
            ..Scenario::calm(1)
        };
        assert_eq!(shrink(&scenario, fails).to_string(), expected.to_string());
    }

    #[test]
    fn what_fails_without_any_step_is_left_without_any() {
        let steps = vec![step(1, Action::Rebind { side: Side::A }); 3];
        let small = shrink(&Scenario { steps, ..Scenario::calm(1) }, |_| true);
        assert!(small.steps.is_empty());
    }
}
