//! The real binary: its exit codes, its messages, its keys, and the files that go with it.

mod common;

#[path = "cli/config_errors.rs"]
mod config_errors;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/host.rs"]
mod host;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/manners.rs"]
mod manners;
