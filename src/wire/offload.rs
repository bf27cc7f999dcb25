//! Which offloads are wanted: what the daemon tells the device and the sockets.

/// The offloads of the device or of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offload {
    /// Outbound: superpackets are read from the device; one call sends many datagrams.
    pub(crate) gso: bool,
    /// Inbound: one call receives many datagrams; superpackets are written to the device.
    pub(crate) gro: bool,
}

impl Offload {
    /// The plain path.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self { gso: false, gro: false };
    /// All that the kernel has.
    pub(crate) const ALL: Self = Self { gso: true, gro: true };
}
