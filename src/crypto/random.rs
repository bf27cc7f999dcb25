//! Random bytes from one seed, so that a run can be repeated; what was handed out cannot be computed
//! from what is kept.

use super::hash::{HASH, kdf};
use super::secret::{Secret, on_clean_stack};

/// A generator with fast key erasure: each draw replaces its state.
pub(crate) struct Random(Secret);

impl Random {
    /// The generator whose whole output follows from `seed`.
    pub(crate) fn new(seed: &[u8; HASH]) -> Self {
        Self(Secret::from(*seed))
    }

    /// From now on the output follows from `entropy` too: who knew the state knows it no more.
    pub(crate) fn mix(&mut self, entropy: &[u8; HASH]) {
        [self.0] = on_clean_stack(|| kdf(&self.0, entropy));
    }

    /// 32 random bytes.
    pub(crate) fn secret(&mut self) -> Secret {
        let [state, output] = on_clean_stack(|| kdf(&self.0, b"tunneld random"));
        self.0 = state;
        output
    }

    /// `N` random bytes, at most 32.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= HASH) };
        *self.secret().first_chunk().expect("so many were drawn")
    }

    /// A random number below 2^32.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_no_draw_does() {
        let mut one = Random::new(&[1; HASH]);
        let mut same = Random::new(&[1; HASH]);
        let mut other = Random::new(&[2; HASH]);
        let first = one.secret();
        assert_eq!(first, same.secret());
        assert_ne!(first, other.secret());
        assert_ne!(first, one.secret());
        same.secret();
        same.mix(&[3; HASH]);
        assert_ne!(one.secret(), same.secret());
    }
}
