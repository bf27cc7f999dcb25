//! From figures to what is shown: medians, ratios, tables, and whether what must be shown is shown. This room knows
//! nothing of the others, so that `cargo test` can try it without root (tests/compare.rs).

mod document;
mod measure;
pub(crate) mod results;
mod table;
pub(crate) mod verdict;

pub(crate) use document::replace_between_markers;
pub(crate) use measure::Measure;
pub(crate) use results::Results;
pub(crate) use table::{Circumstances, render};

/// What is measured: a tunnel, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How it is configured, for a person.
    pub(crate) configuration: &'static str,
}

/// What a subject is compared as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The two hosts without a tunnel.
    NoTunnel,
    Tunneld,
    /// Tunneld with other settings than its defaults.
    Variant,
    /// A tunnel that encrypts, as tunneld does.
    Encrypting,
    /// A tunnel that does not.
    Plain,
}

/// What everything runs on: the daemons and what makes the traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Cpus {
    All,
    One,
}
