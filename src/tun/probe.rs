//! Whether the running kernel takes the superpackets that it granted.

use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::Tun;
use super::virtio::{GSO_TCPV4, NEEDS_CSUM, VirtioNetHdr};
use crate::wire::Layer;
use crate::wire::ethernet::FRAME_HEADER;

impl Tun {
    /// Finds out, before the device is up, whether it takes superpackets whose last segment is short: some kernels of
    /// July and August 2024 refuse them. Nobody sees this one: to a device that is down, the kernel answers EIO once
    /// it has judged the virtio header, and EINVAL if it refuses that (before Linux 5.1, EIO at once).
    pub(super) fn probe(&self) {
        // The header of a frame that carries IPv4 and goes nowhere.
        let mut frame = [0; FRAME_HEADER];
        frame[12] = 0x08;
        let link: &[u8] = match self.layer {
            Layer::Ip => &[],
            Layer::Ethernet => &frame,
        };
        let offset = link.len() as u16;
        let header = VirtioNetHdr {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4,
            hdr_len: offset.saturating_add(40),
            gso_size: 100,
            csum_start: offset.saturating_add(20),
            csum_offset: 16,
        };
        // An IPv4 and a TCP header, and 170 bytes. Kernels with e269d79c7d35 but not 89add40066f9 refuse them because
        // 210 modulo 100 is less than the headers have. The checksum in the IPv4 header is wrong, so that the
        // packet would be discarded even if somebody has set the device up by now.
        let mut packet = [0; 40 + 170];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(40_u16 + 170).to_be_bytes());
        packet[9] = 6;
        packet[32] = 0x50;
        let parts = [header.as_bytes(), link, &packet].map(IoSlice::new);
        let _ = self.write_gathered(&parts);
    }
}
