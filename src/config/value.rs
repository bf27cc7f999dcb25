//! One value of the file, with the key it belongs to and its place; and its reading as text, number or list.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Fault;
use super::suggest;

/// A value as typed.
pub(super) struct Value<'i> {
    section: &'static str,
    key: &'static str,
    at: usize,
    data: DeValue<'i>,
}

impl<'i> Value<'i> {
    pub(super) fn new(
        section: &'static str,
        key: &'static str,
        value: Spanned<DeValue<'i>>,
    ) -> Self {
        Self { section, key, at: value.span().start, data: value.into_inner() }
    }

    /// This value is at fault; it is named, so that it must not be a secret.
    pub(super) fn fault(&self, problem: impl fmt::Display, accepted: impl fmt::Display) -> Fault {
        self.secret_fault(format_args!("{} {problem}", self.shown()), accepted)
    }

    /// This value is at fault; it is not named.
    pub(super) fn secret_fault(
        &self,
        problem: impl fmt::Display,
        accepted: impl fmt::Display,
    ) -> Fault {
        Fault {
            at: Some(self.at),
            key: Some(format!("[{}] {}", self.section, self.key)),
            problem: problem.to_string(),
            accepted: accepted.to_string(),
        }
    }

    /// The text, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        self.data.as_str()
    }

    /// The text, or a fault that says what would be accepted.
    pub(super) fn expect_text(&self, accepted: &str) -> Result<&str, Fault> {
        self.text().ok_or_else(|| self.fault("is not text in quotes", accepted))
    }

    /// An integer in `range`.
    pub(super) fn integer<T>(&self, range: RangeInclusive<T>) -> Result<T, Fault>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let accepted = format!("a number from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = &self.data else {
            return Err(self.fault("is not a number", accepted));
        };
        i64::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.fault("is out of range", accepted))
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        self.data.as_bool().ok_or_else(|| self.fault("is not a boolean", "true or false"))
    }

    /// The table, or a fault that says what would be accepted.
    pub(super) fn into_table(self, accepted: &str) -> Result<DeTable<'i>, Fault> {
        let fault = self.fault("is not a table", accepted);
        let DeValue::Table(table) = self.data else {
            return Err(fault);
        };
        Ok(table)
    }

    /// The items of a list, or the value itself if it is text: `endpoint = "a:1"` is `endpoint = ["a:1"]`.
    pub(super) fn text_or_list(self, accepted: &str) -> Result<Vec<Self>, Fault> {
        if self.text().is_some() {
            return Ok(vec![self]);
        }
        self.list(accepted)
    }

    /// The items of a list that is not empty.
    pub(super) fn list(self, accepted: &str) -> Result<Vec<Self>, Fault> {
        match &self.data {
            DeValue::Array(items) if items.is_empty() => Err(self.fault("is empty", accepted)),
            DeValue::Array(_) => Ok(self.into_items()),
            _ => Err(self.fault("is not a list", accepted)),
        }
    }

    fn into_items(self) -> Vec<Self> {
        let Self { section, key, data, .. } = self;
        let DeValue::Array(items) = data else {
            return Vec::new();
        };
        items.into_iter().map(|item| Self::new(section, key, item)).collect()
    }

    /// The value for a message: on one line, not too long, and no text that may be a key.
    fn shown(&self) -> String {
        match &self.data {
            DeValue::String(text) => suggest::quoted(text),
            DeValue::Integer(digits) => cut(&digits.to_string()),
            DeValue::Float(digits) => cut(digits.as_str()),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(items) if items.is_empty() => "[]".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

fn cut(digits: &str) -> String {
    match digits.get(..40) {
        Some(head) if head.len() < digits.len() => format!("{head}..."),
        _ => digits.to_owned(),
    }
}
