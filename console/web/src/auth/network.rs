//! The part of an address that is not its owner's to choose.

use std::net::IpAddr;

/// Bits of an IPv6 address that name one customer of a provider.
pub(super) const CUSTOMER_PREFIX: u32 = 56;
/// Bits that name a large one, who has 256 times as many.
pub(super) const SITE_PREFIX: u32 = 48;

/// The first address of the network that an address is of. An IPv4 address is one as a whole.
pub(super) fn network_of(address: IpAddr, v6_prefix: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - v6_prefix);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_are_told_as_one() {
        let of = |address: &str| network_of(address.parse().unwrap(), CUSTOMER_PREFIX).to_string();
        assert_eq!(of("2001:db8:0:1ff::7"), of("2001:db8:0:100::9"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
