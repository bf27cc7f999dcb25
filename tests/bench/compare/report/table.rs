//! Everything as text: Markdown that reads well on a terminal too.

use super::verdict::{self, Line, Required};
use super::{Cpus, Kind, Measure, Results, Subject};

/// What there is instead of a figure.
const NOTHING: &str = "-";

/// What a run of the benchmark was.
pub(crate) struct Circumstances {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) machine: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
}

/// The whole report.
pub(crate) fn render(results: &Results, circumstances: &Circumstances) -> String {
    let mut parts = vec![
        format!(
            "{}, Linux {}, {}; medians of {} rounds, {} s for each measure.",
            circumstances.date,
            circumstances.kernel,
            circumstances.machine,
            circumstances.rounds,
            circumstances.seconds
        ),
        subjects(results),
    ];
    for (cpus, title, measures) in [
        (Cpus::All, "On all CPUs", &Measure::ALL[..]),
        (Cpus::One, "Everything on one CPU", &Measure::PINNED[..]),
    ] {
        // What was left out on purpose has no table.
        let measured = |(subject, _)| {
            measures.iter().any(|measure| results.median(subject, cpus, *measure).is_some())
        };
        if results.subjects().any(measured) {
            parts.push(format!("### {title}"));
            parts.push(figures(results, measures, |subject, measure| {
                Some(measure.show(results.median(subject, cpus, measure)?))
            }));
            parts.push("The same, divided by tunneld's:".to_owned());
            parts.push(figures(results, measures, |subject, measure| {
                Some(ratio(results.ratio(subject, cpus, measure)?))
            }));
        }
    }
    parts.push("### Must show".to_owned());
    parts.push(must_show(&verdict::lines(results)));
    if !results.troubles().is_empty() {
        parts.push("### What could not be measured".to_owned());
        let troubles = results.troubles().iter();
        parts.push(troubles.map(|trouble| format!("- {trouble}\n")).collect());
    }
    let trimmed: Vec<_> = parts.iter().map(|part| part.trim_end()).collect();
    trimmed.join("\n\n") + "\n"
}

/// Who takes part.
fn subjects(results: &Results) -> String {
    let rows = results.subjects().map(|(subject, version)| {
        vec![subject.name.to_owned(), version.to_owned(), subject.configuration.to_owned()]
    });
    table(&["subject", "version", "configuration"], rows)
}

/// A row for each measure, a column for each subject.
fn figures(
    results: &Results,
    measures: &[Measure],
    show: impl Fn(&Subject, Measure) -> Option<String>,
) -> String {
    let names = results.subjects().map(|(subject, _)| match subject.kind {
        Kind::NoTunnel => "no tunnel",
        _ => subject.name,
    });
    let head: Vec<_> = [""].into_iter().chain(names).collect();
    let rows = measures.iter().map(|&measure| {
        let cells = results
            .subjects()
            .map(|(subject, _)| show(subject, measure).unwrap_or_else(|| NOTHING.to_owned()));
        [measure.title().to_owned()].into_iter().chain(cells).collect()
    });
    table(&head, rows)
}

fn must_show(lines: &[Line]) -> String {
    let rows = lines.iter().map(|line| {
        let (words, limit) = match line.required {
            Required::AtLeast(limit) => ("at least", limit),
            Required::AtMost(limit) => ("at most", limit),
        };
        let shown = match line.is_shown() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        vec![
            line.what.clone(),
            format!("{words} {limit}"),
            line.measured.map_or_else(|| NOTHING.to_owned(), ratio),
            shown.to_owned(),
        ]
    });
    table(&["tunneld", "required", "measured", "shown"], rows)
}

fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// A table in Markdown, its columns aligned.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut all: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    let widths: Vec<usize> = (0..all[0].len())
        .map(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3))
        .collect();
    all.insert(1, widths.iter().map(|&width| "-".repeat(width)).collect());
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("| {cell:<width$} "));
        cells.collect::<String>() + "|\n"
    };
    all.iter().map(line).collect()
}
