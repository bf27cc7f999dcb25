//! Secrets that a program must not show, and whether it has.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What no program may say in this test program.
static SECRETS: Mutex<Vec<[u8; 32]>> = Mutex::new(Vec::new());

/// From now on no output that is looked at may show `secret`.
pub(crate) fn must_not_be_shown(secret: [u8; 32]) {
    let mut secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    if !secrets.contains(&secret) {
        secrets.push(secret);
    }
}

/// Whether `said` shows such a secret, or the beginning of one.
pub(crate) fn shows_a_secret(said: &str) -> bool {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    let forms = secrets.iter().flat_map(beginnings);
    let lower = said.to_ascii_lowercase();
    forms.into_iter().any(|form| said.contains(&form) || lower.contains(&form))
}

/// How the first bytes of a secret look in base64, in hexadecimal, and as `Debug` writes a list.
fn beginnings(secret: &[u8; 32]) -> [String; 3] {
    let hex: String = secret[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let list = secret[..8].iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    [BASE64_STANDARD.encode(&secret[..12]), hex, list]
}

#[test]
fn a_secret_is_recognised_by_its_beginning_in_any_form() {
    let secret = std::array::from_fn(|i| 0xe7 - i as u8);
    must_not_be_shown(secret);
    for shown in [
        BASE64_STANDARD.encode(secret),
        format!("\"{}...", &BASE64_STANDARD.encode(secret)[..16]),
        format!("{secret:?}"),
        format!("{secret:02X?}").replace(", ", ""),
    ] {
        assert!(shows_a_secret(&format!("key={shown}\n")), "{shown}");
    }
    assert!(!shows_a_secret("key=5+bl5OPj, public=e7e6, 231, 230"));
}
