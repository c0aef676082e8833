//! Ports of Kubernetes' policies.

use tortie_net::{Port, PortRange};

/// The fewest ranges that cover the same ports, in ascending order after the named ports. A single number among names
/// stays where it is.
pub fn simplify_ports(ports: Vec<Port>) -> Vec<Port> {
    let mut ranges: Vec<PortRange> = Vec::new();
    let mut simplified = Vec::new();
    for port in &ports {
        match port {
            Port::Range(range) => ranges.push(*range),
            Port::Named(_) => simplified.push(port.clone()),
        }
    }
    let numbers: u32 = ranges.iter().map(|r| u32::from(r.last) - u32::from(r.first) + 1).sum();
    if ports.len() <= 1 || numbers <= 1 {
        return ports;
    }
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    simplified.extend(merged.into_iter().map(Port::Range));
    simplified
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ports(texts: &[&str]) -> Vec<Port> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn ranges_are_merged() {
        for (given, want) in [
            (&["80"][..], &["80"][..]),
            (&["81", "80", "82", "9090", "foo"], &["foo", "80:82", "9090"]),
            (&["80", "foo"], &["80", "foo"]),
            (&["80:81", "foo"], &["foo", "80:81"]),
            (&["80", "80"], &["80"]),
            (&["1:10", "5:20", "21"], &["1:21"]),
            (&["65535", "0:65534"], &["0:65535"]),
            (&[], &[]),
        ] {
            assert_eq!(simplify_ports(ports(given)), ports(want), "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn the_same_ports_are_covered(ranges in prop::collection::vec((0u16..40, 0u16..5), 0..8), probe in 0u16..50) {
            let given: Vec<Port> = ranges.iter().map(|(first, len)| Port::Range(PortRange { first: *first, last: first + len })).collect();
            let covers = |ports: &[Port]| ports.iter().any(|p| matches!(p, Port::Range(r) if r.contains(probe)));
            let simplified = simplify_ports(given.clone());
            prop_assert_eq!(covers(&given), covers(&simplified));
            prop_assert!(simplified.len() <= given.len());
        }
    }
}
