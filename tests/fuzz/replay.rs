//! Replays the inputs that the fuzzer kept, without a fuzzer.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use crate::checks::{
    coalesce, config, datagram, frames, inner, machine, parsers, pieces, segments,
};

/// Checks all inputs of `target`: the corpus, and those that once failed.
fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let corpus = fs::read_dir(fuzz.join("corpus").join(target)).unwrap();
    let found = fs::read_dir(fuzz.join("found").join(target)).into_iter().flatten();
    let mut count = 0;
    for file in corpus.chain(found) {
        let path = file.unwrap().path();
        let input = fs::read(&path).unwrap();
        assert!(catch_unwind(|| check(&input)).is_ok(), "fails on {}", path.display());
        count += 1;
    }
    assert!(count > 0, "{target} has no inputs");
}

#[test]
fn what_is_coalesced_and_split_again_is_what_came() {
    replay("coalesce", coalesce::check);
}

#[test]
fn any_text_is_a_configuration_or_is_refused_with_its_place() {
    replay("config", config::check);
}

#[test]
fn what_strangers_throw_at_a_live_tunnel_changes_nothing() {
    replay("datagram", datagram::check);
}

#[test]
fn only_whole_frames_that_may_cross_reach_the_device_and_memory_is_bounded() {
    replay("frames", frames::check);
}

#[test]
fn only_proper_packets_of_allowed_sources_reach_the_device() {
    replay("inner", inner::check);
}

#[test]
fn two_hosts_on_any_wire_keep_to_the_model() {
    replay("machine", machine::check);
}

#[test]
fn what_a_parser_accepts_is_what_the_bytes_say() {
    replay("parsers", parsers::check);
}

#[test]
fn frames_in_pieces_come_out_as_they_went_in_or_not_at_all() {
    replay("pieces", pieces::check);
}

#[test]
fn what_the_device_gives_is_split_right_or_refused() {
    replay("segments", segments::check);
}
