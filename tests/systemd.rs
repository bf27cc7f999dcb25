//! The package on two hosts that systemd booted: each a machine of systemd-nspawn in a namespace of the lab, with a
//! Debian of its own, a real journal and a real service manager.
//!
//! These tests need root, a Debian host with the programs that each names, and once the network, for Debian's packages.
//! What is missing is said, and the test skipped; with `TUNNELD_TEST_REQUIRE=all` a missing thing is a failure.

#![allow(clippy::unwrap_used, reason = "also in what the tests share, a panic is a failed test")]

mod common;
#[path = "common/shown.rs"]
mod shown;

#[path = "netns"]
#[allow(dead_code, unused_macros, unused_imports, reason = "what these tests need of the lab")]
mod netns {
    pub(crate) mod capture;
    pub(crate) mod config;
    pub(crate) mod lab;
    pub(crate) mod needs;
    pub(crate) mod process;
    pub(crate) mod transfer;
}

mod systemd {
    mod image;
    mod leaks;
    mod machine;
    mod package;
    mod service;
    mod site;
}
