//! What is counted: by a daemon until its end, and by a packet filter on a host.

use std::fs;

use super::lab::{DISCARDED, Host, Lab, expect_success};

/// How often a daemon that has ended says it met this reason to discard.
pub(crate) fn discards(said: &str, reason: &str) -> u64 {
    let line = said.lines().rfind(|line| line.contains(DISCARDED)).expect("it told its counters");
    let met = line.split_whitespace().filter_map(|word| word.split_once('='));
    let counts = met.filter(|(name, _)| *name == reason).map(|(_, count)| count);
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}

/// Loads a packet filter with these rules into the table `lab` of a host. Each counter in it is named before it is used.
pub(crate) fn filter(lab: &Lab, host: Host, rules: &str) {
    let file = lab.directory_of(host).join("filter");
    fs::write(&file, format!("table inet lab {{\n{rules}\n}}\n")).expect("the directory is ours");
    expect_success(&lab.run(host, &format!("nft -f {}", file.display())));
}

/// The packets that such a counter saw.
pub(crate) fn packets(lab: &Lab, host: Host, counter: &str) -> u64 {
    let output = lab.run(host, &format!("nft list counter inet lab {counter}"));
    expect_success(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("a counter: {said}"))
}

/// The counters of these names that a daemon told of at its end, all on one line.
pub(crate) fn told<const N: usize>(said: &str, names: [&str; N]) -> [u64; N] {
    let counters = |line: &str| {
        let value = |name: &&str| {
            let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(key, _)| key == name).and_then(|(_, value)| value.parse().ok())
        };
        let values: Option<Vec<u64>> = names.iter().map(value).collect();
        values.and_then(|values| values.try_into().ok())
    };
    said.lines().rev().find_map(counters).unwrap_or_else(|| panic!("{names:?} in {said}"))
}
