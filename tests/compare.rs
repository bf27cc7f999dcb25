//! The arithmetic of the benchmark `compare`: what it makes of its figures. The benchmark itself needs root and minutes;
//! this part needs neither.

#[path = "bench/compare/report/mod.rs"]
mod report;

use report::results::median;
use report::verdict::{Line, lines};
use report::{
    Circumstances, Cpus, Kind, Measure, Results, Subject, render, replace_between_markers,
};

const NONE: Subject = subject("none", Kind::NoTunnel);
const TUNNELD: Subject = subject("tunneld", Kind::Tunneld);
const TAP: Subject = subject("tunneld-tap", Kind::Variant);
const FASTD: Subject = subject("fastd", Kind::Encrypting);
const GOTATUN: Subject = subject("gotatun", Kind::Encrypting);
const VTUN: Subject = subject("vtun", Kind::Plain);

const fn subject(name: &'static str, kind: Kind) -> Subject {
    Subject { name, kind, configuration: "defaults" }
}

/// Results of one round on all CPUs.
fn results(figures: &[(Subject, Measure, f64)]) -> Results {
    let mut results = Results::default();
    for subject in [NONE, TUNNELD, FASTD, GOTATUN, VTUN] {
        results.add_subject(subject, "1.0".to_owned());
    }
    for (subject, measure, figure) in figures {
        results.add(subject, Cpus::All, *measure, *figure);
    }
    results
}

/// The line of the verdict that begins so.
fn line(results: &Results, what: &str) -> Line {
    let found = lines(results).into_iter().find(|line| line.what.starts_with(what));
    found.expect("there is such a line")
}

#[test]
fn the_median_is_the_value_in_the_middle_or_between_the_two_there() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
}

#[test]
fn a_variant_is_measured_by_the_default_in_its_slower_direction() {
    let mut results =
        results(&[(TUNNELD, Measure::TcpThere, 4.0), (TUNNELD, Measure::TcpBack, 4.0)]);
    results.add_subject(TAP, "1.0".to_owned());
    results.add(&TAP, Cpus::All, Measure::TcpThere, 4.4);
    results.add(&TAP, Cpus::All, Measure::TcpBack, 3.0);
    let tap = line(&results, "TCP, one stream, tunneld-tap to tunneld");
    assert_eq!((tap.measured, tap.is_shown()), (Some(0.75), Some(false)));
    let aes = line(&results, "TCP, one stream, tunneld-aes to tunneld");
    assert_eq!((aes.measured, aes.is_shown()), (None, None));
}

#[test]
fn a_ratio_is_that_of_medians_to_tunneld() {
    let mut results = results(&[]);
    for (ours, theirs) in [(4.0, 1.0), (8.0, 1.0), (4.0, 7.0)] {
        results.add(&TUNNELD, Cpus::One, Measure::TcpBoth, ours);
        results.add(&FASTD, Cpus::One, Measure::TcpBoth, theirs);
    }
    assert_eq!(results.ratio(&FASTD, Cpus::One, Measure::TcpBoth), Some(0.25));
    assert_eq!(results.ratio(&FASTD, Cpus::All, Measure::TcpBoth), None);
}

#[test]
fn of_one_stream_the_slower_direction_counts() {
    let results = results(&[
        (TUNNELD, Measure::TcpThere, 10.0),
        (TUNNELD, Measure::TcpBack, 10.0),
        (FASTD, Measure::TcpThere, 1.0),
        (FASTD, Measure::TcpBack, 4.0),
        (GOTATUN, Measure::TcpThere, 1.0),
        (GOTATUN, Measure::TcpBack, 2.0),
        (VTUN, Measure::TcpThere, 1.0),
    ]);
    let shown = |name: &str| {
        let line = line(&results, &format!("TCP, one stream, to {name}"));
        (line.measured, line.is_shown())
    };
    assert_eq!(shown("fastd"), (Some(2.5), Some(false)));
    assert_eq!(shown("gotatun"), (Some(5.0), Some(true)));
    assert_eq!(shown("vtun"), (None, None), "one direction is missing");
    assert_eq!(shown("openvpn"), (None, None), "it does not take part");
}

#[test]
fn the_best_peer_is_the_best_of_those_that_encrypt_but_for_pings() {
    let mut figures = Vec::new();
    for measure in [Measure::TcpBoth, Measure::Cpu] {
        figures.extend([(TUNNELD, measure, 6.0), (FASTD, measure, 3.0), (VTUN, measure, 4.0)]);
        figures.push((GOTATUN, measure, 2.0));
    }
    figures.extend([(TUNNELD, Measure::PingIdle, 6.0), (VTUN, Measure::PingIdle, 4.0)]);
    figures.push((FASTD, Measure::PingIdle, 5.0));
    let results = results(&figures);
    let both = line(&results, "TCP both ways");
    assert_eq!((both.what.as_str(), both.measured), ("TCP both ways at once, to fastd", Some(2.0)));
    let cpu = line(&results, "CPU");
    assert_eq!((cpu.what.as_str(), cpu.measured), ("CPU time for a GB, to gotatun", Some(3.0)));
    let ping = line(&results, "ping when idle");
    assert_eq!((ping.what.as_str(), ping.measured), ("ping when idle, to vtun", Some(1.5)));
}

#[test]
fn under_load_only_a_peer_that_carries_half_as_much_is_a_match() {
    let mut figures = vec![
        (TUNNELD, Measure::TcpThere, 4.0),
        (TUNNELD, Measure::PingIdle, 100.0),
        (TUNNELD, Measure::PingLoaded, 400.0),
        (FASTD, Measure::TcpThere, 1.9),
        (FASTD, Measure::PingLoaded, 300.0),
    ];
    let alone = line(&results(&figures), "ping under");
    assert_eq!((alone.measured, alone.is_shown()), (Some(4.0), Some(true)));

    figures.extend([(VTUN, Measure::TcpThere, 2.0), (VTUN, Measure::PingLoaded, 200.0)]);
    let matched = line(&results(&figures), "ping under");
    assert_eq!((matched.measured, matched.is_shown()), (Some(2.0), Some(false)));
    assert!(matched.what.ends_with("to vtun"));
}

#[test]
fn what_is_required_of_tunneld_alone_is_no_ratio() {
    let results = results(&[(TUNNELD, Measure::Memory, 12.0), (TUNNELD, Measure::Wakeups, 0.21)]);
    assert_eq!(line(&results, "resident memory").is_shown(), Some(true));
    assert_eq!(line(&results, "wake-ups").is_shown(), Some(false));
}

#[test]
fn over_a_wide_area_path_the_match_is_no_tunnel() {
    let results = results(&[(TUNNELD, Measure::WideArea, 19.0), (NONE, Measure::WideArea, 20.0)]);
    let line = line(&results, "TCP over 20 ms");
    assert_eq!((line.measured, line.is_shown()), (Some(0.95), Some(true)));
    assert!(line.what.ends_with("to none"));
}

#[test]
fn the_report_has_every_figure_a_dash_for_what_is_missing_and_every_trouble() {
    let mut results = results(&[
        (TUNNELD, Measure::TcpThere, 4.0),
        (FASTD, Measure::TcpThere, 1.0),
        (NONE, Measure::TcpThere, 8.0),
    ]);
    results.add_trouble("gotatun: it does not start".to_owned());
    results.add_trouble("gotatun: it does not start".to_owned());
    let circumstances = Circumstances {
        date: "2026-01-02".to_owned(),
        kernel: "6.1.0".to_owned(),
        machine: "2 CPUs".to_owned(),
        rounds: 1,
        seconds: 2.0,
    };
    let report = render(&results, &circumstances);
    assert!(report.starts_with("2026-01-02, Linux 6.1.0, 2 CPUs; medians of 1 rounds"));
    let words = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join("|");
    let lines: Vec<_> = report.lines().map(words).collect();
    for expected in [
        "|TCP, one stream a to b, Gb/s|8.00|4.00|1.00|-|-|",
        "|TCP, one stream a to b, Gb/s|2.00|1.00|0.25|-|-|",
        "|wake-ups when idle, 1/s|at most 0.2|-|not measured|",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is in\n{report}");
    }
    assert_eq!(report.matches("it does not start").count(), 1);
    assert!(!report.contains("one CPU"), "what was left out has no table");
}

#[test]
fn the_report_goes_between_the_markers_and_nowhere_else() {
    let document = "before\n<!-- compare:begin -->\nold\n<!-- compare:end -->\nafter\n";
    let written = replace_between_markers(document, "new\n").expect("the markers are there");
    assert_eq!(written, "before\n<!-- compare:begin -->\n\nnew\n\n<!-- compare:end -->\nafter\n");
    assert_eq!(replace_between_markers(&written, "new\n").expect("they still are"), written);
    assert!(replace_between_markers("no markers", "new").is_err());
}
