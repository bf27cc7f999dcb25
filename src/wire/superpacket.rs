//! What the device hands over and the core seals: one packet, or many that the kernel did not take apart.

/// One packet of the overlay, or many of one flow that the kernel handed over as one superpacket. All
/// segments have the same addresses and traffic class, and all but the last have the same size.
pub trait Superpacket {
    /// The header of the first packet; it tells addresses and ECN of all.
    fn header(&self) -> &[u8];
    /// How many segments there are; at least one.
    fn count(&self) -> usize;
    /// Bytes of each segment but the last, IP header included.
    fn segment_size(&self) -> usize;
    /// Bytes of the last segment, at most [`Superpacket::segment_size`].
    fn last_size(&self) -> usize;
    /// Bytes of segment `index`.
    fn size_of(&self, index: usize) -> usize {
        let is_last = index.saturating_add(1) >= self.count();
        if is_last { self.last_size() } else { self.segment_size() }
    }
    /// Writes segment `index` into `out`, which has exactly its size.
    fn write_segment(&self, index: usize, out: &mut [u8]);
}

/// A plain packet is a superpacket of one.
impl Superpacket for &[u8] {
    fn header(&self) -> &[u8] {
        self
    }

    fn count(&self) -> usize {
        1
    }

    fn segment_size(&self) -> usize {
        self.len()
    }

    fn last_size(&self) -> usize {
        self.len()
    }

    fn write_segment(&self, _index: usize, out: &mut [u8]) {
        out.copy_from_slice(self);
    }
}
