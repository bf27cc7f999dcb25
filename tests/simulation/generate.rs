//! Makes a scenario from a seed. Most are short, so that many can be run; a few are long enough for sessions to be
//! replaced, to end and to be erased.

use std::time::Duration;

use tunneld::crypto::Cipher;
use tunneld::proto::FrameRules;
use tunneld::wire::{Layer, Profile};

use crate::host::{millis, secs};
use crate::packets::{SHORTEST, STATIONS};
use crate::scenario::{Action, Scenario, Side, Step};
use crate::weather::Dice;

const TEN_YEARS: u64 = 10 * 365 * 86_400;

pub fn generate(seed: u64) -> Scenario {
    let dice = &mut Dice::new(seed ^ 0x5ca1_ab1e);
    let length = match dice.below(100) {
        0 => secs(700),
        1..5 => secs(200),
        _ => secs(15),
    };
    let apart = match dice.below(4) {
        0 => Duration::ZERO,
        1 => between(dice, Duration::ZERO, millis(200)),
        _ => between(dice, Duration::ZERO, secs(5)),
    };
    let steps = dice.below(8).min(dice.below(8)) + 1;
    let most_latency = if one_in(dice, 10) { secs(2) } else { millis(100) };
    let most_interval = if length > secs(15) { secs(30) } else { secs(5) };
    let steps = (0..steps).map(|_| step(dice, length)).collect();
    let listed = one_in(dice, 4);
    let only_second = (listed && one_in(dice, 2)).then(|| side(dice));
    Scenario {
        seed,
        latency: between(dice, millis(1), most_latency),
        lag: [Duration::ZERO, millis(1), millis(20)][dice.below(3) as usize],
        pace: [Duration::from_micros(100), millis(1)][dice.below(2) as usize],
        lookup: between(dice, Duration::ZERO, secs(2)),
        apart,
        a_is_named: only_second.is_some() || one_in(dice, 2),
        dead: dice.below(4).min(dice.below(4)) as u8,
        listed,
        only_second,
        keepalive: one_in(dice, 4).then(|| between(dice, secs(1), secs(30))),
        interval: between(dice, millis(500), most_interval),
        stays: if one_in(dice, 100) { secs(200) } else { Duration::ZERO },
        steps,
        sabotage: None,
        ..speech(dice)
    }
}

/// What both ends speak, which is the same but in one of twenty cases. Drawn last: what else a seed makes stays as it was.
fn speech(dice: &mut Dice) -> Scenario {
    let a = profile(dice);
    let b = if one_in(dice, 20) { profile(dice) } else { a };
    let speech = Scenario { profiles: [a, b], ..Scenario::calm(0) };
    if [a, b].map(Profile::layer) != [Layer::Ethernet; 2] {
        return speech;
    }
    Scenario {
        pieces: [1, 2, 2, 7][dice.below(4) as usize],
        frames: FrameRules {
            mac_limit: if one_in(dice, 2) { 4096 } else { STATIONS as usize - 1 },
            broadcast_limit: if one_in(dice, 2) { 5000 } else { 2 },
            link_local: one_in(dice, 2),
        },
        ..speech
    }
}

/// That of WireGuard as often as all others, and of these as many with frames as with packets.
fn profile(dice: &mut Dice) -> Profile {
    let cipher = Cipher::ALL[dice.below(2) as usize];
    let layer = [Layer::Ip, Layer::Ethernet][dice.below(2) as usize];
    if one_in(dice, 2) { Profile::WireGuard } else { Profile::Tunneld { cipher, layer } }
}

fn one_in(dice: &mut Dice, cases: u64) -> bool {
    dice.below(cases) == 0
}

fn between(dice: &mut Dice, least: Duration, most: Duration) -> Duration {
    least + Duration::from_micros(dice.below((most - least).as_micros() as u64 + 1))
}

fn side(dice: &mut Dice) -> Side {
    Side::BOTH[dice.below(2) as usize]
}

fn step(dice: &mut Dice, length: Duration) -> Step {
    let at = between(dice, Duration::ZERO, length);
    let lasts = between(dice, Duration::ZERO, length / 2);
    let action = action(dice);
    let lasts = match action {
        Action::Weather { .. } | Action::Partition { .. } | Action::Relay { .. } => lasts,
        Action::Suspend { .. } | Action::Restart { .. } => lasts / 4,
        Action::Replay { count, .. }
        | Action::Tamper { count, .. }
        | Action::Inject { count, .. } => millis(1) * count,
        _ => Duration::ZERO,
    };
    Step { at, lasts, action }
}

fn action(dice: &mut Dice) -> Action {
    let side = side(dice);
    match dice.below(40) {
        0..8 => Action::Weather {
            from: side,
            lost: dice.below(60),
            doubled: dice.below(50),
            altered: dice.below(30),
            late: between(dice, Duration::ZERO, millis(400)),
        },
        8..12 => Action::Partition { from: one_in(dice, 2).then_some(side) },
        12..14 => Action::Rebind { side },
        14..16 => Action::Move { side, told: one_in(dice, 2) },
        16..18 => Action::Wall { side, by: dice.below(2 * TEN_YEARS) as i64 - TEN_YEARS as i64 },
        18..20 => Action::Wall { side, by: dice.below(240) as i64 - 120 },
        20..22 => Action::Suspend { side, deaf: one_in(dice, 2) },
        22..24 => Action::Restart { side },
        24..28 => {
            let most = if one_in(dice, 8) { 300 } else { 20 };
            let (packets, len) =
                (1 + dice.below(most) as u32, SHORTEST + dice.below(1300) as usize);
            Action::Burst { side, packets, len }
        }
        28..31 => Action::Replay { dice: dice.roll(), count: 1 + dice.below(20) as u32 },
        31..34 => Action::Tamper { dice: dice.roll(), count: 1 + dice.below(20) as u32 },
        34..37 => Action::Inject { dice: dice.roll(), count: 1 + dice.below(10) as u32 },
        37 => Action::Flood { dice: dice.roll(), to: side, count: 1 + dice.below(4) as u32 },
        38 if one_in(dice, 8) => {
            Action::Flood { dice: dice.roll(), to: side, count: 513 + dice.below(400) as u32 }
        }
        _ => Action::Relay { withhold: one_in(dice, 2) },
    }
}
