//! Secret bytes: in one place on the heap, so that moving them leaves no copies behind, and erased when dropped.
//!
//! The primitives' libraries work on the stack, and erase little of it. [`on_clean_stack`] goes around every piece of work that
//! handles secrets.

use std::fmt;
use std::ops::{Deref, DerefMut};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, zeroize_stack};

/// Bytes of each secret.
const LEN: usize = 32;

/// The most stack that any such work takes, unoptimised.
const STACK: usize = 32 * 1024;

/// A key, a product, a state: whatever nobody else may know.
#[derive(Clone)]
pub(crate) struct Secret(Box<[u8; LEN]>);

impl Secret {
    /// A place for a secret, all zero.
    pub(crate) fn zero() -> Self {
        Self(Box::new([0; LEN]))
    }
}

impl From<[u8; LEN]> for Secret {
    fn from(mut bytes: [u8; LEN]) -> Self {
        let mut secret = Self::zero();
        secret.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }
}

impl Deref for Secret {
    type Target = [u8; LEN];

    fn deref(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl DerefMut for Secret {
    fn deref_mut(&mut self) -> &mut [u8; LEN] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(&**other).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secret")
    }
}

/// Does `work`, and then erases what it left on the stack.
pub(crate) fn on_clean_stack<T>(work: impl FnOnce() -> T) -> T {
    // In a frame of its own, so that it lies where the stack is erased.
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = apart(work);
    zeroize_stack::<STACK>();
    result
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;
    use crate::testing::instructions;

    #[test]
    fn another_secret_takes_as_many_instructions_as_the_same() {
        let other_in = |byte: usize| {
            let mut bytes = [7; LEN];
            bytes[byte] ^= 1;
            Secret::from(bytes)
        };
        let others = [Secret::from([7; LEN]), other_in(0), other_in(15), other_in(31)];
        let test =
            concat!(module_path!(), "::another_secret_takes_as_many_instructions_as_the_same");
        let counts = instructions(test, &others, |other| {
            black_box(*other == others[0]);
        });
        assert_eq!(counts, vec![counts[0]; others.len()]);
    }
}
