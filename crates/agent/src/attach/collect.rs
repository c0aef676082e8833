//! What containers left behind that nobody will detach any more.

use super::owner::Owner;
use super::{
    Attacher, CONTAINER_ID, annotation, datastore, fail, handle_of, object, pod_name, pod_path, recorded_ips,
};
use crate::reconcile;
use std::collections::BTreeSet;
use tortie_agent_api::{ApiError, CniArgs, code};
use tortie_causes::chain;
use tortie_ipam::HandleId;
use tortie_model::names;

impl Attacher {
    /// CNI GC: takes away what this node's containers hold that are not in `valid` (`containerID/ifname`), on record or not.
    pub(crate) async fn collect(&self, valid: &[String], network: &str) -> Result<(), ApiError> {
        let valid: BTreeSet<&str> = valid.iter().filter_map(|v| v.split('/').next()).collect();
        let ipam = &self.parts.ipam;
        let broken = |e: &dyn std::error::Error| {
            fail(code::DATASTORE, format!("GC: addresses cannot be compared: {}", chain(e)), "")
        };
        let mark = ipam.mark().await.map_err(|e| broken(&e))?;
        let pods = reconcile::recorded(&*self.parts.store, &self.parts.config.node)
            .await
            .map_err(|e| fail(code::DATASTORE, format!("GC: pods cannot be listed: {}", chain(&e)), ""))?;
        let mut first = None;
        for gone in pods.iter().filter(|p| !valid.contains(p.container_id.as_str())) {
            let args = CniArgs { network: network.to_owned(), ..gone.args() };
            if let Err(error) = self.del(&args).await {
                first.get_or_insert(error);
            }
        }
        let live = valid.iter().map(|id| handle_of(network, id)).filter(HandleId::is_storable).collect();
        let known = pods.iter().filter(|p| valid.contains(p.container_id.as_str()));
        let in_use = known.flat_map(|p| p.ips.iter().copied()).collect();
        match ipam.reconcile_sparing(mark, live, in_use).await {
            Ok(done) => tracing::info!(outcome = ?done, "what nobody has was released"),
            Err(error) => {
                first.get_or_insert(broken(&error));
            }
        }
        for owner in self.strangers(|owner| valid.contains(owner.container.as_str())).await? {
            if let Err(error) = self.sweep(&owner).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Whom the node's interfaces name, but for those who live.
    pub(crate) async fn strangers(&self, lives: impl Fn(&Owner) -> bool) -> Result<Vec<Owner>, ApiError> {
        let host = self.parts.host.clone();
        let broken = |e: &dyn std::error::Error| fail(code::KERNEL, format!("interfaces: {}", chain(e)), "");
        let links = tokio::task::spawn_blocking(move || host.links()).await;
        let links = links.map_err(|e| broken(&e))?.map_err(|e| broken(&e))?;
        let prefix = &self.parts.config.interface_prefix;
        let named = links.iter().filter_map(|link| {
            let owner = Owner::parse(link.alias.as_deref()?)?;
            (link.name == names::veth(prefix, &owner.namespace, &owner.pod)).then_some(owner)
        });
        Ok(named.filter(|owner| !lives(owner)).collect())
    }

    /// Removes the interface of a container that nobody will detach any more, unless its pod's record names it after all.
    pub(crate) async fn sweep(&self, owner: &Owner) -> Result<(), ApiError> {
        let args = CniArgs {
            namespace: owner.namespace.clone(),
            pod: owner.pod.clone(),
            container_id: owner.container.clone(),
            ..CniArgs::default()
        };
        let path = pod_path(&args)?;
        let lock = self.lock(&path);
        let _held = lock.lock().await;
        if let Some(entry) = self.parts.store.get(&path).await.map_err(|e| datastore(&args, &e))? {
            let pod = object(&entry, &args)?;
            if annotation(&pod, CONTAINER_ID) == Some(owner.container.as_str())
                && !recorded_ips(&pod).is_empty()
            {
                return Ok(());
            }
        }
        self.remove_interface(&args, false).await?;
        tracing::info!(pod = %pod_name(&args), container = %owner.container, "removed the interface of a container that is gone");
        Ok(())
    }
}
