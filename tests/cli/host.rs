//! One end of a link in a directory of its own: its configuration and key files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;
use tunneld::crypto::PrivateKey;

use crate::shown::{must_not_be_shown, shows_a_secret};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tunneld");

pub(crate) struct Host {
    dir: TempDir,
}

impl Host {
    /// With `private.key` and `psk`, both as they should be.
    pub(crate) fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        host.write("private.key", &format!("{}\n", key(1).to_base64().as_str()), 0o600);
        host.write("psk", &format!("{}\n", key(3).to_base64().as_str()), 0o600);
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// What `tunneld check` says about this text: the exit code, standard output and standard error.
    pub(crate) fn check(&self, text: &str) -> Answer {
        check(&self.write("tunneld.toml", text, 0o644))
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn check(path: &Path) -> Answer {
    answer(tunneld().args(["check", "-c"]).arg(path))
}

/// What `command` answers, which must not be one of the secrets of these tests.
pub(crate) fn answer(command: &mut Command) -> Answer {
    let output = command.output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|said| {
        let said = String::from_utf8(said).unwrap();
        assert!(!shows_a_secret(&said), "{said}");
        said
    });
    Answer { code: output.status.code(), stdout, stderr }
}

/// The binary, with nothing of our own environment that it heeds.
pub(crate) fn tunneld() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("TUNNELD_LOG").env_remove("JOURNAL_STREAM");
    command
}

pub(crate) fn key(byte: u8) -> PrivateKey {
    let key = PrivateKey::clamped([byte; 32]);
    must_not_be_shown(BASE64_STANDARD.decode(&*key.to_base64()).unwrap().try_into().unwrap());
    key
}

/// A configuration that is right, and in which each test breaks one thing. Key files are beside it.
pub(crate) fn good() -> String {
    format!(
        r#"[interface]
addresses = ["10.77.0.1/30", "fd77::1/64"]
private_key_file = "private.key"
[peer]
public_key = "{}"
"#,
        key(2).public_key()
    )
}

/// The message of one mistake: everything after the file name, which it must begin with.
pub(crate) fn message(host: &Host, text: &str) -> String {
    after(host.check(text), &host.path("tunneld.toml"))
}

/// What `answer` says about `path`, in one line and with exit code 2.
pub(crate) fn after(answer: Answer, path: &Path) -> String {
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert_eq!(answer.stdout, "", "{answer:?}");
    answer
        .stderr
        .strip_prefix(&format!("tunneld: error: {}:", path.display()))
        .and_then(|message| message.strip_suffix('\n'))
        .filter(|message| !message.contains('\n'))
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

/// `good()` with `line` added at the end of `[interface]` (line 4) or of `[peer]` (line 6).
pub(crate) fn with(section: &str, line: &str) -> String {
    match section {
        "interface" => good().replace("[peer]", &format!("{line}\n[peer]")),
        _ => good() + line + "\n",
    }
}
