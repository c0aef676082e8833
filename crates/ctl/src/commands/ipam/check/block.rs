//! What is in a block, in words, and whether its parts agree with each other. Blocks that do not are told of, so
//! nothing here may take for granted that they do.

use std::collections::BTreeSet;
use std::time::SystemTime;
use tortie_blocks::{Timestamp, size_of};
use tortie_model::value::{AllocationAttribute, AllocationBlock, StringMap};

/// Attributes of an allocation, as one line.
pub(super) fn attributes(attribute: Option<&AllocationAttribute>) -> String {
    let Some(attribute) = attribute else { return "<missing>".to_owned() };
    let handle = attribute.handle_id.as_deref().unwrap_or("<none>");
    let mut told = format!("Main:{handle} Extra:{}", pairs(&attribute.active_owner_attrs));
    if !attribute.alternate_owner_attrs.is_empty() {
        told.push_str(&format!(" Alternate:{}", pairs(&attribute.alternate_owner_attrs)));
    }
    told
}

fn pairs(map: &StringMap) -> String {
    let mut pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    pairs.join(",")
}

/// The first thing that is wrong with a block.
pub(super) fn judge(block: &AllocationBlock) -> Result<(), String> {
    let size = usize::try_from(size_of(block.cidr)).unwrap_or(usize::MAX);
    if block.allocations.len() != size {
        let found = block.allocations.len();
        return Err(format!("expected {size} entries in the Allocations array, but it has {found}"));
    }
    let (mut seen, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (ordinal, index) in block.allocations.iter().enumerate() {
        let Some(index) = *index else { continue };
        if index >= block.attributes.len() {
            return Err(format!("allocation {ordinal} indexes a nonexistent attribute {index}"));
        }
        seen.insert(index);
        taken.insert(ordinal);
    }
    let now = Timestamp::from(SystemTime::now());
    for (index, attribute) in block.attributes.iter().enumerate() {
        if !seen.contains(&index) {
            return Err(format!("attribute index {index} exists but is not indexed by an allocation"));
        }
        let released = attribute.released_at.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        if released.is_some_and(|time| time > now) {
            return Err(format!(
                "attribute index {index} has releasedAt in the future, suggesting clock skew"
            ));
        }
    }
    let mut free = BTreeSet::new();
    for ordinal in &block.unallocated {
        if *ordinal >= size {
            return Err(format!(
                "ordinal {ordinal} appears in the Unallocated array but is out of the block"
            ));
        }
        if !free.insert(*ordinal) {
            return Err(format!("ordinal {ordinal} appears more than once in Unallocated array"));
        }
        if taken.contains(ordinal) {
            return Err(format!("ordinal {ordinal} is allocated but appears in Unallocated"));
        }
    }
    let (free, taken) = (free.len(), taken.len());
    if free + taken != size {
        return Err(format!(
            "expected {size} addresses in this block, but Unallocated ({free}) + Allocated ({taken}) = {}",
            free + taken
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_mistake_has_its_words() {
        let a = || json!({"handle_id": "h"});
        for (allocations, unallocated, attributes, expected) in [
            (json!([0, null]), json!([1]), json!([a()]), ""),
            (json!([0]), json!([1]), json!([a()]), "expected 2 entries"),
            (json!([1, null]), json!([1]), json!([a()]), "indexes a nonexistent attribute 1"),
            (json!([0, null]), json!([1]), json!([a(), a()]), "attribute index 1 exists but"),
            (
                json!([0, null]),
                json!([1]),
                json!([{"handle_id": "h", "releasedAt": "2999-01-01T00:00:00Z"}]),
                "clock skew",
            ),
            (json!([0, null]), json!([2]), json!([a()]), "out of the block"),
            (json!([0, null]), json!([1, 1]), json!([a()]), "more than once"),
            (json!([0, null]), json!([0]), json!([a()]), "is allocated but appears"),
            (json!([0, null]), json!([]), json!([a()]), "Unallocated (0) + Allocated (1) = 1"),
        ] {
            for cidr in ["10.0.0.0/31", "fd00::/127"] {
                let block = serde_json::from_value(json!({
                    "cidr": cidr, "affinity": null, "allocations": allocations, "unallocated": unallocated,
                    "attributes": attributes,
                }))
                .unwrap();
                match judge(&block) {
                    Ok(()) => assert_eq!(expected, ""),
                    Err(told) => assert!(!expected.is_empty() && told.contains(expected), "{told}"),
                }
            }
        }
    }

    #[test]
    fn attributes_are_one_line() {
        let attribute: AllocationAttribute = serde_json::from_value(
            json!({"handle_id": "h", "secondary": {"pod": "a", "node": "n"}, "alternateOwnerAttrs": {"pod": "b"}}),
        )
        .unwrap();
        assert_eq!(attributes(Some(&attribute)), "Main:h Extra:node=n,pod=a Alternate:pod=b");
        assert_eq!(attributes(Some(&AllocationAttribute::default())), "Main:<none> Extra:");
        assert_eq!(attributes(None), "<missing>");
    }
}
