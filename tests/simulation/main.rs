//! Two whole cores on a virtual clock and a virtual wire: every run follows from one seed, every rule is checked at
//! every step, and a run that breaks one is made as small as it gets.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test's own rooms")]

mod agenda;
mod attacker;
mod checks;
mod conduct;
mod end;
mod generate;
#[path = "../protocol/host.rs"]
mod host;
mod liveness;
mod long;
mod packets;
#[path = "../protocol/paper.rs"]
mod paper;
mod places;
mod runs;
mod sabotage;
mod scenario;
mod shrink;
#[path = "../protocol/weather.rs"]
mod weather;
mod wire;
mod witness;
mod world;
