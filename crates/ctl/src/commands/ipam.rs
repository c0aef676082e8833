//! ipam show, release, configure: how full pools and blocks are, what an address is used for, and settings.

mod borrowed;
pub(crate) mod check;
pub(crate) mod reports;
pub(crate) mod split;

use super::{Common, Failure, Outcome, Surroundings};
use crate::client::Client;
use std::net::IpAddr;
use tortie_api::v3;
use tortie_blocks::{Block, BlockUsage, Pool, PoolUsage, Reservations};
use tortie_net::{Cidr, Family};

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) ip: Option<String>,
    pub(crate) blocks: bool,
    pub(crate) borrowed: bool,
    pub(crate) configuration: bool,
}

/// Runs the command.
pub(crate) async fn show(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    if let Some(ip) = options.ip.as_deref().filter(|ip| !ip.is_empty()) {
        let Ok(ip) = ip.parse() else {
            return Err(Failure::OnStdout(format!("invalid IP address specified: {ip}")));
        };
        return address(&client, ip, world).await;
    }
    if options.borrowed && !options.blocks {
        return borrowed::show(&client, world).await;
    }
    if options.configuration && !options.blocks {
        return configuration(&client, world).await;
    }
    let blocks = read_blocks(&client).await?;
    let reserved = reservations(&client).await?;
    let (mut rows, mut pools) = (Vec::new(), Vec::new());
    for pool in items(&client, "IPPool").await? {
        let pool = Pool::from_v3(&pool)?;
        let usage = PoolUsage::of(&pool, &blocks, &reserved);
        rows.push(row(
            "IP Pool",
            usage.cidr,
            [usage.capacity, usage.in_use, usage.reserved, usage.available],
        ));
        for block in usage.blocks.iter().filter(|_| options.blocks) {
            let counts = [block.capacity, block.in_use, block.reserved, block.available];
            rows.push(row("Block", block.cidr, counts));
        }
        pools.push(usage.cidr);
    }
    // Blocks whose pool is gone come last.
    let orphans = blocks.iter().filter(|block| !pools.iter().any(|pool| pool.covers(block.cidr())));
    for block in orphans.filter(|_| options.blocks) {
        let usage = BlockUsage::of(block, &reserved);
        rows.push(row("Block", usage.cidr, [usage.capacity, usage.in_use, usage.reserved, usage.available]));
    }
    let header = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"];
    world.out.write_all(boxed(&header, 2, &rows).as_bytes())?;
    Ok(())
}

fn row(grouping: &str, cidr: Cidr, counts: [u128; 4]) -> Vec<String> {
    let [total, used, reserved, free] = counts.map(|n| n as f64);
    let share = |n: f64| format!("{} ({:.0}%)", five_digits(n), 100.0 * n / total);
    vec![grouping.to_owned(), cidr.to_string(), five_digits(total), share(used), share(reserved), share(free)]
}

/// A number with five significant digits, as Go's `%.5g`.
fn five_digits(number: f64) -> String {
    if number < 1e5 {
        return number.to_string();
    }
    let text = format!("{number:.4e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    format!("{mantissa}e+{exponent:0>2}")
}

async fn items(client: &Client, kind: &str) -> Outcome<Vec<serde_json::Value>> {
    let kind = v3::by_kind(kind).expect("a kind of the table");
    Ok(client.list(kind, None).await?.items)
}

async fn reservations(client: &Client) -> Outcome<Reservations> {
    let reserved = items(client, "IPReservation").await?;
    let cidrs = reserved.iter().filter_map(|r| r["spec"]["reservedCIDRs"].as_array()).flatten();
    Ok(cidrs.filter_map(|c| c.as_str()?.parse().ok()).collect())
}

async fn read_blocks(client: &Client) -> Outcome<Vec<Block>> {
    let mut blocks = Vec::new();
    for family in [Family::V4, Family::V6] {
        let prefix = tortie_model::key::blocks_prefix(family);
        for entry in client.store().list(&prefix).await?.entries {
            // What cannot be read is not counted, as no node can use it.
            if let Ok(data) = serde_json::from_slice(&entry.value)
                && let Ok(block) = Block::from_stored(data)
            {
                blocks.push(block);
            }
        }
    }
    Ok(blocks)
}

async fn address(client: &Client, ip: IpAddr, world: &mut Surroundings<'_>) -> Outcome {
    let blocks = read_blocks(client).await?;
    let allocation = blocks.iter().find_map(|block| block.allocation(ip).map(|_| block));
    let Some(block) = allocation else {
        writeln!(world.out, "{ip} is not assigned")?;
        return Ok(());
    };
    let stored = block.as_stored();
    let attribute = ordinal(block.cidr(), ip)
        .and_then(|ordinal| *stored.allocations.get(ordinal)?)
        .and_then(|index| stored.attributes.get(index));
    writeln!(world.out, "IP {ip} is in use")?;
    let handle = attribute.and_then(|a| a.handle_id.as_deref()).unwrap_or("<none>");
    writeln!(world.out, "Handle ID: {handle}")?;
    let none = Default::default();
    let active = attribute.map_or(&none, |a| &a.active_owner_attrs);
    let alternate = attribute.map_or(&none, |a| &a.alternate_owner_attrs);
    if active.is_empty() {
        writeln!(world.out, "No Active Owner attributes defined")?;
    }
    for (title, attributes) in [("Active", active), ("Alternate", alternate)] {
        if !attributes.is_empty() {
            writeln!(world.out, "{title} Owner Attributes:")?;
        }
        for (key, value) in attributes {
            writeln!(world.out, "  {key}: {value}")?;
        }
    }
    Ok(())
}

/// Place of an address in a block.
fn ordinal(block: Cidr, ip: IpAddr) -> Option<usize> {
    match (block.addr(), ip) {
        (IpAddr::V4(first), IpAddr::V4(ip)) => usize::try_from(u32::from(ip).checked_sub(first.into())?).ok(),
        (IpAddr::V6(first), IpAddr::V6(ip)) => {
            usize::try_from(u128::from(ip).checked_sub(first.into())?).ok()
        }
        _ => None,
    }
}

async fn configuration(client: &Client, world: &mut Surroundings<'_>) -> Outcome {
    let config = client.ipam_configuration().await?;
    let persistence = config.kubevirt_vm_address_persistence.clone().unwrap_or_else(|| "Enabled".to_owned());
    let rows = [
        ("StrictAffinity", config.strict_affinity.to_string()),
        ("AutoAllocateBlocks", config.auto_allocate_blocks.to_string()),
        ("MaxBlocksPerHost", config.max_blocks_per_host.to_string()),
        ("KubeVirtVMAddressPersistence", persistence),
        ("IPCooldownSeconds", config.ip_cooldown_seconds.to_string()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    world.out.write_all(boxed(&["PROPERTY", "VALUE"], 2, &rows).as_bytes())?;
    Ok(())
}

/// Releases one address, whoever has it.
pub(crate) async fn release(ip: Option<&str>, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let Some(ip) = ip.filter(|ip| !ip.is_empty()) else {
        return Err(Failure::new("an address must be given: ipam release --ip ADDRESS"));
    };
    let client = common.client(world).await?;
    let Ok(address) = ip.parse() else {
        return Err(Failure::OnStdout(format!("invalid IP address specified: {ip}")));
    };
    if !client.release_address(address).await? {
        return Err(Failure::new(format!("IP address {address} is not assigned")));
    }
    writeln!(world.out, "Successfully released IP address {address}")?;
    Ok(())
}

/// New settings; what is not given stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) strict_affinity: Option<String>,
    pub(crate) max_blocks_per_host: Option<String>,
    pub(crate) kubevirt_ip_persistence: Option<String>,
    pub(crate) ip_cooldown_seconds: Option<u32>,
}

/// Changes settings of the address management.
pub(crate) async fn configure(given: &Settings, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    let mut config = client.ipam_configuration().await?;
    let mut told = Vec::new();
    if let Some(text) = &given.strict_affinity {
        config.strict_affinity = crate::calicoctl::truth(text)
            .ok_or_else(|| Failure::new("invalid value. Use true or false to set strictaffinity"))?;
        told.push(format!("StrictAffinity to: {}", config.strict_affinity));
    }
    if let Some(text) = &given.max_blocks_per_host {
        config.max_blocks_per_host = text.parse().map_err(|_| {
            Failure::new(format!("invalid value {text} for --max-blocks-per-host. Use a number"))
        })?;
        told.push(format!("MaxBlocksPerHost to: {text}"));
    }
    if let Some(text) = &given.kubevirt_ip_persistence {
        if !["Enabled", "Disabled"].contains(&text.as_str()) {
            let problem = "invalid value for --kubevirt-ip-persistence. Use Enabled or Disabled";
            return Err(Failure::new(problem));
        }
        config.kubevirt_vm_address_persistence = Some(text.clone());
        told.push(format!("KubeVirtVMAddressPersistence to: {text}"));
    }
    if let Some(seconds) = given.ip_cooldown_seconds {
        config.ip_cooldown_seconds = seconds;
        told.push(format!("IPCooldownSeconds to: {seconds}"));
    }
    if told.is_empty() {
        return Err(Failure::new("at least one configuration option must be specified"));
    }
    if !config.strict_affinity && !config.auto_allocate_blocks {
        return Err(Failure::new("StrictAffinity and AutoAllocateBlocks cannot both be disabled"));
    }
    if config.max_blocks_per_host > 0 && !config.strict_affinity {
        return Err(Failure::new("MaxBlocksPerHost requires StrictAffinity to be enabled"));
    }
    // The default is written down, as Calico's client does.
    config.kubevirt_vm_address_persistence.get_or_insert_with(|| "Enabled".to_owned());
    client.set_ipam_configuration(&config).await?;
    for line in told {
        writeln!(world.out, "Successfully set {line}")?;
    }
    Ok(())
}

/// A table in a box; columns from `right` on are aligned to the right.
pub(crate) fn boxed(header: &[&str], right: usize, rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|i| {
            let cells = rows.iter().filter_map(|row| row.get(i)).map(String::len);
            cells.chain(header.get(i).map(|h| h.len())).max().unwrap_or(0)
        })
        .collect();
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let rule = format!("+{}+\n", dashes.join("+"));
    // Headings stand on the left, whatever is below them.
    let line = |cells: &[String], right: usize| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
            if i < right { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") }
        });
        cells.collect::<String>() + "|\n"
    };
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    let body: String = rows.iter().map(|row| line(row, right)).collect();
    debug_assert!(rows.iter().all(|row| row.len() == widths.len()));
    format!("{rule}{}{rule}{body}{rule}", line(&header, usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_five_digits() {
        assert_eq!(five_digits(256.0), "256");
        assert_eq!(five_digits(65536.0), "65536");
        assert_eq!(five_digits(16_777_216.0), "1.6777e+07");
        assert_eq!(five_digits(2f64.powi(64)), "1.8447e+19");
    }
}
