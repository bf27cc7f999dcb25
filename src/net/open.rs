//! Opens the sockets: two families, one port, every option set before the first datagram can arrive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{GetSockOpt, SetSockOpt, getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;

use super::Family;
use super::gso::GsoLimit;
use crate::wire::Offload;

/// Wanted bytes of each socket buffer: less discards bursts while a thread waits for its turn, and cost a
/// quarter of the throughput where it was measured.
const SOCKET_BUFFER: usize = 7 << 20;

/// How often another free port is tried when the second family finds the first one's taken.
const PORT_ATTEMPTS: usize = 16;

/// Why the underlay cannot be bound, and what to do.
#[derive(Debug, Error)]
pub(crate) enum UnderlayError {
    /// Another socket has the port.
    #[error(
        "UDP port {port} is already in use: another tunneld or WireGuard? choose another listen_port"
    )]
    PortInUse {
        /// The port asked for.
        port: u16,
    },
    /// No port is free for both families.
    #[error("no UDP port is free for both IPv4 and IPv6: set listen_port")]
    NoFreePort,
    /// The port is reserved to the privileged.
    #[error(
        "UDP port {port} needs the capability CAP_NET_BIND_SERVICE: choose a listen_port of 1024 or more"
    )]
    PortRefused {
        /// The port asked for.
        port: u16,
    },
    /// Marking packets is reserved to the privileged.
    #[error("fwmark {fwmark} needs the capability CAP_NET_ADMIN: grant it, or set fwmark to 0")]
    MarkRefused {
        /// The mark asked for.
        fwmark: u32,
    },
    /// Neither family can be used.
    #[error("this system allows neither IPv4 nor IPv6 sockets: {source}")]
    NoFamily {
        /// What the kernel said of the last one.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {action} of UDP port {port}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The port asked for.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why one family's socket cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The kernel lacks the family: go on without it.
    Missing(io::Error),
    /// The port is taken.
    Taken,
    /// Nothing to go on with.
    Fatal(UnderlayError),
}

/// The sockets of both families, as far as there are, and their common port.
#[derive(Debug)]
pub(crate) struct Pair<S> {
    pub(super) port: u16,
    v4: Option<S>,
    v6: Option<S>,
}

/// The sockets on one port.
pub(crate) type Sockets = Pair<FamilySocket>;

impl Sockets {
    pub(super) fn open(
        listen_port: u16,
        fwmark: u32,
        wanted: Offload,
        kept: Vec<OwnedFd>,
    ) -> Result<Self, UnderlayError> {
        let mut kept: Vec<_> = kept.into_iter().map(Socket::from).collect();
        pair(listen_port, |family, port| {
            let serves = |socket: &mut Socket| serves(socket, family, port);
            match kept.extract_if(.., serves).next() {
                Some(socket) => FamilySocket::inherit(family, port, fwmark, wanted, socket),
                None => FamilySocket::open(family, port, fwmark, wanted),
            }
        })
    }

    /// The descriptors of all sockets.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        Family::ALL.into_iter().filter_map(|family| self.fd(family))
    }

    pub(super) fn set_fwmark(&self, fwmark: u32) -> Result<(), UnderlayError> {
        let failed =
            |source| UnderlayError::Socket { action: "set the fwmark", port: self.port, source };
        [&self.v4, &self.v6].into_iter().flatten().try_for_each(|socket| {
            socket.socket.set_mark(fwmark).map_err(|error| match errno(&error) {
                Errno::EPERM | Errno::EACCES => UnderlayError::MarkRefused { fwmark },
                _ => failed(error),
            })
        })
    }

    /// The socket of `family`, if there is one, to wait on.
    #[must_use]
    pub(crate) fn fd(&self, family: Family) -> Option<BorrowedFd<'_>> {
        self.of(family).map(FamilySocket::fd)
    }
}

impl<S> Pair<S> {
    pub(super) fn of(&self, family: Family) -> Option<&S> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

/// Opens both families on one port; `open` returns a socket and the port it got.
pub(super) fn pair<S>(
    listen_port: u16,
    mut open: impl FnMut(Family, u16) -> Result<(S, u16), OpenError>,
) -> Result<Pair<S>, UnderlayError> {
    let in_use = || match listen_port {
        0 => UnderlayError::NoFreePort,
        port => UnderlayError::PortInUse { port },
    };
    for _ in 0..PORT_ATTEMPTS {
        let (v4, port) = match open(Family::V4, listen_port) {
            Ok((socket, port)) => (Some(socket), port),
            Err(OpenError::Missing(_)) => (None, listen_port),
            Err(OpenError::Taken) => return Err(in_use()),
            Err(OpenError::Fatal(error)) => return Err(error),
        };
        match open(Family::V6, port) {
            Ok((socket, port)) => {
                let v6 = Some(socket);
                return Ok(Pair { port, v4, v6 });
            }
            Err(OpenError::Missing(source)) if v4.is_none() => {
                return Err(UnderlayError::NoFamily { source });
            }
            Err(OpenError::Missing(_)) => return Ok(Pair { port, v4, v6: None }),
            Err(OpenError::Taken) if listen_port == 0 && v4.is_some() => {}
            Err(OpenError::Taken) => return Err(in_use()),
            Err(OpenError::Fatal(error)) => return Err(error),
        }
    }
    Err(UnderlayError::NoFreePort)
}

/// One family's socket.
#[derive(Debug)]
pub(crate) struct FamilySocket {
    pub(super) socket: Socket,
    pub(super) gso: GsoLimit,
    /// Whether the kernel hands over several datagrams at a time.
    pub(super) gro: bool,
    /// What the kernel had discarded when it was asked last.
    pub(super) discarded: AtomicU32,
}

impl FamilySocket {
    /// Opens and binds it; returns the port too, which the kernel chooses for 0.
    pub(super) fn open(
        family: Family,
        port: u16,
        fwmark: u32,
        wanted: Offload,
    ) -> Result<(Self, u16), OpenError> {
        let fatal = |action| {
            move |source: io::Error| {
                OpenError::Fatal(UnderlayError::Socket { action, port, source })
            }
        };
        let any = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(domain(family), kind, Some(Protocol::UDP))
            .map_err(|error| without_family(error, fatal("open the socket")))?;
        if family == Family::V6 {
            // To be set before it is bound.
            socket.set_only_v6(true).map_err(fatal("set the options"))?;
        }
        let socket = Self::set_up(family, port, fwmark, wanted, socket)?;
        socket
            .socket
            .bind(&SockAddr::from(SocketAddr::new(any, port)))
            .map_err(|error| bind_error(error, port, fatal("bind the socket")))?;
        let port = port_of(&socket.socket)
            .ok_or_else(|| fatal("read the address")(Errno::ENOTSOCK.into()))?;
        Ok((socket, port))
    }

    /// Goes on with a bound socket of an earlier process.
    fn inherit(
        family: Family,
        port: u16,
        fwmark: u32,
        wanted: Offload,
        socket: Socket,
    ) -> Result<(Self, u16), OpenError> {
        let port = port_of(&socket).unwrap_or(port);
        let socket = Self::set_up(family, port, fwmark, wanted, socket)?;
        // There may have been a flood.
        if let Err(error) = socket.screen(family, None) {
            tracing::debug!(%error, "the kernel keeps an old filter");
        }
        socket.take_discarded();
        Ok((socket, port))
    }

    /// Every option, set anew.
    fn set_up(
        family: Family,
        port: u16,
        fwmark: u32,
        wanted: Offload,
        socket: Socket,
    ) -> Result<Self, OpenError> {
        let fatal = |action| {
            move |source: io::Error| {
                OpenError::Fatal(UnderlayError::Socket { action, port, source })
            }
        };
        if socket.mark().unwrap_or(0) != fwmark {
            socket
                .set_mark(fwmark)
                .map_err(|error| mark_error(error, fwmark, fatal("set the fwmark")))?;
        }
        require(family, &socket).map_err(|errno| fatal("set the options")(errno.into()))?;
        prefer(family, &socket);
        let granted = enable_offload(family, &socket, wanted);
        let discarded = AtomicU32::new(0);
        Ok(Self { socket, gso: GsoLimit::new(granted.gso), gro: granted.gro, discarded })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

fn port_of(socket: &Socket) -> Option<u16> {
    socket.local_addr().ok()?.as_socket().map(|address| address.port())
}

/// Whether a socket of an earlier process is what is wanted; 0 is any port.
fn serves(socket: &Socket, family: Family, port: u16) -> bool {
    let bound = port_of(socket).filter(|bound| *bound != 0 && (port == 0 || *bound == port));
    bound.is_some() && socket.domain().is_ok_and(|of| of == domain(family))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn without_family(error: io::Error, fatal: impl FnOnce(io::Error) -> OpenError) -> OpenError {
    match errno(&error) {
        Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => OpenError::Missing(error),
        _ => fatal(error),
    }
}

fn mark_error(
    error: io::Error,
    fwmark: u32,
    fatal: impl FnOnce(io::Error) -> OpenError,
) -> OpenError {
    match errno(&error) {
        Errno::EPERM | Errno::EACCES => OpenError::Fatal(UnderlayError::MarkRefused { fwmark }),
        _ => fatal(error),
    }
}

fn bind_error(
    error: io::Error,
    port: u16,
    fatal: impl FnOnce(io::Error) -> OpenError,
) -> OpenError {
    match errno(&error) {
        Errno::EADDRINUSE => OpenError::Taken,
        Errno::EADDRNOTAVAIL => OpenError::Missing(error),
        Errno::EACCES | Errno::EPERM => OpenError::Fatal(UnderlayError::PortRefused { port }),
        _ => fatal(error),
    }
}

/// The options nothing works without.
fn require(family: Family, socket: &Socket) -> Result<(), Errno> {
    match family {
        Family::V4 => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
        Family::V6 => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
    }
}

/// The options that only make things better: ECN, fragments instead of loss where an outer packet is
/// larger than the path, room for bursts.
fn prefer(family: Family, socket: &Socket) {
    match family {
        Family::V4 => {
            attempt(socket, "IP_RECVTOS", sockopt::IpRecvTos, &true);
            // Nor does anybody's ICMP message change what we send: routers fragment what is too large
            let value = libc::IP_PMTUDISC_OMIT;
            attempt(socket, "IP_MTU_DISCOVER", Ipv4MtuDiscover, &value);
        }
        Family::V6 => {
            attempt(socket, "IPV6_RECVTCLASS", sockopt::Ipv6RecvTClass, &true);
            let value = libc::IPV6_PMTUDISC_DONT;
            attempt(socket, "IPV6_MTU_DISCOVER", Ipv6MtuDiscover, &value);
        }
    }
    if setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        attempt(socket, "SO_RCVBUF", sockopt::RcvBuf, &SOCKET_BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        attempt(socket, "SO_SNDBUF", sockopt::SndBuf, &SOCKET_BUFFER);
    }
    let size = |bytes: Result<usize, Errno>| bytes.unwrap_or(0) / 2; // the kernel reports the double
    tracing::debug!(
        ?family,
        receive = size(sockopt::RcvBuf.get(socket)),
        send = size(sockopt::SndBuf.get(socket)),
        "socket buffers"
    );
}

/// Turns UDP GRO on and asks whether the kernel knows UDP GSO, as far as they are wanted; returns what there is.
fn enable_offload(family: Family, socket: &Socket, wanted: Offload) -> Offload {
    let granted = Offload {
        gso: wanted.gso && getsockopt(socket, sockopt::UdpGsoSegment).is_ok(),
        gro: attempt(socket, "UDP_GRO", sockopt::UdpGroSegment, &wanted.gro) && wanted.gro,
    };
    tracing::debug!(?family, ?granted, "UDP offload");
    granted
}

/// Whether the kernel took the option.
fn attempt<O: SetSockOpt>(socket: &Socket, name: &'static str, option: O, value: &O::Val) -> bool {
    let result = option.set(socket, value);
    if let Err(errno) = result {
        tracing::debug!(option = name, %errno, "the kernel refused a socket option");
    }
    result.is_ok()
}

/// Whether IPv4 datagrams may be fragmented.
#[derive(Clone, Copy)]
struct Ipv4MtuDiscover;
nix::setsockopt_impl!(
    Ipv4MtuDiscover,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int,
    sockopt::SetStruct<'_, libc::c_int>
);

/// Whether IPv6 datagrams may be fragmented by this host.
#[derive(Clone, Copy)]
struct Ipv6MtuDiscover;
nix::setsockopt_impl!(
    Ipv6MtuDiscover,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    libc::c_int,
    sockopt::SetStruct<'_, libc::c_int>
);

#[cfg(test)]
mod tests;
