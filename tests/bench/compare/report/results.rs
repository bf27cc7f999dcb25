//! What was measured so far.

use std::collections::BTreeMap;

use super::{Cpus, Kind, Measure, Subject};

/// The figures of all rounds.
#[derive(Default)]
pub(crate) struct Results {
    subjects: Vec<(Subject, String)>,
    figures: BTreeMap<(&'static str, Cpus, Measure), Vec<f64>>,
    troubles: Vec<String>,
}

impl Results {
    /// A subject that takes part, and what is known of its version.
    pub(crate) fn add_subject(&mut self, subject: Subject, version: String) {
        self.subjects.push((subject, version));
    }

    /// A figure of one round.
    pub(crate) fn add(&mut self, subject: &Subject, cpus: Cpus, measure: Measure, figure: f64) {
        self.figures.entry((subject.name, cpus, measure)).or_default().push(figure);
    }

    /// What went wrong; said once, however often it happens.
    pub(crate) fn add_trouble(&mut self, trouble: String) {
        if !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }

    pub(crate) fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// The subjects with their versions.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.subjects.iter().map(|(subject, version)| (subject, version.as_str()))
    }

    /// The subject of that name.
    pub(crate) fn subject(&self, name: &str) -> Option<&Subject> {
        self.subjects().map(|(subject, _)| subject).find(|subject| subject.name == name)
    }

    /// tunneld, if it takes part.
    pub(crate) fn tunneld(&self) -> Option<&Subject> {
        self.subjects().map(|(subject, _)| subject).find(|subject| subject.kind == Kind::Tunneld)
    }

    /// The median over the rounds; `None` if there is no figure.
    pub(crate) fn median(&self, of: &Subject, cpus: Cpus, measure: Measure) -> Option<f64> {
        median(self.figures.get(&(of.name, cpus, measure))?)
    }

    /// A subject's median divided by tunneld's.
    pub(crate) fn ratio(&self, of: &Subject, cpus: Cpus, measure: Measure) -> Option<f64> {
        let tunneld = self.median(self.tunneld()?, cpus, measure)?;
        let ratio = self.median(of, cpus, measure)? / tunneld;
        ratio.is_finite().then_some(ratio)
    }
}

/// The value in the middle, or between the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] + upper) / 2.0 })
}
