//! The real binary: its exit codes, its messages, its keys, and the files that go with it.

#![allow(clippy::unwrap_used, reason = "also in what the tests share, a panic is a failed test")]

mod common;

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/device.rs"]
mod device;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/host.rs"]
mod host;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/manners.rs"]
mod manners;
#[path = "cli/pair.rs"]
mod pair;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "common/shown.rs"]
mod shown;
#[path = "cli/translate.rs"]
mod translate;
#[path = "cli/values.rs"]
mod values;
#[path = "cli/whole_file.rs"]
mod whole_file;
