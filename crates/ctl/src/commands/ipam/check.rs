//! ipam check: compares what address management holds with what nodes, workloads and services use.

mod block;
mod owners;
mod report;

pub(crate) use report::{Allocation, Leak, Report};

use super::items;
use crate::client::{self, Client, ClientError};
use crate::commands::{CALICO_VERSION, Common, Failure, Outcome, Surroundings};
use owners::Owners;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tortie_blocks::nth_address;
use tortie_model::value::AllocationBlock;
use tortie_model::{Key, Value as ModelValue};
use tortie_net::{Cidr, Family};

/// Where all handles are.
const HANDLES: &str = "/calico/ipam/v2/handle/";
/// Handle of addresses that Windows nodes keep for themselves.
const WINDOWS_RESERVED: &str = "windows-reserved-ipam-handle";
/// Nodes that are listed as those with the most addresses.
const TOP_NODES: usize = 20;

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) all: bool,
    pub(crate) problems: bool,
    pub(crate) report: Option<String>,
    pub(crate) kubeconfig: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Check {
    /// Print every address.
    all: bool,
    /// Print those that are wrong.
    verbose: bool,
    report: Report,
    blocks: Vec<AllocationBlock>,
    /// Attributes of each allocation, in the order of the report's.
    attributes: BTreeMap<String, Vec<String>>,
    owners: Owners,
    /// As blocks name them.
    used_handles: BTreeSet<String>,
    by_node: BTreeMap<String, usize>,
    pools: Vec<Cidr>,
    problems: usize,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    let services = owners::services(&client, options.kubeconfig.as_deref(), world).await?;
    writeln!(world.out, "Checking IPAM for inconsistencies...\n")?;
    let information = client.cluster_information().await?.unwrap_or_default();
    let mut check = Check { all: options.all, verbose: options.all || options.problems, ..Check::default() };
    check.report.describe(&information);
    CALICO_VERSION.clone_into(&mut check.report.version);
    check.load_blocks(&client, world).await?;
    check.load_pools(&client, world).await?;
    check.load_owners(&client, services, world).await?;
    check.busiest(world)?;
    check.leaked(world)?;
    check.unallocated(world)?;
    check.handles(&client, world).await?;
    check.invalid_blocks(world)?;
    writeln!(world.out, "Check complete; found {} problems.", check.problems)?;
    if let Some(file) = options.report.as_deref().filter(|file| !file.is_empty()) {
        let text = serde_json::to_vec_pretty(&check.report)?;
        std::fs::write(file, text).map_err(|e| Failure::new(format!("write the report to {file}: {e}")))?;
    }
    Ok(())
}

impl Check {
    async fn load_blocks(&mut self, client: &Client, world: &mut Surroundings<'_>) -> Outcome {
        writeln!(world.out, "Loading all IPAM blocks...")?;
        for family in [Family::V4, Family::V6] {
            for entry in client.store().list(&tortie_model::key::blocks_prefix(family)).await?.entries {
                let Some(key) = Key::from_path(&entry.key) else { continue };
                match ModelValue::parse(&key, &entry.value) {
                    Ok(ModelValue::Block(block)) => self.blocks.push(block.as_ref().clone()),
                    Ok(_) => {}
                    Err(error) => {
                        writeln!(
                            world.out,
                            "  {} cannot be read: {}",
                            entry.key,
                            tortie_causes::chain(&error)
                        )?;
                        self.problems += 1;
                    }
                }
            }
        }
        writeln!(world.out, "Found {} IPAM blocks.", self.blocks.len())?;
        let mut count = 0;
        for block in std::mem::take(&mut self.blocks) {
            let affinity = block.affinity.as_deref().unwrap_or("<none>");
            writeln!(world.out, " IPAM block {} affinity={affinity}:", block.cidr)?;
            for (ordinal, index) in block.allocations.iter().enumerate() {
                let Some(index) = index else { continue };
                count += 1;
                self.record(&block, ordinal, *index, world)?;
            }
            self.blocks.push(block);
        }
        writeln!(world.out, "IPAM blocks record {count} allocations.\n")?;
        Ok(())
    }

    fn record(
        &mut self,
        block: &AllocationBlock,
        ordinal: usize,
        index: usize,
        world: &mut Surroundings<'_>,
    ) -> Outcome {
        let Some(ip) = nth_address(block.cidr, ordinal as u128) else { return Ok(()) };
        let owner = block.affinity.as_deref().and_then(|owner| owner.strip_prefix("host:")).unwrap_or("");
        let sequence = block.sequence_number_for_allocation.get(&ordinal.to_string()).copied().unwrap_or(0);
        let mut allocation = Allocation {
            ip: ip.to_string(),
            sequence_number: Some(sequence),
            node: owner.to_owned(),
            ..Allocation::default()
        };
        let attribute = block.attributes.get(index);
        if let Some(attribute) = attribute {
            let attr = |name: &str| attribute.active_owner_attrs.get(name).cloned().unwrap_or_default();
            match attribute.handle_id.as_deref() {
                Some(WINDOWS_RESERVED) => self.owners.add(ip, "Reserved for Windows", self.all, world)?,
                Some(handle) => {
                    self.used_handles.insert(handle.to_owned());
                    handle.clone_into(&mut allocation.handle);
                }
                None => {}
            }
            allocation.cooling_down = attribute.released_at.is_some();
            if !attr("node").is_empty() {
                allocation.node = attr("node");
            }
            allocation.pod = attr("pod");
            allocation.namespace = attr("namespace");
            allocation.purpose = attr("type");
            allocation.creation_timestamp = attr("timestamp");
        }
        allocation.borrowed = allocation.node != owner;
        *self.by_node.entry(allocation.node.clone()).or_default() += 1;
        let told = block::attributes(attribute);
        if self.all {
            writeln!(world.out, "  {ip} allocated; attrs {told}")?;
        }
        self.attributes.entry(allocation.ip.clone()).or_default().push(told);
        self.report.allocations.entry(allocation.ip.clone()).or_default().push(allocation);
        Ok(())
    }

    async fn load_pools(&mut self, client: &Client, world: &mut Surroundings<'_>) -> Outcome {
        writeln!(world.out, "Loading all IPAM pools...")?;
        for pool in items(client, "IPPool").await? {
            if pool["spec"]["disabled"] == serde_json::json!(true) {
                continue;
            }
            let cidr = client::text(&pool, "/spec/cidr");
            writeln!(world.out, "  {cidr}")?;
            let cidr = cidr.parse().map_err(|e| {
                Failure::new(format!("failed to parse IP pool CIDR: {cidr}: {}", tortie_causes::chain(&e)))
            })?;
            self.pools.push(cidr);
        }
        writeln!(world.out, "Found {} active IP pools.\n", self.pools.len())?;
        Ok(())
    }

    async fn load_owners(
        &mut self,
        client: &Client,
        services: Vec<serde_json::Value>,
        world: &mut Surroundings<'_>,
    ) -> Outcome {
        writeln!(world.out, "Loading all nodes.")?;
        let nodes = self.owners.nodes(client, self.all, world).await?;
        writeln!(world.out, "Found {nodes} node tunnel IPs.\n")?;
        writeln!(world.out, "Loading all service load balancer IPs.")?;
        let settings = tortie_api::v3::by_kind("KubeControllersConfiguration").expect("a kind of the table");
        let settings = match client.get(settings, "", "default").await {
            Err(ClientError::NotFound(_)) => serde_json::Value::Null,
            found => found?,
        };
        match settings.pointer("/spec/controllers/loadBalancer") {
            Some(balancer) => {
                let found = self.owners.balancers(&services, balancer, self.all, world)?;
                writeln!(world.out, "Found {found} service load balancer(s).\n")?;
            }
            None => writeln!(
                world.out,
                "No configuration for LoadBalancer kubecontroller found, skipping service check\n"
            )?,
        }
        writeln!(world.out, "Loading all workload endpoints.")?;
        let workloads = self.owners.workloads(client, self.all, world).await?;
        writeln!(world.out, "Found {workloads} workload IPs.")?;
        writeln!(world.out, "Workloads and nodes are using {} IPs.\n", self.owners.len())?;
        for (ip, allocations) in &mut self.report.allocations {
            let users = ip.parse().map(|ip: IpAddr| self.owners.of(ip)).unwrap_or_default();
            for allocation in allocations {
                allocation.in_use = !users.is_empty();
                allocation.owners = Some(users.to_vec()).filter(|users| !users.is_empty());
            }
        }
        Ok(())
    }

    fn busiest(&self, world: &mut Surroundings<'_>) -> Outcome {
        writeln!(world.out, "Loading all handles")?;
        writeln!(world.out, "Looking for top (up to {TOP_NODES}) nodes by allocations...")?;
        let mut nodes: Vec<(&String, &usize)> = self.by_node.iter().collect();
        nodes.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (node, count) in nodes.iter().take(TOP_NODES) {
            writeln!(world.out, "  {node} has {count} allocations")?;
        }
        if let (Some((_, most)), Some((_, median))) = (nodes.first(), nodes.get(nodes.len() / 2)) {
            writeln!(world.out, "Node with most allocations has {most}; median is {median}")?;
        }
        writeln!(world.out)?;
        Ok(())
    }

    fn leaked(&mut self, world: &mut Surroundings<'_>) -> Outcome {
        writeln!(world.out, "Scanning for IPs that are allocated but not actually in use...")?;
        let mut count = 0;
        for (ip, allocations) in &self.report.allocations {
            if allocations.iter().any(|a| a.in_use || a.cooling_down) {
                continue;
            }
            count += 1;
            if self.verbose {
                for told in self.attributes.get(ip).into_iter().flatten() {
                    writeln!(world.out, "  {ip} leaked; attrs {told}")?;
                }
            }
        }
        self.problems += count;
        writeln!(world.out, "Found {count} IPs that are allocated in IPAM but not actually in use.")?;
        Ok(())
    }

    fn unallocated(&mut self, world: &mut Surroundings<'_>) -> Outcome {
        let scan = "Scanning for IPs that are in use by a workload or node but not allocated in IPAM...";
        writeln!(world.out, "{scan}")?;
        let (mut outside, mut missing) = (0, 0);
        for (ip, users) in self.owners.iter() {
            if self.verbose && users.len() > 1 {
                writeln!(world.out, "  {ip} has multiple owners.")?;
            }
            if self.report.allocations.contains_key(&ip.to_string()) {
                continue;
            }
            let within = self.pools.iter().any(|pool| pool.contains(*ip));
            *(if within { &mut missing } else { &mut outside }) += 1;
            let what = if within {
                "and in active IPAM pool but has no IPAM allocation"
            } else {
                "is not in any active IP pool"
            };
            for user in users.iter().filter(|_| self.verbose) {
                writeln!(world.out, "  {ip} in use by {user} {what}.")?;
            }
        }
        self.problems += outside + missing;
        writeln!(world.out, "Found {outside} in-use IPs that are not in active IP pools.")?;
        writeln!(
            world.out,
            "Found {missing} in-use IPs that are in active IP pools but have no corresponding IPAM allocation.\n"
        )?;
        Ok(())
    }

    async fn handles(&mut self, client: &Client, world: &mut Surroundings<'_>) -> Outcome {
        writeln!(world.out, "Scanning for IPAM handles with no matching IPs...")?;
        // Stores of Kubernetes write names of handles in lower case.
        let used: BTreeSet<String> = self.used_handles.iter().map(|id| id.to_lowercase()).collect();
        let mut known = BTreeSet::new();
        for entry in client.store().list(HANDLES).await?.entries {
            let id = entry.key.strip_prefix(HANDLES).unwrap_or(&entry.key).to_owned();
            if !used.contains(&id.to_lowercase()) {
                if self.all {
                    writeln!(world.out, "  {id} doesn't have any active IPs.")?;
                }
                let revision = entry.revision.to_string();
                self.report.leaked_handles.push(Leak { id: id.clone(), revision, ..Leak::default() });
            }
            known.insert(id.to_lowercase());
        }
        let leaked = self.report.leaked_handles.len();
        let good = known.len() - leaked;
        self.problems += leaked;
        writeln!(
            world.out,
            "Found {leaked} handles with no matching IPs (and {good} handles with matches)."
        )?;
        writeln!(world.out, "Scanning for IPs with missing handle...")?;
        let missing: Vec<&String> =
            self.used_handles.iter().filter(|id| !known.contains(&id.to_lowercase())).collect();
        for id in missing.iter().filter(|_| self.verbose) {
            writeln!(world.out, "  {id} is in use in a block but doesn't exist.")?;
        }
        let count = missing.len();
        writeln!(world.out, "Found {count} handles mentioned in blocks with no matching handle resource.")?;
        Ok(())
    }

    fn invalid_blocks(&mut self, world: &mut Surroundings<'_>) -> Outcome {
        writeln!(world.out, "Validating IPAMBlock structures...")?;
        let mut count = 0;
        for block in &self.blocks {
            if let Err(reason) = block::judge(block) {
                count += 1;
                writeln!(world.out, "  IPAMBlock {} is invalid: {reason}", block.cidr)?;
            }
        }
        self.problems += count;
        writeln!(world.out, "Found {count} invalid IPAMBlocks.")?;
        Ok(())
    }
}
