//! The system's randomness.

use anyhow::Context;

use crate::crypto::secret::Secret;

/// 32 random bytes of the system.
///
/// # Errors
/// It gives none.
pub(crate) fn entropy() -> anyhow::Result<Secret> {
    let mut bytes = Secret::zero();
    getrandom::fill(&mut *bytes).context("asking the system for randomness")?;
    Ok(bytes)
}

/// A random number of the system.
///
/// # Errors
/// It gives none.
pub(super) fn seed() -> anyhow::Result<u64> {
    getrandom::u64().context("asking the system for randomness")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_the_same() {
        assert!(entropy().unwrap() != entropy().unwrap());
    }
}
