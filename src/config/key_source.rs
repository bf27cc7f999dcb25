//! A secret key that stands in the configuration or in a file it names: one of the two, not both.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::str::FromStr;

use super::error::Fault;
use super::secret::{self, KeyFileError, ReadError};
use super::suggest::may_be_key;
use super::value::Value;
use crate::crypto::PrivateKey;
use crate::crypto::keys::KeyError;

const ACCEPTED_KEY: &str = "a key as made by: tunneld";
const ACCEPTED_PATH: &str = "the name of a file in quotes";

/// The two ways to give a key, and the command that makes one.
pub(super) struct KeySource<'i> {
    pub(super) inline: Option<Value<'i>>,
    pub(super) file: Option<Value<'i>>,
    pub(super) command: &'static str,
}

impl KeySource<'_> {
    /// The key; `None` if it is given in neither way. Files are relative to `dir`.
    pub(super) fn resolve<K: FromStr<Err = KeyError>>(
        self,
        dir: &Path,
    ) -> Result<Option<K>, Fault> {
        match (self.inline, self.file) {
            (None, None) => Ok(None),
            (Some(value), None) => from_text(&value, self.command).map(Some),
            (None, Some(value)) => from_file(&value, dir, self.command).map(Some),
            (Some(_), Some(file)) => Err(file.secret_fault(
                "the key is already given in the other way",
                "either the key itself or its file, not both",
            )),
        }
    }
}

fn from_text<K: FromStr<Err = KeyError>>(value: &Value<'_>, command: &str) -> Result<K, Fault> {
    let accepted = format!("{ACCEPTED_KEY} {command}");
    let text = value
        .text()
        .ok_or_else(|| value.secret_fault("the value is not text in quotes", &accepted))?;
    text.parse()
        .map_err(|error| value.secret_fault(format_args!("the value is {error}"), &accepted))
}

fn from_file<K: FromStr<Err = KeyError>>(
    value: &Value<'_>,
    dir: &Path,
    command: &str,
) -> Result<K, Fault> {
    let name = value.expect_text(ACCEPTED_PATH)?;
    if name.parse::<PrivateKey>().is_ok() {
        return Err(value.fault("stands where a file name should", ACCEPTED_PATH));
    }
    if name.is_empty() || name.contains('\0') {
        return Err(value.fault("is not a file name", ACCEPTED_PATH));
    }
    let path = dir.join(name);
    secret::read_key(&path).map_err(|error| {
        let file = if may_be_key(name) { "FILE".into() } else { shell_word(&path) };
        let accepted = match &error {
            KeyFileError::Exposed(_) => format!("a private file: chmod 600 {file}"),
            KeyFileError::Read(ReadError::Io(io)) if io.kind() != io::ErrorKind::NotFound => {
                "a key file that tunneld can read".to_owned()
            }
            _ => format!(
                "a private file with one line, as made by: (umask 077; tunneld {command} > {file})"
            ),
        };
        value.fault(error, accepted)
    })
}

/// `path` as one word of a shell command.
pub(crate) fn shell_word(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        assert_eq!(shell_word(Path::new("/etc/a-b.key")), "/etc/a-b.key");
        assert_eq!(shell_word(Path::new("/a b; c'd")), r"'/a b; c'\''d'");
    }
}
