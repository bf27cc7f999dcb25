//! Programs that run when something happens to the link: what `[hooks]` says.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::unistd::geteuid;

use super::Hooks;
use super::error::Fault;
use super::file::HooksTable;
use super::value::Value;

const ACCEPTED: &str = r#"a program and its arguments, like ["/usr/local/sbin/tunnel-up", "eth0"]"#;

impl Hooks {
    /// Gives the values their meaning; without the section there are none.
    pub(super) fn resolve(table: Option<HooksTable<'_>>) -> Result<Self, Fault> {
        let Some(table) = table else { return Ok(Self::default()) };
        let hook = |value: Option<Value<'_>>| value.map_or(Ok(Vec::new()), command);
        Ok(Self {
            up: hook(table.up)?,
            down: hook(table.down)?,
            peer_up: hook(table.peer_up)?,
            peer_down: hook(table.peer_down)?,
            endpoint_changed: hook(table.endpoint_changed)?,
        })
    }
}

fn command(value: Value<'_>) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    for item in value.list(ACCEPTED)? {
        let word = item.expect_text(ACCEPTED)?;
        if word.contains('\0') {
            return Err(item.fault("has a zero byte", ACCEPTED));
        }
        if words.is_empty() {
            refuse_no_program(&item, Path::new(word))?;
        }
        words.push(word.to_owned());
    }
    Ok(words)
}

/// The daemon has privileges: a program that anybody could have put there gets none of them.
fn refuse_no_program(item: &Value<'_>, path: &Path) -> Result<(), Fault> {
    if !path.is_absolute() {
        return Err(item.fault("is not an absolute path", ACCEPTED));
    }
    let about = path
        .metadata()
        .map_err(|error| item.fault(format_args!("cannot be used: {error}"), ACCEPTED))?;
    let mode = about.permissions().mode();
    if !about.is_file() || mode & 0o111 == 0 {
        return Err(item.fault("is not a program", "a file that may be executed: chmod 755 FILE"));
    }
    let trusted = about.uid() == 0 || about.uid() == geteuid().as_raw();
    if mode & 0o022 != 0 || !trusted {
        let accepted = "a program of root's: chown root FILE && chmod 755 FILE";
        return Err(item.fault("is writable by others", accepted));
    }
    Ok(())
}
