//! ipam split: a pool into smaller ones of equal size.

use crate::client::{self, ClientError};
use crate::commands::{Common, Failure, Outcome, Surroundings};
use serde_json::{Value, json};
use std::time::SystemTime;
use tortie_api::v3;
use tortie_blocks::{Timestamp, nth_address, size_of};
use tortie_net::Cidr;
use tortie_store::{Op, Precondition};

/// Writes of one commit: etcd takes 128.
const CHUNK: usize = 100;
/// More parts than that are a mistake.
const MAX_PARTS: u32 = 65536;

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) number: String,
    pub(crate) cidr: Option<String>,
    pub(crate) name: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let number = options.number.as_str();
    let Ok(parts) = number.parse() else {
        return Err(Failure::new(format!(
            "error reading number to split IP pools into. {number} is not a valid number"
        )));
    };
    let (name, cidr) = (options.name.as_deref().unwrap_or(""), options.cidr.as_deref().unwrap_or(""));
    if name.is_empty() && cidr.is_empty() {
        return Err(Failure::new(
            "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split",
        ));
    }
    let client = common.client(world).await?;
    let information = client.cluster_information().await?.unwrap_or_default();
    if information["spec"]["datastoreReady"] != json!(false) {
        return Err(Failure::new(
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools",
        ));
    }
    let kind = v3::by_kind("IPPool").ok_or_else(|| Failure::new("there are no IP pools here"))?;
    let old = if name.is_empty() {
        let pools = client.list(kind, None).await?.items;
        pools.into_iter().find(|pool| client::text(pool, "/spec/cidr") == cidr)
    } else {
        match client.get(kind, "", name).await {
            Err(ClientError::NotFound(_)) => None,
            found => Some(found?),
        }
    };
    let Some(old) = old else {
        let what =
            if name.is_empty() { format!("covering the CIDR {cidr}") } else { format!("with name {name}") };
        return Err(Failure::new(format!("unable to find IP pool {what}")));
    };
    let old_name = client::text(&old, "/metadata/name").to_owned();
    let block = old["spec"]["blockSize"].as_u64().and_then(|n| u8::try_from(n).ok());
    let cidrs = pieces(client::text(&old, "/spec/cidr"), parts, block)?;
    let (mut ops, mut told) = (Vec::new(), String::new());
    for (i, cidr) in cidrs.iter().enumerate() {
        let short: String = old_name.chars().take(245 - i.to_string().len()).collect();
        let (name, value) = piece(&old, &format!("split-{short}-{i}"), *cidr)?;
        told.push_str(&format!("Created {name} with CIDR {cidr}.\n"));
        ops.push(Op::Put {
            key: kind.path("", &name),
            value: value.into(),
            when: Precondition::Absent,
            ttl: None,
        });
    }
    let when = client::text(&old, "/metadata/resourceVersion")
        .parse()
        .map_or(Precondition::Any, Precondition::Revision);
    ops.push(Op::Delete { key: kind.path("", &old_name), when });
    // The old pool goes last: should this be cut short, it still holds its addresses.
    for chunk in ops.chunks(CHUNK) {
        client.store().commit(chunk.to_vec()).await?;
    }
    writeln!(world.out, "IP Pool {old_name} was successfully split into {parts} smaller pools.")?;
    world.out.write_all(told.as_bytes())?;
    writeln!(world.out, "Please refer to the documentation for final steps.")?;
    Ok(())
}

/// The name of a new pool, and its JSON.
fn piece(old: &Value, name: &str, cidr: Cidr) -> Outcome<(String, Vec<u8>)> {
    let mut pool = old.clone();
    let metadata = client::metadata_mut(&mut pool);
    metadata.retain(|key, _| ["labels", "annotations"].contains(&key.as_str()));
    metadata.insert("name".to_owned(), name.into());
    let uid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    metadata.insert("uid".to_owned(), uid.trim().into());
    metadata.insert("creationTimestamp".to_owned(), Timestamp::from(SystemTime::now()).to_string().into());
    let spec = client::part_mut(&mut pool, "spec");
    spec.insert("cidr".to_owned(), cidr.to_string().into());
    spec.shift_remove("disabled");
    let pool = crate::resources::canonical(pool)?;
    Ok((name.to_owned(), pool.to_string().into_bytes()))
}

/// Cuts a prefix into a power of two of smaller ones, none smaller than a block.
fn pieces(cidr: &str, parts: u32, block: Option<u8>) -> Outcome<Vec<Cidr>> {
    if parts < 2 || !parts.is_power_of_two() || parts > MAX_PARTS {
        return Err(Failure::new(format!(
            "error splitting the CIDR {cidr} into {parts} CIDRs: number to split CIDR into is not a valid power of 2: {parts}"
        )));
    }
    let too_small = || {
        Failure::new(format!(
            "error splitting the CIDR {cidr} into {parts} CIDRs: the CIDR {cidr} is not large enough to be split into {parts} parts"
        ))
    };
    let whole: Cidr = cidr.parse()?;
    let length = whole.len().saturating_add(u8::try_from(parts.trailing_zeros()).unwrap_or(u8::MAX));
    let longest = block.filter(|len| *len > 0).unwrap_or(if whole.addr().is_ipv4() { 32 } else { 128 });
    if length > longest {
        return Err(too_small());
    }
    let size = size_of(whole) / u128::from(parts);
    (0..u128::from(parts))
        .map(|i| {
            let first = nth_address(whole, i * size).ok_or_else(too_small)?;
            Cidr::new(first, length).ok_or_else(too_small)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(cidr: &str, parts: u32, block: Option<u8>) -> Option<Vec<String>> {
        pieces(cidr, parts, block).ok().map(|cidrs| cidrs.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn pools_of_both_families_are_cut() {
        assert_eq!(
            cut("10.0.0.0/16", 4, None).unwrap(),
            ["10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18", "10.0.192.0/18"]
        );
        assert_eq!(cut("fd00::/64", 2, None).unwrap(), ["fd00::/65", "fd00::8000:0:0:0/65"]);
    }

    #[test]
    fn other_numbers_and_small_pools_are_refused() {
        for (parts, block) in [(0, None), (1, None), (3, None), (256, None), (4, Some(26))] {
            assert_eq!(cut("10.0.0.0/25", parts, block), None, "{parts}");
        }
    }
}
