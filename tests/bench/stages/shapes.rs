//! The packets and superpackets that are measured.

use criterion::{BenchmarkGroup, BenchmarkId, Throughput, measurement::WallTime};
use tunneld::crypto::Cipher;
use tunneld::tun::{
    GSO_NONE, GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM, TunPacket, VIRTIO_HEADER, VirtioNetHdr,
};
use tunneld::wire::Superpacket as _;
use tunneld::wire::checksum::Sum;
use zerocopy::IntoBytes as _;

/// What a device gives with one read.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    name: &'static str,
    protocol: u8,
    /// Bytes of the transport header.
    transport: usize,
    pub(crate) segments: usize,
    /// Bytes of each segment.
    pub(crate) size: usize,
}

/// Every shape with every cipher.
pub(crate) fn with_each_cipher() -> impl Iterator<Item = (Shape, Cipher)> {
    SHAPES.into_iter().flat_map(|shape| Cipher::ALL.map(|cipher| (shape, cipher)))
}

/// One small packet and one large, a superpacket of a bulk transfer, and a run of small packets.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape { name: "64 B", protocol: UDP, transport: 8, segments: 1, size: 64 },
    Shape { name: "1420 B", protocol: TCP, transport: 32, segments: 1, size: 1420 },
    Shape { name: "45 x 1420 B", protocol: TCP, transport: 32, segments: 45, size: 1420 },
    Shape { name: "62 x 64 B", protocol: UDP, transport: 8, segments: 62, size: 64 },
];

impl Shape {
    /// Lets figures be given in bytes of inner packets; the name under which they are shown.
    pub(crate) fn enter(self, group: &mut BenchmarkGroup<'_, WallTime>) -> BenchmarkId {
        group.throughput(Throughput::Bytes((self.segments * self.size) as u64));
        BenchmarkId::from_parameter(self.name)
    }

    /// The same for what is measured with each cipher.
    pub(crate) fn enter_with(
        self,
        cipher: Cipher,
        group: &mut BenchmarkGroup<'_, WallTime>,
    ) -> BenchmarkId {
        self.enter(group);
        BenchmarkId::new(cipher.name(), self.name)
    }

    /// As the device gives it: virtio header, headers, the payload of all segments; the checksum of the
    /// transport is left to be completed.
    pub(crate) fn frame(self) -> Vec<u8> {
        let headers = IP + self.transport;
        let payload = self.size - headers;
        let len = headers + self.segments * payload;
        let gso_type = match (self.segments, self.protocol) {
            (1, _) => GSO_NONE,
            (_, TCP) => GSO_TCPV4,
            _ => GSO_UDP_L4,
        };
        let virtio = VirtioNetHdr {
            flags: NEEDS_CSUM,
            gso_type,
            hdr_len: headers as u16,
            gso_size: payload as u16,
            csum_start: IP as u16,
            csum_offset: if self.protocol == TCP { 16 } else { 6 },
        };
        let mut frame = virtio.as_bytes().to_vec();
        frame.extend(self.ip_header(len));
        frame.extend(self.transport_header(len - IP));
        frame.resize(VIRTIO_HEADER + len, 0xa5);
        frame
    }

    /// Its segments one by one, whole and right.
    pub(crate) fn packets(self) -> Vec<Vec<u8>> {
        let mut frame = self.frame();
        let packet = parse(&mut frame);
        assert_eq!((packet.count(), packet.last_size()), (self.segments, self.size));
        let segment = |index| {
            let mut out = vec![0; self.size];
            packet.write_segment(index, &mut out);
            out
        };
        (0..self.segments).map(segment).collect()
    }

    fn ip_header(self, len: usize) -> Vec<u8> {
        let mut header = vec![0x45, 0];
        header.extend((len as u16).to_be_bytes());
        header.extend([0, 1, 0x40, 0, 64, self.protocol, 0, 0]);
        header.extend(ADDRESSES);
        let checksum = Sum::default().bytes(&header).checksum();
        header[10..12].copy_from_slice(&checksum);
        header
    }

    /// With the sum of the pseudo-header where the checksum goes, as the kernel leaves it.
    fn transport_header(self, len: usize) -> Vec<u8> {
        let partial = Sum::default().pseudo_header(&ADDRESSES, self.protocol, len as u16).fold();
        let mut header = vec![0x0f, 0xa0, 0x13, 0x89];
        if self.protocol == UDP {
            header.extend((len as u16).to_be_bytes());
            header.extend(partial);
        } else {
            // Sequence, acknowledgment, 32 bytes of header, ACK, window, checksum, no urgent data.
            header.extend([0, 0, 1, 0, 0, 0, 0, 7, 0x80, 0x10, 2, 0]);
            header.extend(partial);
            header.extend([0, 0]);
            // Timestamps, as every TCP of today has them.
            header.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        }
        header
    }
}

/// Takes a frame apart as the device's read does.
pub(crate) fn parse(frame: &mut [u8]) -> TunPacket<'_> {
    let (header, packet) = frame.split_at_mut(VIRTIO_HEADER);
    let header = VirtioNetHdr::parse(header).expect("a frame begins with its header");
    TunPacket::parse(&header, packet).expect("the frames here are well-formed")
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bytes of the IPv4 header.
const IP: usize = 20;
/// Source and destination: the inner addresses of [`ends`](crate::ends).
const ADDRESSES: [u8; 8] = [10, 77, 0, 1, 10, 77, 0, 2];
