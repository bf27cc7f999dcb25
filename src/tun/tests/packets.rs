//! Packets made from their fields, with checksums summed word by word, and a writer that keeps what it is given.

use std::io::IoSlice;

use crate::tun::{PacketWriter, TunFault, TunPacket, VIRTIO_HEADER, VirtioNetHdr};
use crate::wire::ethernet::MAX_FRAME_HEADER;
use crate::wire::{Layer, Superpacket};

/// The fields of a TCP or UDP packet.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// UDP: without a checksum.
    pub(crate) unsummed: bool,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) df: bool,
    pub(crate) id: u16,
    pub(crate) label: u16,
    pub(crate) ports: [u16; 2],
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            v6: false,
            udp: false,
            unsummed: false,
            tos: 0,
            ttl: 64,
            df: true,
            id: 1,
            label: 0,
            ports: [4000, 5001],
            sequence: 1000,
            ack: 7,
            flags: 0x10,
            window: 512,
            options: Vec::new(),
            payload: vec![0xab; 100],
        }
    }
}

impl Fields {
    /// The four kinds.
    pub(crate) fn kinds() -> [Self; 4] {
        [(false, false), (false, true), (true, false), (true, true)].map(|(v6, udp)| Self {
            v6,
            udp,
            ..Self::default()
        })
    }

    /// The same fields for a payload of `len` bytes.
    pub(crate) fn with_payload(&self, len: usize) -> Self {
        Self { payload: (0..len).map(|at| (at * 7 + 3) as u8).collect(), ..self.clone() }
    }

    /// The fields of the packet that follows in its flow.
    pub(crate) fn next(&self) -> Self {
        Self {
            id: self.id.wrapping_add(1),
            sequence: self.sequence.wrapping_add(self.payload.len() as u32),
            ..self.clone()
        }
    }

    /// Bytes of IP and transport header.
    pub(crate) fn header_len(&self) -> usize {
        let ip = if self.v6 { 40 } else { 20 };
        ip + if self.udp { 8 } else { 20 + self.options.len() }
    }

    /// The packet, whole and right.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut transport = self.transport_header();
        transport.extend(&self.payload);
        let mut packet = self.ip_header(transport.len());
        let mut summed = packet[if self.v6 { 8..40 } else { 12..20 }].to_vec();
        summed.extend([0, if self.udp { 17 } else { 6 }]);
        summed.extend((transport.len() as u16).to_be_bytes());
        summed.extend(&transport);
        let at = if self.udp { 6 } else { 16 };
        let checksum = match !sum(&summed) {
            _ if self.udp && self.unsummed => 0,
            0 if self.udp => 0xffff,
            checksum => checksum,
        };
        transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(transport);
        packet
    }

    fn ip_header(&self, transport_len: usize) -> Vec<u8> {
        let protocol = if self.udp { 17 } else { 6 };
        if self.v6 {
            let mut header = vec![0x60 | self.tos >> 4, self.tos << 4];
            header.extend(self.label.to_be_bytes());
            header.extend((transport_len as u16).to_be_bytes());
            header.extend([protocol, self.ttl]);
            for last in [1, 2] {
                header.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            return header;
        }
        let mut header = vec![0x45, self.tos];
        header.extend((transport_len as u16 + 20).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend([if self.df { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
        header.extend([10, 77, 0, 1, 10, 77, 0, 2]);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(self.ports[0].to_be_bytes());
        header.extend(self.ports[1].to_be_bytes());
        if self.udp {
            header.extend((8 + self.payload.len() as u16).to_be_bytes());
            header.extend([0, 0]);
            return header;
        }
        header.extend(self.sequence.to_be_bytes());
        header.extend(self.ack.to_be_bytes());
        header.extend([(20 + self.options.len() as u8) << 2, self.flags]);
        header.extend(self.window.to_be_bytes());
        header.extend([0; 4]);
        header.extend(&self.options);
        header
    }
}

/// A run of packets as it lies in a receive buffer, with gaps between them.
pub(crate) fn lay_out(packets: &[Vec<u8>]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let mut buffer = Vec::new();
    let ranges = packets.iter().map(|packet| {
        buffer.extend([0xee; 16]);
        let start = buffer.len();
        buffer.extend(packet);
        start..start + packet.len()
    });
    let ranges = ranges.collect();
    buffer.extend([0xee; 16]);
    (buffer, ranges)
}

/// All segments of a superpacket.
pub(crate) fn split(packet: &impl Superpacket) -> Vec<Vec<u8>> {
    (0..packet.count())
        .map(|index| {
            let is_last = index + 1 == packet.count();
            let size = if is_last { packet.last_size() } else { packet.segment_size() };
            let mut out = vec![0xcc; size];
            packet.write_segment(index, &mut out);
            out
        })
        .collect()
}

/// Keeps each write as the device would get it: virtio header first.
#[derive(Default)]
pub(crate) struct Recorder {
    /// Whether frames are written.
    pub(crate) layer: Layer,
    pub(crate) writes: Vec<Vec<u8>>,
    /// Refuse superpackets like this.
    pub(crate) refusal: Option<fn() -> TunFault>,
    /// Fail all writes like this.
    pub(crate) fault: Option<fn() -> TunFault>,
}

impl Recorder {
    /// What the kernel would make of all writes: the packets, one by one.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for write in &self.writes {
            let header = VirtioNetHdr::parse(write).unwrap();
            let mut packet = write[VIRTIO_HEADER..].to_vec();
            let packet = match self.layer {
                Layer::Ip => TunPacket::parse(&header, &mut packet),
                Layer::Ethernet => TunPacket::parse_frame(&header, &mut packet, usize::MAX),
            };
            all.extend(split(&packet.unwrap()));
        }
        all
    }
}

impl PacketWriter for Recorder {
    fn write_packet(&mut self, packet: &[u8]) -> Result<(), TunFault> {
        if let Some(fault) = self.fault {
            return Err(fault());
        }
        self.writes.push([&[0; VIRTIO_HEADER], packet].concat());
        Ok(())
    }

    fn write_superpacket(&mut self, gathered: &[IoSlice<'_>]) -> Result<(), TunFault> {
        if let Some(fault) = self.fault {
            return Err(fault());
        }
        if let Some(refusal) = self.refusal {
            return Err(refusal());
        }
        assert!(gathered.iter().all(|slice| !slice.is_empty()));
        let write: Vec<_> = gathered.iter().flat_map(|slice| slice.iter().copied()).collect();
        let link = if self.layer == Layer::Ethernet { MAX_FRAME_HEADER } else { 0 };
        assert!(write.len() <= VIRTIO_HEADER + link + 65_535);
        self.writes.push(write);
        Ok(())
    }
}

/// The frame that carries this IP packet, with so many VLAN tags.
pub(crate) fn frame(tags: usize, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in (0..tags).rev() {
        frame.extend(if tag == 1 { [0x88, 0xa8, 0, 7] } else { [0x81, 0, 0, 10] });
    }
    let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(packet);
    frame
}

/// The one's complement sum of RFC 1071, word by word.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
