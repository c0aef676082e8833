//! Labels of block affinities in Kubernetes, by which they are listed.

use crate::value::StringMap;
use sha3::{Digest, Sha3_256};
use tortie_net::Family;

/// Label with the hash of the owner's name.
pub const LABEL_HOSTNAME_HASH: &str = "projectcalico.org/hostname-hash";
/// Label with `host` or `virtual`.
pub const LABEL_AFFINITY_TYPE: &str = "projectcalico.org/affinity-type";
/// Label with `4` or `6`.
pub const LABEL_IP_VERSION: &str = "projectcalico.org/ip-version";

/// A name as the value of a label, which may be shorter than names: SHA3-256 in base 32.
pub fn hostname_hash(host: &str) -> String {
    data_encoding::BASE32_NOPAD.encode(&Sha3_256::digest(host))
}

/// The labels that block affinities with these properties have.
pub fn affinity_labels(host: Option<&str>, affinity_type: Option<&str>, family: Option<Family>) -> StringMap {
    let labels = [
        (LABEL_HOSTNAME_HASH, host.map(hostname_hash)),
        (LABEL_AFFINITY_TYPE, affinity_type.map(str::to_owned)),
        (LABEL_IP_VERSION, family.map(|f| f.version().to_string())),
    ];
    labels.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_every_name() {
        // printf %s node-1 | openssl dgst -sha3-256 -binary | base32
        assert_eq!(hostname_hash("node-1"), "A3XPYDATRKB7Q4SM2O5FN4RXIHBFIL2PITFX26BAIP5XAB2X74CA");
        assert_eq!(hostname_hash(&"long.".repeat(50)).len(), 52);
        assert!(affinity_labels(None, None, None).is_empty());
        let labels = affinity_labels(Some("node-1"), Some("host"), Some(Family::V6));
        assert_eq!(labels.get(LABEL_IP_VERSION).map(String::as_str), Some("6"));
        assert_eq!(labels.len(), 3);
    }
}
