//! The device against the running kernel.

use std::io::IoSlice;
use std::os::fd::AsFd;

use nix::errno::Errno;
use rtnetlink::{LinkUnspec, LinkVeth};
use zerocopy::IntoBytes;

use super::in_namespace;
use super::packets::{Fields, lay_out};
use crate::testing::{block_on, load};
use crate::tun::netlink::Netlink;
use crate::tun::{
    Coalescer, Link, LinkSettings, Offloads, Origin, ReadBuffer, Record, Tun, TunError, TunFault,
    VirtioNetHdr, ioctl,
};
use crate::wire::{Layer, Offload, Superpacket};

const ALL: Offloads = Offloads { tso: true, uso: true };

fn set_up(tun: &Tun) {
    let settings = LinkSettings {
        addresses: vec!["10.77.0.2/24".parse().unwrap(), "fd77::2/64".parse().unwrap()],
        mtu: Some(1420),
        ..LinkSettings::default()
    };
    block_on(async {
        let mut link = Link::open(tun, Record::new().unwrap()).await.unwrap();
        link.configure(&settings).await.unwrap();
    });
}

#[test]
fn a_device_is_created_with_the_offloads_of_this_kernel() {
    in_namespace("a_device_is_created_with_the_offloads_of_this_kernel", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        assert_eq!((tun.name(), tun.origin()), ("tun9", Origin::Created));
        assert_eq!(nix::net::if_::if_nametoindex("tun9").unwrap(), tun.index());
        assert_eq!((tun.gives(), tun.takes()), (ALL, ALL));
        assert!(tun.read(&mut ReadBuffer::new(), usize::MAX).unwrap().is_none());
        drop(tun);
        assert!(nix::net::if_::if_nametoindex("tun9").is_err());
    });
}

#[test]
fn the_plain_path_has_no_offloads_and_passes_packets() {
    in_namespace("the_plain_path_has_no_offloads_and_passes_packets", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::NONE).unwrap();
        assert_eq!((tun.gives(), tun.takes()), (Offloads::NONE, Offloads::NONE));
        set_up(&tun);
        let socket = std::net::UdpSocket::bind("10.77.0.2:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let fields = Fields { udp: true, ports: [9, port], ..Fields::default() };
        tun.write(&fields.packet()).unwrap();
        let mut received = [0; 200];
        let (len, from) = socket.recv_from(&mut received).unwrap();
        assert_eq!((len, from.to_string().as_str()), (100, "10.77.0.1:9"));

        socket.send_to(&[7; 50], "10.77.0.1:9").unwrap();
        let mut buffer = ReadBuffer::new();
        loop {
            let packet = tun.read(&mut buffer, usize::MAX).unwrap().unwrap();
            assert_eq!(packet.count(), 1);
            // The kernel also speaks of itself, over IPv6.
            if packet.header()[0] == 0x45 {
                assert_eq!(packet.header()[28..], [7; 50]);
                break;
            }
        }
    });
}

#[test]
fn a_name_that_another_kind_of_device_has_is_taken() {
    in_namespace("a_name_that_another_kind_of_device_has_is_taken", || {
        let error = Tun::open("lo", Layer::Ip, Offload::ALL).unwrap_err();
        assert!(matches!(&error, TunError::Taken { name, .. } if name == "lo"), "{error}");
        block_on(async {
            let netlink = Netlink::connect().unwrap();
            let veth = LinkVeth::new("tun9", "tun8").build();
            netlink.link().add(veth).execute().await.unwrap();
        });
        let error = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap_err();
        assert!(error.to_string().contains("ip link delete tun9"), "{error}");
    });
}

#[test]
fn a_device_in_use_is_busy() {
    in_namespace("a_device_in_use_is_busy", || {
        let _tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        let error = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap_err();
        assert!(matches!(error, TunError::Busy { .. }), "{error}");
    });
}

#[test]
fn a_name_of_sixteen_bytes_is_refused() {
    in_namespace("a_name_of_sixteen_bytes_is_refused", || {
        let error = Tun::open("sixteen-bytes-16", Layer::Ip, Offload::ALL).unwrap_err();
        let errno = Errno::ENAMETOOLONG as i32;
        assert!(
            matches!(&error, TunError::System { source, .. } if source.raw_os_error() == Some(errno)),
            "{error}"
        );
    });
}

#[test]
fn a_persistent_device_is_found_and_not_called_created() {
    in_namespace("a_persistent_device_is_found_and_not_called_created", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        ioctl::set_persistent(tun.as_fd()).unwrap();
        let index = tun.index();
        drop(tun);
        let tun = Tun::open("tun9", Layer::Ip, Offload::NONE).unwrap();
        assert_eq!((tun.origin(), tun.index()), (Origin::Found, index));
        assert_eq!(tun.gives(), Offloads::NONE);
    });
}

#[test]
fn a_device_that_is_down_discards_packets_until_it_is_up() {
    in_namespace("a_device_that_is_down_discards_packets_until_it_is_up", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        let packet = Fields::default().packet();
        assert!(matches!(tun.write(&packet), Err(TunFault::Down)));
        assert!(tun.read(&mut ReadBuffer::new(), usize::MAX).unwrap().is_none());
        set_up(&tun);
        tun.write(&packet).unwrap();
        let counters = &tun.counters().write;
        assert_eq!((load(&counters.packets), load(&counters.down)), (1, 1));
    });
}

#[test]
fn a_device_that_was_deleted_is_gone_for_reader_and_writer() {
    in_namespace("a_device_that_was_deleted_is_gone_for_reader_and_writer", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let netlink = Netlink::connect().unwrap();
            netlink.link().del(tun.index()).execute().await.unwrap();
        });
        assert!(tun.write(&Fields::default().packet()).unwrap_err().is_fatal());
        assert!(tun.read(&mut ReadBuffer::new(), usize::MAX).unwrap_err().is_fatal());
    });
}

#[test]
fn the_kernel_takes_superpackets_of_all_kinds() {
    in_namespace("the_kernel_takes_superpackets_of_all_kinds", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        set_up(&tun);
        for kind in Fields::kinds() {
            let run: Vec<_> = std::iter::successors(Some(kind), |fields| Some(fields.next()))
                .take(10)
                .map(|fields| fields.packet())
                .collect();
            let (buffer, ranges) = lay_out(&run);
            let mut coalescer = Coalescer::new(Layer::Ip, tun.takes());
            for range in ranges {
                coalescer.push(&buffer, range);
            }
            let written = || {
                let counters = &tun.counters().write;
                (load(&counters.packets), load(&counters.superpackets))
            };
            let (packets, superpackets) = written();
            tun.flush(&mut coalescer, &buffer).unwrap();
            assert_eq!(written(), (packets + 10, superpackets + 1));
        }
        assert_eq!(load(&tun.counters().write.superpackets_refused), 0);
    });
}

#[test]
fn superpackets_may_go_one_way_only() {
    in_namespace("superpackets_may_go_one_way_only", || {
        for (gso, gro) in [(true, false), (false, true)] {
            let tun = Tun::open("tun9", Layer::Ip, Offload { gso, gro }).unwrap();
            let either = |wanted| if wanted { ALL } else { Offloads::NONE };
            assert_eq!((tun.gives(), tun.takes()), (either(gso), either(gro)));
        }
    });
}

#[test]
fn a_device_that_is_down_still_judges_superpackets() {
    in_namespace("a_device_that_is_down_still_judges_superpackets", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        let counters = &tun.counters().write;
        assert_eq!((load(&counters.calls), load(&counters.superpackets_refused)), (1, 0));
        let packet = Fields::default().packet();
        let judge = |gso_type| {
            let header =
                VirtioNetHdr { flags: 1, gso_type, gso_size: 10, ..VirtioNetHdr::default() };
            tun.write_gathered(&[IoSlice::new(header.as_bytes()), IoSlice::new(&packet)])
        };
        assert!(matches!(judge(0x7f), Err(TunFault::Refused)));
        assert_eq!(tun.takes(), Offloads::NONE);
    });
}

#[test]
fn one_refused_superpacket_ends_them_and_no_packet_is_lost() {
    in_namespace("one_refused_superpacket_ends_them_and_no_packet_is_lost", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        set_up(&tun);
        let packet = Fields::default().packet();
        let broken = [1, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0];
        let gathered = [IoSlice::new(&broken), IoSlice::new(&packet)];
        for _ in 0..2 {
            assert!(matches!(tun.write_gathered(&gathered), Err(TunFault::Refused)));
        }
        assert_eq!(load(&tun.counters().write.superpackets_refused), 1);
        let run = [Fields::default(), Fields::default().next()].map(|fields| fields.packet());
        let (buffer, ranges) = lay_out(&run);
        let mut coalescer = Coalescer::new(Layer::Ip, tun.takes());
        for range in ranges {
            coalescer.push(&buffer, range);
        }
        tun.flush(&mut coalescer, &buffer).unwrap();
        let counters = &tun.counters().write;
        assert_eq!((load(&counters.packets), load(&counters.superpackets)), (2, 0));
    });
}

#[test]
fn a_device_set_down_while_it_runs_can_be_set_up_again() {
    in_namespace("a_device_set_down_while_it_runs_can_be_set_up_again", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        set_up(&tun);
        let packet = Fields::default().packet();
        let set = |message| {
            block_on(async {
                let netlink = Netlink::connect().unwrap();
                netlink.link().set(message).execute().await.unwrap();
            });
        };
        set(LinkUnspec::new_with_index(tun.index()).down().build());
        assert!(matches!(tun.write(&packet), Err(TunFault::Down)));
        set(LinkUnspec::new_with_index(tun.index()).up().build());
        tun.write(&packet).unwrap();
    });
}

#[test]
fn a_descriptor_that_was_kept_is_known_by_name_kind_and_network_namespace() {
    let test = "a_descriptor_that_was_kept_is_known_by_name_kind_and_network_namespace";
    in_namespace(test, || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        assert!(Tun::is_device(tun.as_fd(), "tun9", Layer::Ip));
        assert!(!Tun::is_device(tun.as_fd(), "tun8", Layer::Ip));
        assert!(!Tun::is_device(tun.as_fd(), "tun9", Layer::Ethernet));
        let kept = tun.as_fd().try_clone_to_owned().unwrap();
        in_namespace(test, || {
            let other = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
            assert!(!Tun::is_device(kept.as_fd(), "tun9", Layer::Ip), "it is of the other one");
            block_on(Tun::remove(kept));
            assert!(Tun::is_device(other.as_fd(), "tun9", Layer::Ip), "and not removed here");
        });
        let kept = tun.as_fd().try_clone_to_owned().unwrap();
        block_on(Tun::remove(kept));
        assert!(!Tun::is_device(tun.as_fd(), "tun9", Layer::Ip), "it is gone");
    });
}
