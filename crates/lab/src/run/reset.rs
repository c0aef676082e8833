//! A lab as new: between scenarios nothing of the last one may be left.

use crate::lab::Lab;
use crate::seed;
use anyhow::ensure;
use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_model::Key;
use tortie_net::Cidr;
use tortie_scenario::{Fault, Plan};

/// Where users' objects lie.
const OBJECTS: [&str; 2] = ["/tortie/kubernetes/", "/calico/resources/v3/"];

/// Objects that an API server or a controller makes itself, and makes again or does not let go of.
fn is_of_kubernetes(path: &str) -> bool {
    const OWN: [&str; 3] = [
        "/tortie/kubernetes/services/default/kubernetes",
        "/tortie/kubernetes/endpointslices/default/kubernetes",
        "/tortie/kubernetes/endpoints/default/kubernetes",
    ];
    let mut parts = path.strip_prefix("/tortie/kubernetes/").unwrap_or_default().split('/');
    match (parts.next(), parts.next()) {
        (Some("nodes"), _) => true,
        (Some(_), Some(name)) => name.starts_with("kube-") || OWN.contains(&path),
        _ => false,
    }
}

impl Lab {
    /// Mends faults, stops all pods, removes hosts outside and objects; what the lab itself wrote is as it was.
    pub(crate) async fn reset(self: &Arc<Self>) -> anyhow::Result<()> {
        for node in &self.nodes {
            if !self.fabric.is_connected(node.name()) {
                self.fault(Fault::Heal(node.net.number)).await?;
            }
            if self.spec.agents && !node.has_agent() {
                self.fault(Fault::RestartAgent(node.net.number)).await?;
            }
        }
        let pods = self.pods.all().iter().map(|p| p.name.clone()).collect();
        self.remove_pods(pods).await?;
        for host in self.hosts() {
            self.remove_host(&host.name).await?;
        }
        let seeds: BTreeMap<_, _> = seed::objects(self.fabric.plan(), &self.spec).into_iter().collect();
        let mut extra = Vec::new();
        for prefix in OBJECTS {
            let (entries, _) = self.store.records.list(prefix).await?;
            let keys = entries.iter().map(|e| e.key.to_string());
            extra.extend(keys.filter(|k| !seeds.contains_key(k) && !is_of_kubernetes(k)));
        }
        if !extra.is_empty() {
            self.store.records.remove_all(extra.clone()).await?;
        }
        self.await_kubelets(&extra).await?;
        self.finish_namespaces(&extra).await?;
        for (path, object) in &seeds {
            // Agents add to their nodes; nobody else has a reason to change them.
            if object.get("kind").is_some_and(|k| k == "Node") {
                self.store.records.ensure(path, object).await?;
            } else {
                self.store.records.put(path, object).await?;
            }
        }
        self.drop_stray_blocks(&self.spec.pools).await
    }

    /// The same, with the host outside that every lab has.
    pub(crate) async fn restore(self: &Arc<Self>) -> anyhow::Result<()> {
        self.reset().await?;
        self.forbid_pods(&self.spec.pools).await?;
        self.add_world().await
    }

    /// What a scenario asks for beside objects and pods: pools and hosts outside.
    pub(crate) async fn furnish(self: &Arc<Self>, plan: &Plan) -> anyhow::Result<()> {
        if plan.own_pools {
            let mut pools = plan.pools.clone();
            pools.retain(|p| self.spec.families.has(p.family()));
            ensure!(!pools.is_empty(), "the scenario has no pool of a family of this lab");
            let own: BTreeMap<_, _> = seed::pools(&pools, self.spec.encapsulation).into_iter().collect();
            let lab =
                seed::pools(&self.spec.pools, self.spec.encapsulation).into_iter().map(|(path, _)| path);
            let superfluous: Vec<String> = lab.filter(|path| !own.contains_key(path)).collect();
            if !superfluous.is_empty() {
                self.store.records.remove_all(superfluous).await?;
            }
            for (path, pool) in &own {
                self.store.records.put(path, pool).await?;
            }
            self.drop_stray_blocks(&pools).await?;
            self.forbid_pods(&pools).await?;
        }
        for host in &plan.outside {
            let wanted = if host.own_addresses { host.addresses.as_slice() } else { &[] };
            self.add_host(&host.name, wanted, host.listen.clone()).await?;
        }
        Ok(())
    }

    /// Waits until kubelets have stopped the pods among removed paths, which somebody started beside the lab.
    async fn await_kubelets(&self, removed: &[String]) -> anyhow::Result<()> {
        let (Some(control), Some(_)) = (&self.store.control, &self.spec.kubelets) else { return Ok(()) };
        let pods = removed.iter().filter_map(|path| path.strip_prefix("/tortie/kubernetes/pods/"));
        for name in pods {
            control.client.end_pod(&name.parse()?).await?;
        }
        Ok(())
    }

    /// Lets go of namespaces among removed paths, or waits until Kubernetes' controller has.
    async fn finish_namespaces(&self, removed: &[String]) -> anyhow::Result<()> {
        let prefix = seed::kubernetes("Namespace", "", "");
        for name in removed.iter().filter_map(|path| path.strip_prefix(&prefix)) {
            self.end_namespace(name).await?;
        }
        Ok(())
    }

    /// Removes blocks that are in no pool. No pod runs, so nobody has an address of them; the nodes would look for routes to
    /// them for ever.
    async fn drop_stray_blocks(&self, pools: &[Cidr]) -> anyhow::Result<()> {
        let (entries, _) = self.store.records.list("/calico/ipam/v2/").await?;
        let stray = |key: &str| match Key::from_path(key) {
            Some(Key::Block(cidr) | Key::BlockAffinity { cidr, .. }) => !pools.iter().any(|p| p.covers(cidr)),
            _ => false,
        };
        let paths: Vec<String> = entries.iter().map(|e| e.key.to_string()).filter(|k| stray(k)).collect();
        if !paths.is_empty() {
            self.store.records.remove_all(paths).await?;
        }
        Ok(())
    }
}
