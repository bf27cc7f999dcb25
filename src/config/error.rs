//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a configuration is refused. As text: `FILE:LINE:COLUMN: [section] key: what is wrong; accepted: what would do`.
///
/// The text never holds a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    place: Option<Place>,
    fault: Box<Fault>,
}

/// A line and a column, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The line.
    line: usize,
    /// The character in it.
    column: usize,
}

/// A [`ConfigError`] before the file it is in is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Byte offset in the text; `None` if the whole file is meant.
    pub(super) at: Option<usize>,
    /// The key with its section: `[peer] endpoint`; `None` if no key is meant.
    pub(super) key: Option<String>,
    pub(super) problem: String,
    pub(super) accepted: String,
}

impl ConfigError {
    pub(super) fn new(file: &Path, text: &str, fault: Fault) -> Self {
        Self {
            file: file.to_owned(),
            place: fault.at.map(|at| Place::of(text, at)),
            fault: Box::new(fault),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        if let Some(key) = &self.fault.key {
            write!(f, " {key}:")?;
        }
        write!(f, " {}; accepted: {}", self.fault.problem, self.fault.accepted)
    }
}

impl std::error::Error for ConfigError {}

impl Place {
    /// The place of the byte at `offset`; past the end is the end.
    fn of(text: &str, offset: usize) -> Self {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        let lines = || before.split(|byte| *byte == b'\n');
        let column = String::from_utf8_lossy(lines().next_back().unwrap_or_default());
        Self { line: lines().count(), column: column.chars().count().saturating_add(1) }
    }
}

impl Fault {
    /// A fault of the whole file.
    pub(super) fn whole(problem: impl fmt::Display, accepted: impl fmt::Display) -> Self {
        Self { at: None, key: None, problem: problem.to_string(), accepted: accepted.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\né = \"x\"\n";
        let place = |offset| {
            let Place { line, column } = Place::of(text, offset);
            (line, column)
        };
        assert_eq!(place(0), (1, 1));
        assert_eq!(place(4), (1, 5));
        assert_eq!(place(6), (2, 1));
        assert_eq!(place(11), (2, 5));
        assert_eq!(place(text.len()), (3, 1));
        assert_eq!(place(1000), (3, 1));
    }
}
