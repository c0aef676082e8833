//! Names of objects in Kubernetes, as Calico makes them of keys.

use sha2::{Digest as _, Sha256};
use tortie_net::Cidr;

/// Longest name of an object.
const LONGEST: usize = 253;
/// Hexadecimal digits that make a shortened name unique.
const HASH: usize = 11;

/// `10.0.0.64/26` is `10-0-0-64-26`.
pub(crate) fn block(cidr: Cidr) -> String {
    cidr.to_string().replace(['.', ':', '/'], "-")
}

/// The owner with the block; the owner is cut and a hash appended where that is too long.
pub(crate) fn affinity(host: &str, cidr: Cidr) -> String {
    let block = block(cidr);
    let name = format!("{host}-{block}");
    if name.len() < LONGEST {
        return name;
    }
    let mut hash = String::new();
    for byte in Sha256::digest(format!("{host}+{block}")) {
        hash.push_str(&format!("{byte:02x}"));
    }
    let kept = (LONGEST - 1).saturating_sub(block.len() + HASH + 2);
    let host: String = host.bytes().take(kept).map(char::from).collect();
    format!("{host}-{block}-{}", hash.get(..HASH).unwrap_or_default())
}

/// Names have no capital letters; the object itself has the handle as it is.
pub(crate) fn handle(id: &str) -> String {
    id.to_lowercase()
}

/// True if it can stand in the path of a request as it is. The server judges the rest.
pub(crate) fn is_name(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(known) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_calicos() {
        let v4: Cidr = "10.0.0.64/26".parse().unwrap();
        let v6: Cidr = "fd80:24e2:f998:72d6::/122".parse().unwrap();
        assert_eq!(block(v4), "10-0-0-64-26");
        assert_eq!(block(v6), "fd80-24e2-f998-72d6---122");
        assert_eq!(affinity("node.example", v4), "node.example-10-0-0-64-26");
        assert_eq!(handle("k8s-pod-network.AbC"), "k8s-pod-network.abc");
        // 240 letters, a hyphen and 12 of the block are just too long.
        let host = "h".repeat(240);
        let long = affinity(&host, v4);
        // printf %s "$(printf 'h%.0s' $(seq 240))+10-0-0-64-26" | sha256sum
        assert_eq!(long, format!("{}-10-0-0-64-26-{}", "h".repeat(227), "d65274c1be9"));
        assert_eq!(long.len(), 252);
        assert_eq!(affinity(&host[..239], v4).len(), 252);
    }

    #[test]
    fn only_plain_names_stand_in_paths() {
        for good in ["a", "default.allow-dns", "1.2", "A_b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a%2f", "ключ", &"x".repeat(254)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
