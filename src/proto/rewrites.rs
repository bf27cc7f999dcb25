//! What the data threads write on packets besides what the protocol says: set by control, read for each packet.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::wire::IpHeader;
use crate::wire::mss::{ClampMss, MssLimit};

/// Nothing is written until [`Rewrites::set`] says so.
#[derive(Default)]
pub(crate) struct Rewrites {
    copy_dscp: AtomicBool,
    /// [`OFF`], [`TO_MTU`] or bytes.
    clamp: AtomicU32,
}

const OFF: u32 = 0;
const TO_MTU: u32 = u32::MAX;

impl Rewrites {
    pub(crate) fn set(&self, copy_dscp: bool, clamp: ClampMss) {
        let clamp = match clamp {
            ClampMss::Off => OFF,
            ClampMss::ToMtu => TO_MTU,
            ClampMss::To(bytes) => bytes.into(),
        };
        self.copy_dscp.store(copy_dscp, Ordering::Relaxed);
        self.clamp.store(clamp, Ordering::Relaxed);
    }

    /// The DSCP of the datagram that carries this packet.
    pub(crate) fn outer_dscp(&self, header: &IpHeader) -> u8 {
        if self.copy_dscp.load(Ordering::Relaxed) { header.dscp } else { 0 }
    }

    /// What an MSS is lowered to, if it is, where packets have up to `mtu` bytes.
    pub(crate) fn mss_limit(&self, mtu: usize) -> Option<MssLimit> {
        match self.clamp.load(Ordering::Relaxed) {
            OFF => None,
            TO_MTU => Some(MssLimit::of_mtu(mtu)),
            bytes => Some(MssLimit::fixed(bytes as u16)),
        }
    }
}
