//! Networks: what they hold, and what two of them share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the number of bits that all addresses of the network share with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// A network of IPv4; `prefix` is at most 32.
    pub(super) const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    /// A network of IPv6, by the first two and the last of its groups, between which there are zeroes; `prefix` is at most 128.
    pub(super) const fn v6(a: u16, b: u16, h: u16, prefix: u8) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, h)),
            prefix,
        }
    }

    /// Reads `198.51.100.0/24`; also with bits that are no part of the network, see [`Network::canonical`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= bits)?;
        Some(Self { address, prefix })
    }

    /// The same network by its first address.
    #[must_use]
    pub(super) fn canonical(self) -> Self {
        let first = self.bits() & mask(self.prefix);
        let address = match self.address {
            IpAddr::V4(_) => {
                let [a, b, c, d, ..] = first.to_be_bytes();
                Ipv4Addr::new(a, b, c, d).into()
            }
            IpAddr::V6(_) => Ipv6Addr::from(first).into(),
        };
        Self { address, ..self }
    }

    /// The one address that it was written with.
    pub(super) fn alone(self) -> Self {
        let prefix = if self.address.is_ipv4() { 32 } else { 128 };
        Self { prefix, ..self }
    }

    /// Is it every address of its family?
    pub(super) fn is_everything(self) -> bool {
        self.prefix == 0
    }

    /// Is it written as IPv6 and means IPv4? Network plugins differ in what they make of it.
    pub(super) fn is_mapped(self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
    }

    /// Is the address one of this network's?
    pub(super) fn holds(self, address: IpAddr) -> bool {
        let single = Self { address, prefix: 0 }.alone();
        self.prefix <= single.prefix && self.shares_with(single)
    }

    /// Have the two an address in common?
    pub(super) fn shares_with(self, other: Self) -> bool {
        let shared = mask(self.prefix.min(other.prefix));
        self.address.is_ipv4() == other.address.is_ipv4() && (self.bits() ^ other.bits()) & shared == 0
    }

    /// The address, from the highest bit on.
    fn bits(self) -> u128 {
        match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    }
}

/// So many ones, from the highest bit on.
fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in [
            "198.51.100.7/32",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "fd00::/64",
            "::/0",
            "2001:db8::1/128",
        ] {
            let read = network(text);
            assert_eq!((read.to_string().as_str(), read.canonical()), (text, read));
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "010.0.0.0/8",
            "fd00::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "x/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_address_names_a_network() {
        for (text, first, alone) in [
            ("198.51.100.7/24", "198.51.100.0/24", "198.51.100.7/32"),
            ("10.255.0.1/9", "10.128.0.0/9", "10.255.0.1/32"),
            ("1.2.3.4/0", "0.0.0.0/0", "1.2.3.4/32"),
            ("FD00:0::a1/120", "fd00::/120", "fd00::a1/128"),
            ("2001:db8:ffff::/33", "2001:db8:8000::/33", "2001:db8:ffff::/128"),
        ] {
            let read = network(text);
            assert_eq!(
                (read.canonical().to_string(), read.alone().to_string()),
                (first.to_owned(), alone.to_owned())
            );
        }
    }

    #[test]
    fn networks_share_what_one_of_them_holds() {
        for (one, other, shared) in [
            ("10.0.0.0/8", "10.1.2.0/24", true),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("0.0.0.0/0", "203.0.113.9/32", true),
            ("198.51.100.6/31", "198.51.100.7/32", true),
            ("198.51.100.6/32", "198.51.100.7/32", false),
            ("fd00::/8", "fd12::/16", true),
            ("fd00::/8", "fe80::/10", false),
            // The same bits in another family are other addresses.
            ("::/0", "10.0.0.0/8", false),
        ] {
            assert_eq!(network(one).shares_with(network(other)), shared, "{one} {other}");
            assert_eq!(network(other).shares_with(network(one)), shared, "{other} {one}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let holds = |text: &str, address: &str| network(text).holds(address.parse().unwrap());
        assert!(holds("10.96.0.0/16", "10.96.0.1") && !holds("10.96.0.0/16", "10.97.0.1"));
        assert!(holds("198.51.100.7/32", "198.51.100.7") && !holds("198.51.100.7/32", "198.51.100.6"));
        assert!(holds("fd00::/64", "fd00::a") && !holds("fd00::/64", "10.0.0.1"));
        assert!(network("::ffff:10.0.0.0/104").is_mapped() && !network("fd00::/8").is_mapped());
        assert!(network("::/0").is_everything() && !network("::/1").is_everything());
    }
}
