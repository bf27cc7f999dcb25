//! Guesses at what a mistyped key was meant to be.

use strsim::levenshtein;

/// The key that `word` most likely means: the same but for case and hyphens, a beginning of it, or two letters off.
pub(super) fn closest(word: &str, keys: &[&'static str]) -> Option<&'static str> {
    let word = plain(word);
    let far = |key: &str| levenshtein(&word, &plain(key));
    let near = keys.iter().copied().min_by_key(|key| far(key))?;
    let enough = if word.chars().count() > 4 { 2 } else { 1 };
    (far(near) <= enough).then_some(near)
}

/// `word` in quotes, escaped, and cut if it is long; what may be a key is not shown.
pub(super) fn quoted(word: &str) -> String {
    const MOST: usize = 60;
    if may_be_key(word) {
        return "what may be a key (not shown)".to_owned();
    }
    match word.char_indices().nth(MOST) {
        None => format!("{word:?}"),
        Some((at, _)) => format!("{:?}...", &word[..at]),
    }
}

/// Whether so much of `text` could be base64 that it may be a key, mistyped or not.
pub(super) fn may_be_key(text: &str) -> bool {
    const ENOUGH: usize = 40;
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    text.as_bytes().split(|byte| !is_base64(byte)).any(|run| run.len() >= ENOUGH)
}

/// WireGuard's own files spell `AllowedIPs` what is `allowed_ips` here.
fn plain(word: &str) -> String {
    word.chars()
        .take(64)
        .filter(|letter| !matches!(letter, '_' | '-'))
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_wireguard_files_and_slips_are_recognised() {
        let keys = ["addresses", "allowed_ips", "mtu", "private_key"];
        assert_eq!(closest("AllowedIPs", &keys), Some("allowed_ips"));
        assert_eq!(closest("Address", &keys), Some("addresses"));
        assert_eq!(closest("MTU", &keys), Some("mtu"));
        assert_eq!(closest("privat-key", &keys), Some("private_key"));
        assert_eq!(closest("dns", &keys), None);
    }
}
