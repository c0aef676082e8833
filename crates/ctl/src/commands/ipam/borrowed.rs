//! ipam show --show-borrowed: addresses that a node took out of a block of another one, or of nobody.

use super::{boxed, read_blocks};
use crate::client::Client;
use crate::commands::{Outcome, Surroundings};
use tortie_blocks::{Allocation, Block};

const HEADER: [&str; 6] = ["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"];

/// Lists them.
pub(super) async fn show(client: &Client, world: &mut Surroundings<'_>) -> Outcome {
    let (mut rows, mut unknown) = (Vec::new(), 0);
    for block in read_blocks(client).await? {
        let owner = block.owner().map(|owner| owner.name().to_owned()).unwrap_or_default();
        for allocation in block.allocations() {
            match allocation.attr("node") {
                None => unknown += 1,
                Some(node) if node == owner => {}
                Some(node) => rows.push(row(&block, &owner, node, &allocation)),
            }
        }
    }
    world.out.write_all(boxed(&HEADER, HEADER.len(), &rows).as_bytes())?;
    if unknown > 0 {
        writeln!(
            world.out,
            "\nNote: found {unknown} IP allocations without an explicit node association. Unable to determine if they are borrowed."
        )?;
    }
    Ok(())
}

fn row(block: &Block, owner: &str, node: &str, allocation: &Allocation<'_>) -> Vec<String> {
    let namespace = allocation.attr("namespace").unwrap_or("");
    let of = |what: &str, name: &str| (what.to_owned(), format!("{namespace}/{name}"));
    let (purpose, holder) = match (allocation.attr("vmi-name"), allocation.attr("pod")) {
        (Some(machine), _) => of("vmi", machine),
        (None, Some(pod)) => of("pod", pod),
        (None, None) => (allocation.attr("type").unwrap_or("").to_owned(), String::new()),
    };
    vec![
        allocation.addr.to_string(),
        node.to_owned(),
        block.cidr().to_string(),
        owner.to_owned(),
        purpose,
        holder,
    ]
}
