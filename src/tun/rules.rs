//! The rules that lead the default route into the tunnel, and outer packets past it. What carries their mark takes the
//! way it would take without the tunnel, and so does all for which the main table has more than a default route; all
//! else asks the tunnel's own table, whose number is the mark.
//!
//! Rules outlive their maker. Ours are known by their priorities and their protocol, so that a start after a crash
//! takes over those that it wants; which others are ours is in the [record](super::Record).

use std::io;

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::IpVersion;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteHeader, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::netlink::{Netlink, io_error, is_one_of};

/// The two rules of a family, in the order in which they are added: while there is only the first, it changes nothing.
pub(super) fn rules(family: AddressFamily, mark: u32) -> [RuleMessage; 2] {
    let mut main = rule(family, PRIORITY_MAIN);
    main.header.table = RouteHeader::RT_TABLE_MAIN;
    main.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    let mut unmarked = rule(family, PRIORITY_UNMARKED);
    unmarked.header.flags = RuleFlags::Invert;
    unmarked.attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::Table(mark)]);
    [main, unmarked]
}

fn rule(family: AddressFamily, priority: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.attributes.extend([
        RuleAttribute::Priority(priority),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ]);
    rule
}

/// Adds a rule, unless it is there already.
///
/// # Errors
/// What the kernel says; EEXIST if there is one of the same priority that differs only in what it suppresses.
pub(super) async fn add(netlink: &Netlink, rule: &RuleMessage) -> io::Result<()> {
    let version = match rule.header.family {
        AddressFamily::Inet => IpVersion::V4,
        _ => IpVersion::V6,
    };
    let mut rules = std::pin::pin!(netlink.rule().get(version).execute());
    let mut found = false;
    // Read to the end: the rest of the answer would be in the way of the next question.
    while let Some(other) = rules.try_next().await.map_err(io_error)? {
        found |= Essence::of(&other) == Essence::of(rule);
    }
    if found {
        return Ok(());
    }
    let mut request = netlink.rule().add();
    *request.message_mut() = rule.clone();
    request.execute().await.map_err(io_error)
}

/// Removes a rule; one that is gone need not be removed.
pub(super) async fn remove(netlink: &Netlink, rule: RuleMessage) -> io::Result<()> {
    match netlink.rule().del(rule).execute().await.map_err(io_error) {
        Err(error) if is_one_of(&error, &[Errno::ENOENT]) => Ok(()),
        result => result,
    }
}

/// What a rule is known by. The kernel tells more of it than was said, and a table in one of two places.
#[derive(Default, PartialEq, Eq)]
struct Essence {
    inverted: bool,
    table: u32,
    priority: u32,
    protocol: u8,
    mark: u32,
    suppressed: Option<u32>,
}

impl Essence {
    fn of(rule: &RuleMessage) -> Self {
        let mut essence = Self {
            inverted: rule.header.flags.contains(RuleFlags::Invert),
            table: rule.header.table.into(),
            ..Self::default()
        };
        for attribute in &rule.attributes {
            match *attribute {
                RuleAttribute::Table(table) => essence.table = table,
                RuleAttribute::Priority(priority) => essence.priority = priority,
                RuleAttribute::Protocol(protocol) => essence.protocol = protocol.into(),
                RuleAttribute::FwMark(mark) => essence.mark = mark,
                RuleAttribute::SuppressPrefixLen(bits) => {
                    essence.suppressed = Some(bits).filter(|bits| *bits != u32::MAX);
                }
                _ => {}
            }
        }
        essence
    }
}

/// Just before the rule for the main table, and before those that `wg-quick` makes.
const PRIORITY_MAIN: u32 = 32_762;
const PRIORITY_UNMARKED: u32 = 32_763;
/// Whose rules they are, for `ip rule`: a number that nobody else has taken in iproute2's list.
pub(super) const PROTOCOL: u8 = 125;
