//! The fuzzer's bytes, read as choices.

/// What is left of the bytes; zeros follow their end.
pub(crate) struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    pub(crate) fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes, fewer at the end.
    pub(crate) fn take(&mut self, len: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `end`, which one byte can tell.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// Changes `bytes` as the next bytes say: some overwritten, the end cut off or extended.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let (at, change) = (usize::from(self.byte()), self.byte());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= change;
            }
        }
        match self.byte() {
            change @ 1..=100 => bytes.truncate(bytes.len().saturating_sub(change.into())),
            change @ 101..=200 => bytes.extend(std::iter::repeat_n(change, change as usize - 100)),
            _ => {}
        }
    }
}
