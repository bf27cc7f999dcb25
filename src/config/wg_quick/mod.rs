//! wg-quick's files, as of wg-quick(8): [`import()`] makes a configuration of one, [`export()`] the other way round. Both
//! say what has no counterpart on the other side.

mod export;
mod import;
mod read;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

pub(crate) use export::export;
pub(crate) use import::import;

/// A file in the other's terms.
pub(crate) struct Translation {
    /// The file; there are secrets in it.
    pub(crate) text: Zeroizing<String>,
    /// What has no counterpart there, a line for each.
    pub(crate) left_out: Vec<String>,
}

/// The rule of wg-quick for the name of a device, which is that of its file.
fn is_device_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    (1..=15).contains(&name.len()) && name.bytes().all(allowed)
}
