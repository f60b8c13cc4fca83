//! Addresses that are not places on the public internet (RFC 6890 and the IANA registries behind it).

use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), bits)
}

const fn v6(a: u16, b: u16, c: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits)
}

/// Every block of the IPv4 registry, globally reachable or not: no document of a client lives in any.
const V4: [(Ipv4Net, &str); 18] = [
    (v4(0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 8), "private"),
    (v4(100, 64, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 16), "link-local"),
    (v4(172, 16, 0, 12), "private"),
    (v4(192, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 24), "documentation"),
    (v4(192, 31, 196, 24), "AS112"),
    (v4(192, 52, 193, 24), "AMT"),
    (v4(192, 88, 99, 24), "6to4 relays"),
    (v4(192, 168, 0, 16), "private"),
    (v4(192, 175, 48, 24), "AS112"),
    (v4(198, 18, 0, 15), "benchmarks"),
    (v4(198, 51, 100, 24), "documentation"),
    (v4(203, 0, 113, 24), "documentation"),
    (v4(224, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 4), "reserved or broadcast"),
];

/// The global unicast block: outside of it are loopback, unspecified, link-local, unique-local, multicast, the
/// IPv4-mapped and IPv4-compatible forms, and the NAT64 prefixes (which lead to any IPv4 address).
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Special blocks inside of it.
const V6: [(Ipv6Net, &str); 5] = [
    // Teredo, benchmarks, ORCHID and more.
    (v6(0x2001, 0, 0, 23), "protocol assignments"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x2002, 0, 0, 16), "6to4"),
    (v6(0x2620, 0x4f, 0x8000, 48), "AS112"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
];

/// What an address is, when it is nowhere on the public internet.
pub(super) fn purpose(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => V4
            .iter()
            .find(|(network, _)| network.contains(&address))
            .map(|(_, what)| *what),
        IpAddr::V6(address) if !GLOBAL_V6.contains(&address) => Some("not global unicast"),
        IpAddr::V6(address) => V6
            .iter()
            .find(|(network, _)| network.contains(&address))
            .map(|(_, what)| *what),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attack_s16_special_addresses_are_known() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(purpose(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert_eq!(purpose(text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        /// The standard library's stable predicates are another reading of the same registries.
        #[test]
        fn the_standard_library_agrees(bits: u32, wide: u128) {
            let four = Ipv4Addr::from(bits);
            if four.is_private() || four.is_loopback() || four.is_link_local() || four.is_broadcast()
                || four.is_documentation() || four.is_multicast() || four.is_unspecified()
            {
                prop_assert!(purpose(four.into()).is_some(), "{}", four);
            }
            let six = Ipv6Addr::from(wide);
            if six.is_loopback() || six.is_multicast() || six.is_unique_local() || six.is_unicast_link_local()
                || six.is_unspecified() || six.to_ipv4().is_some()
            {
                prop_assert!(purpose(six.into()).is_some(), "{}", six);
            }
            prop_assert!(purpose(four.to_ipv6_mapped().into()).is_some());
            prop_assert!(purpose(four.to_ipv6_compatible().into()).is_some());
        }
    }
}
