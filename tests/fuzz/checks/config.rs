//! Any text as a configuration: an accepted one survives its text form, a refused one is told in one line with its
//! place, without what may be a secret.

use std::path::Path;

use tunneld::config::Config;

use crate::render::render;

const FILE: &str = "/nowhere/t.toml";

pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, Path::new(FILE)) {
        Ok(config) => {
            let again = Config::parse(&render(&config), Path::new(FILE));
            assert_eq!(again.as_ref(), Ok(&config));
            assert!(config.notes().iter().all(|note| !note.contains('\n')));
        }
        Err(error) => complaint(&text, &error.to_string()),
    }
}

/// `FILE:LINE:COLUMN: what; accepted: what`, the place left out where it is the whole file.
fn complaint(text: &str, error: &str) {
    let rest = error
        .strip_prefix(FILE)
        .and_then(|rest| rest.strip_prefix(':'))
        .expect("the file is named");
    assert!(rest.contains("; accepted: "), "{error}");
    assert!(!error.contains(char::is_control), "{error:?}");
    let mut place = rest.splitn(3, ':').map(str::parse::<usize>);
    if let (Some(Ok(line)), Some(Ok(column))) = (place.next(), place.next()) {
        let lines = text.split('\n').count();
        assert!((1..=lines).contains(&line) && column >= 1, "{error}");
    } else {
        assert!(rest.starts_with(" [") && rest.contains("is missing"), "{error}");
    }
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    // The directory that names of files are relative to is ours.
    let longest =
        error.replace("/nowhere/", "").split(|letter| !is_base64(letter)).map(str::len).max();
    assert!(longest < Some(40), "what may be a key is shown: {error}");
}
