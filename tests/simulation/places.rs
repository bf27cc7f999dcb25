//! Where the ends are reached: by addresses that change, by a second endpoint, and by a name that may lead astray.

use std::net::SocketAddr;

use crate::scenario::Side;
use crate::weather::Dice;

/// The address of the second endpoint by which `side` is reached.
pub fn second(side: Side) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, side as u8 + 1], 443))
}

/// What a name stands for: so many addresses at which nobody is, and then `address`.
pub fn named(dead: u8, address: SocketAddr) -> Vec<SocketAddr> {
    let dead = (1..=dead).map(|host| SocketAddr::from(([100, 64, 0, host], 9)));
    dead.chain([address]).collect()
}

/// Where `side` is after the `number`th move: at another port than `before` or, unless that is all, at another address.
pub fn moved(side: Side, number: u16, before: SocketAddr, port_only: bool) -> SocketAddr {
    let net = side as u16 + 1;
    let ip = match Dice::new(u64::from(number)).below(2) {
        _ if port_only => before.ip(),
        0 => [198, 18, net as u8, number as u8].into(),
        _ => [0x2001, 0xdb8, net, 0, 0, 0, 0, number].into(),
    };
    // An odd port is the other one of an even one.
    SocketAddr::new(ip, 40_000 + 2 * number)
}
