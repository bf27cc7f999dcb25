//! What a device may be called.

use super::error::Fault;
use super::value::Value;

/// The kernel's `IFNAMSIZ`, without the zero at the end.
const LONGEST_NAME: usize = 15;

pub(super) const ACCEPTED_NAME: &str =
    r#"1 to 15 letters, digits and signs, without "/", ":", "%" and spaces, like "tun0""#;

/// The name of a device, or what is wrong with it and that this would be accepted.
pub(super) fn named(value: &Value<'_>, accepted: &str) -> Result<String, Fault> {
    let text = value.expect_text(accepted)?;
    device_name(text).map_err(|(problem, _)| value.fault(problem, accepted))
}

/// A name that a device can have. The kernel's rule (`dev_valid_name`), and no `%`, which it would replace with a number.
///
/// # Errors
/// What is wrong with it, and what would be accepted.
pub(crate) fn device_name(text: &str) -> Result<String, (String, &'static str)> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:%".contains(&byte);
    let problem = if text.len() > LONGEST_NAME {
        format!("has {} bytes", text.len())
    } else if text.is_empty() || !text.bytes().all(allowed) {
        "is not a name for a device".to_owned()
    } else if matches!(text, "." | ".." | "all" | "default" | "lo") {
        "is a name with another meaning".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err((problem, ACCEPTED_NAME))
}
