//! One table of the kernel's packet filter, replaced as a whole: all of its rules change in one instant, or none.
//!
//! The table belongs to the socket that made it (`NFT_TABLE_F_OWNER`, Linux 5.12): nobody else can change it, a flush
//! of the whole rule set spares it, and it ends when the last descriptor of the socket is closed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use netlink_bindings::nftables::{
    CmpOps, MetaKeys, Nfgenmsg, OpBatchBeginDo, OpBatchEndDo, OpDeltableDo, OpNewchainDo,
    OpNewruleDo, OpNewtableDo, PayloadBase, PushExprAttrs, PushExprListAttrs, Registers,
    TableFlags, VerdictCode,
};
use netlink_bindings::traits::Pusher;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One step of a rule; the first that does not hold ends it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Takes something the kernel knows of the packet.
    Meta(MetaKeys),
    /// Takes bytes of the packet: from this header on, at this offset, so many.
    Bytes(PayloadBase, u32, u32),
    /// Keeps those bits of what was taken.
    Mask(Vec<u8>),
    /// What was taken is this.
    Is(Vec<u8>),
    /// Counts the packet.
    Count,
    /// Lets the packet pass this chain.
    Accept,
    /// Discards the packet.
    Drop,
}

/// A place in the kernel at which packets pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// `NF_INET_*`.
    pub(super) number: libc::c_int,
    /// The lower, the earlier.
    pub(super) priority: i32,
}

/// A socket that can own tables.
///
/// # Errors
/// The kernel has no nftables.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let protocol = SockProtocol::NetlinkNetFilter;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    // A batch is sent with one call. Without this a long configuration is refused, and says so.
    let _ = setsockopt(&fd, sockopt::SndBufForce, &LONGEST_BATCH);
    Ok(fd)
}

/// A table of both families, to be filled and put in the place of the one of its name.
#[derive(Clone, Debug)]
pub(super) struct Table {
    name: String,
    messages: Vec<Message>,
}

impl Table {
    pub(super) fn new(name: String) -> Self {
        let mut table = Self { name, messages: Vec::new() };
        table.push(libc::NFNL_MSG_BATCH_BEGIN, 0, |_, buffer| {
            OpBatchBeginDo::encode_request(buffer, &BATCH);
        });
        // Made first if it is not there, so that there is always one to delete.
        table.create();
        table.push(nftables(libc::NFT_MSG_DELTABLE), 0, |table, buffer| {
            OpDeltableDo::encode_request(buffer, &INET).push_name_bytes(table);
        });
        table.create();
        table
    }

    fn create(&mut self) {
        self.push(nftables(libc::NFT_MSG_NEWTABLE), libc::NLM_F_CREATE, |table, buffer| {
            OpNewtableDo::encode_request(buffer, &INET)
                .push_name_bytes(table)
                .push_flags(TableFlags::Owner as u32);
        });
    }

    /// Adds a chain at a hook; what no rule of it discards passes.
    pub(super) fn chain(&mut self, chain: &str, hook: Hook) {
        self.push(nftables(libc::NFT_MSG_NEWCHAIN), libc::NLM_F_CREATE, |table, buffer| {
            OpNewchainDo::encode_request(buffer, &INET)
                .push_table_bytes(table)
                .push_name_bytes(chain.as_bytes())
                .nested_hook()
                .push_num(hook.number.cast_unsigned())
                .push_priority(hook.priority)
                .end_nested()
                .push_type(c"filter");
        });
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn rule(&mut self, chain: &str, steps: &[Step]) {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.push(nftables(libc::NFT_MSG_NEWRULE), flags, |table, buffer| {
            let list = OpNewruleDo::encode_request(buffer, &INET)
                .push_table_bytes(table)
                .push_chain_bytes(chain.as_bytes())
                .nested_expressions();
            steps.iter().fold(list, |list, step| step.encode(list));
        });
    }

    /// Puts the table into the kernel.
    ///
    /// # Errors
    /// What the kernel says; everything is as before then. EPERM also if the table is another's.
    pub(super) fn commit(mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // Errors are always told; that there was none, only by what is last.
        if let Some(last) = self.messages.last_mut() {
            last.flags |= libc::NLM_F_ACK;
        }
        self.push(libc::NFNL_MSG_BATCH_END, 0, |_, buffer| {
            OpBatchEndDo::encode_request(buffer, &BATCH);
        });
        let bytes: Vec<u8> = self.messages.into_iter().flat_map(Message::into_bytes).collect();
        let socket = socket.as_raw_fd();
        let mut answer = [0; 1024];
        // An earlier owner may have left answers unread.
        while recv(socket, &mut answer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        send(socket, &bytes, MsgFlags::empty())?;
        // The kernel has answered by the time the call returns.
        recv(socket, &mut answer, MsgFlags::MSG_DONTWAIT)?;
        Answer::of(&answer)
    }

    fn push(
        &mut self,
        kind: libc::c_int,
        flags: libc::c_int,
        encode: impl FnOnce(&[u8], &mut Vec<u8>),
    ) {
        let mut body = Vec::new();
        encode(self.name.as_bytes(), &mut body);
        self.messages.push(Message { kind, flags, body });
    }
}

impl Step {
    fn encode<P: Pusher>(&self, list: PushExprListAttrs<P>) -> PushExprListAttrs<P> {
        let element = list.nested_elem();
        match self {
            Self::Meta(key) => element
                .nested_data_meta()
                .push_key(*key as u32)
                .push_dreg(REGISTER)
                .end_nested()
                .end_nested(),
            Self::Bytes(base, offset, length) => element
                .nested_data_payload()
                .push_dreg(REGISTER)
                .push_base(*base as u32)
                .push_offset(*offset)
                .push_len(*length)
                .end_nested()
                .end_nested(),
            Self::Mask(mask) => element
                .nested_data_bitwise()
                .push_sreg(REGISTER)
                .push_dreg(REGISTER)
                .push_len(mask.len().try_into().unwrap_or(u32::MAX))
                .nested_mask()
                .push_value(mask)
                .end_nested()
                .nested_xor()
                .push_value(&vec![0; mask.len()])
                .end_nested()
                .end_nested()
                .end_nested(),
            Self::Is(value) => element
                .nested_data_cmp()
                .push_sreg(REGISTER)
                .push_op(CmpOps::Eq as u32)
                .nested_data()
                .push_value(value)
                .end_nested()
                .end_nested()
                .end_nested(),
            Self::Count => element.nested_data_counter().end_nested().end_nested(),
            Self::Accept => verdict(element, VerdictCode::Accept),
            Self::Drop => verdict(element, VerdictCode::Drop),
        }
    }
}

fn verdict<P: Pusher>(element: PushExprAttrs<P>, code: VerdictCode) -> P {
    element
        .nested_data_immediate()
        .push_dreg(Registers::RegVerdict as u32)
        .nested_data()
        .nested_verdict()
        .push_code(code as u32)
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested()
}

/// One message of a batch; its body begins with a `struct nfgenmsg`.
#[derive(Clone, Debug)]
struct Message {
    kind: libc::c_int,
    flags: libc::c_int,
    body: Vec<u8>,
}

impl Message {
    fn into_bytes(self) -> Vec<u8> {
        let Self { kind, flags, mut body } = self;
        body.resize(body.len().next_multiple_of(libc::NLA_ALIGNTO as usize), 0);
        let length = size_of::<Header>().saturating_add(body.len());
        let header = Header {
            // What is too long for the field is too long for the kernel as well.
            length: length.try_into().unwrap_or(u32::MAX),
            kind: kind as u16,
            flags: (flags | libc::NLM_F_REQUEST) as u16,
            sequence: 0,
            port: 0,
        };
        [header.as_bytes(), &body].concat()
    }
}

/// A `struct nlmsghdr` (netlink(7)).
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// The beginning of an NLMSG_ERROR message.
#[derive(FromBytes)]
#[repr(C)]
struct Answer {
    header: Header,
    error: i32,
}

impl Answer {
    fn of(bytes: &[u8]) -> io::Result<()> {
        match Self::read_from_prefix(bytes) {
            Ok((Self { header, error }, _)) if i32::from(header.kind) == libc::NLMSG_ERROR => {
                if error == 0 {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(error.saturating_neg()))
                }
            }
            _ => Err(Errno::EPROTO.into()),
        }
    }
}

/// The type of a message for this part of netfilter.
fn nftables(message: libc::c_int) -> libc::c_int {
    (libc::NFNL_SUBSYS_NFTABLES << 8) | message
}

/// Objects of the family for both IPv4 and IPv6.
const INET: Nfgenmsg =
    Nfgenmsg { nfgen_family: libc::NFPROTO_INET as u8, version: 0, _res_id_be: 0 };
/// Both ends of a batch name the part of netfilter that it is for.
const BATCH: Nfgenmsg = Nfgenmsg {
    nfgen_family: 0,
    version: 0,
    _res_id_be: (libc::NFNL_SUBSYS_NFTABLES as u16).to_be(),
};
/// The one register that rules use: 16 bytes, as many as an IPv6 address.
const REGISTER: u32 = Registers::Reg1 as u32;
/// Room for a rule for each network of the longest configuration.
const LONGEST_BATCH: usize = 4 << 20;
