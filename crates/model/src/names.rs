//! Names that are visible in the kernel, built in one place.
//!
//! They are Calico's where an operator may look for them (`cali…` interfaces and chains).

use sha1::{Digest as _, Sha1};

pub mod felix;
pub mod nftables;

/// Longest name of a network interface (IFNAMSIZ less the terminating zero).
pub const MAX_INTERFACE_NAME: usize = 15;

/// Prefix of host side workload interfaces unless configured otherwise.
pub const DEFAULT_INTERFACE_PREFIX: &str = "cali";

/// The host side interface of a workload: prefix + the first 11 hexadecimal digits of SHA-1 of `namespace.pod`.
///
/// Source: `libcalico-go/lib/backend/k8s/conversion`, `VethNameForWorkload`.
pub fn veth(prefix: &str, namespace: &str, pod: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha1::digest(format!("{namespace}.{pod}"));
    let mut name = prefix.to_owned();
    for byte in digest.iter().take(6) {
        let _ = write!(name, "{byte:02x}");
    }
    name.truncate(prefix.len() + 11);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn veth_is_calicos() {
        // sha1("default.nginx") computed with sha1sum.
        assert_eq!(veth("cali", "default", "nginx"), "calic440f455693");
        assert!(veth("cali", "a", "b") != veth("cali", "a", "c"));
    }
}
