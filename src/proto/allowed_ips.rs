//! Which inner addresses belong to the peer: outbound by destination, inbound by source (paper §2, cryptokey routing).

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses, built once from prefixes of both families.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedIps {
    /// First and last address of each block; sorted, without overlap.
    blocks: Vec<(IpAddr, IpAddr)>,
}

impl AllowedIps {
    /// Whether `address` lies in one of the prefixes.
    #[must_use]
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let after = self.blocks.partition_point(|(first, _)| *first <= address);
        let block = self.blocks.get(..after).and_then(<[_]>::last);
        block.is_some_and(|(_, last)| address <= *last)
    }
}

impl FromIterator<IpNet> for AllowedIps {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let blocks = IpNet::aggregate(&prefixes.into_iter().collect());
        let mut blocks: Vec<_> =
            blocks.into_iter().map(|prefix| (prefix.network(), prefix.broadcast())).collect();
        blocks.sort_unstable();
        Self { blocks }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_families_have_their_own_addresses() {
        let prefixes = ["10.77.0.0/30", "192.168.7.0/24", "fd77::/64"];
        let allowed: AllowedIps = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        for inside in ["10.77.0.0", "10.77.0.3", "192.168.7.255", "fd77::", "fd77::ffff"] {
            assert!(allowed.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["10.76.255.255", "10.77.0.4", "192.168.8.0", "fd77:0:0:1::", "::", "0.0.0.0"]
        {
            assert!(!allowed.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn no_prefix_contains_nothing_and_the_default_routes_everything() {
        assert!(!AllowedIps::default().contains([0, 0, 0, 0].into()));
        let all: AllowedIps =
            ["0.0.0.0/0", "::/0"].iter().map(|text| text.parse().unwrap()).collect();
        assert!(all.contains([255; 4].into()) && all.contains([255; 16].into()));
    }

    proptest! {
        #[test]
        fn the_set_equals_a_list_of_prefixes(
            prefixes in proptest::collection::vec((any::<u16>(), 16..=32u8), 0..12),
            address: u16,
        ) {
            let net = |bits: u16, len| -> IpNet {
                IpNet::new(IpAddr::from([10, 0, (bits >> 8) as u8, bits as u8]), len).unwrap()
            };
            let list: Vec<IpNet> = prefixes.iter().map(|&(bits, len)| net(bits, len)).collect();
            let address = net(address, 32).addr();
            let expected = list.iter().any(|prefix| prefix.contains(&address));
            prop_assert_eq!(list.into_iter().collect::<AllowedIps>().contains(address), expected);
        }
    }
}
