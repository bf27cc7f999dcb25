use std::cell::Cell;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::*;
use crate::testing::skip;

fn missing() -> OpenError {
    OpenError::Missing(io::Error::from(Errno::EAFNOSUPPORT))
}

#[test]
fn one_missing_family_is_no_error() {
    for lacking in Family::ALL {
        let sockets = pair(0, |family, _| {
            if family == lacking {
                return Err(missing());
            }
            Ok((family, 4711))
        })
        .unwrap();
        assert_eq!(sockets.port, 4711);
        for family in Family::ALL {
            assert_eq!(sockets.of(family).is_some(), family != lacking);
        }
    }
}

#[test]
fn both_missing_is_an_error() {
    let result = pair(0, |_, _| Err::<((), u16), _>(missing()));
    assert!(matches!(result, Err(UnderlayError::NoFamily { .. })));
}

#[test]
fn another_free_port_is_tried_when_the_second_family_finds_it_taken() {
    let ports = Cell::new(4000);
    let sockets = pair(0, |family, port| match family {
        Family::V4 => {
            assert_eq!(port, 0);
            ports.set(ports.get() + 1);
            Ok((family, ports.get()))
        }
        Family::V6 if port < 4003 => Err(OpenError::Taken),
        Family::V6 => Ok((family, port)),
    })
    .unwrap();
    assert_eq!(sockets.port, 4003);
}

#[test]
fn the_search_for_a_free_port_ends() {
    let tries = Cell::new(0);
    let result = pair(0, |family, _| match family {
        Family::V4 => {
            tries.set(tries.get() + 1);
            Ok(((), 4000))
        }
        Family::V6 => Err(OpenError::Taken),
    });
    assert!(matches!(result, Err(UnderlayError::NoFreePort)));
    assert_eq!(tries.get(), PORT_ATTEMPTS);
}

#[test]
fn a_chosen_port_that_is_taken_in_either_family_is_an_error() {
    for taken in Family::ALL {
        let result = pair(51820, |family, port| {
            if family == taken {
                return Err(OpenError::Taken);
            }
            Ok(((), port))
        });
        assert_eq!(
            result.map(|_| ()).unwrap_err().to_string(),
            "UDP port 51820 is already in use: another tunneld or WireGuard? choose another listen_port"
        );
    }
}

#[test]
fn what_lacks_a_capability_names_it() {
    let fatal = |_| panic!("not told apart");
    let refused = || io::Error::from(Errno::EPERM);
    let mark = mark_error(refused(), 7, fatal);
    let OpenError::Fatal(mark) = mark else {
        panic!("{mark:?}");
    };
    assert_eq!(
        mark.to_string(),
        "fwmark 7 needs the capability CAP_NET_ADMIN: grant it, or set fwmark to 0"
    );
    let port = bind_error(io::Error::from(Errno::EACCES), 80, fatal);
    let OpenError::Fatal(port) = port else {
        panic!("{port:?}");
    };
    assert_eq!(
        port.to_string(),
        "UDP port 80 needs the capability CAP_NET_BIND_SERVICE: choose a listen_port of 1024 or more"
    );
}

#[test]
fn a_kernel_without_the_family_is_told_apart_from_a_failure() {
    let fatal = |source| {
        OpenError::Fatal(UnderlayError::Socket { action: "open the socket", port: 1, source })
    };
    let error = without_family(io::Error::from(Errno::EAFNOSUPPORT), fatal);
    assert!(matches!(error, OpenError::Missing(_)));
    let error = without_family(io::Error::from(Errno::EMFILE), fatal);
    assert!(matches!(error, OpenError::Fatal(_)));
}

#[test]
fn the_options_are_those_promised() {
    for family in Family::ALL {
        let (socket, _) = match FamilySocket::open(family, 0, 0, Offload::ALL) {
            Err(OpenError::Missing(error)) => {
                skip("the_options_are_those_promised", error);
                continue;
            }
            result => result.unwrap(),
        };
        let socket = &socket.socket;
        assert!(!socket.reuse_address().unwrap());
        let flags = fcntl(socket, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        assert!(socket.nonblocking().unwrap());
        match family {
            Family::V4 => {
                assert!(getsockopt(socket, sockopt::IpRecvTos).unwrap());
                assert!(getsockopt(socket, sockopt::Ipv4PacketInfo).unwrap());
                let value = getsockopt(socket, Ipv4MtuDiscover).unwrap();
                assert_eq!(value, libc::IP_PMTUDISC_OMIT);
            }
            Family::V6 => {
                assert!(socket.only_v6().unwrap());
                assert!(getsockopt(socket, sockopt::Ipv6RecvTClass).unwrap());
                assert!(getsockopt(socket, sockopt::Ipv6RecvPacketInfo).unwrap());
                let value = getsockopt(socket, Ipv6MtuDiscover).unwrap();
                assert_eq!(value, libc::IPV6_PMTUDISC_DONT);
            }
        }
    }
}

nix::getsockopt_impl!(
    Ipv4MtuDiscover,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int,
    sockopt::GetStruct<libc::c_int>
);
nix::getsockopt_impl!(
    Ipv6MtuDiscover,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    libc::c_int,
    sockopt::GetStruct<libc::c_int>
);
