//! The network of an address: the part that its user cannot choose.

use std::net::IpAddr;

/// The bits of an IPv6 address that identify one customer of a provider.
pub(super) const CUSTOMER_PREFIX: u32 = 56;
/// The bits of a large customer, who has 256 times as many.
pub(super) const SITE_PREFIX: u32 = 48;

/// The first address of an address's network. An IPv4 address is a network of its own.
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
    fn addresses_of_one_customer_are_one_network() {
        let of = |address: &str| network_of(address.parse().unwrap(), CUSTOMER_PREFIX).to_string();
        assert_eq!(of("2001:db8:0:1ff::7"), of("2001:db8:0:100::9"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
