//! Leaving: what the agent does when the product is removed from its cluster, and only then.
//!
//! The signs are looked for in what the engine reads anyway ([`Watcher`]). From the first sign on nothing of the datastore
//! counts any more, for it is being taken apart: what stands in the kernel stays as it is until the agent is told to stop.
//! Then policy goes, at once and as a whole, and what running pods need stays ([`Leaving::leave`]). The contract is
//! `docs/design/removal.md`.

mod restore;
mod signs;

use crate::config::Config;
use crate::engine::Handle;
use signs::Signs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tortie_agent_api::{ApiError, code};
use tortie_causes::chain;
use tortie_kernel_net::Netlink;
use tortie_removal::{Mark, Places};
use tortie_store_kube::KubeStore;
use tortie_sync::Feed;

pub(crate) use restore::restore;

/// How long after the signal the signs are waited for: `helm uninstall` deletes the DaemonSet before anything else.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the node's annotations stay after the first sign: until every agent has seen it. The right to take them away
/// does not live much longer.
const HEAD_START: Duration = Duration::from_millis(300);

/// How long the API server may take for the node.
const ANSWER: Duration = Duration::from_secs(2);

/// Why the product is being removed, if it is.
pub(crate) type Removal = Option<Arc<str>>;

/// What an item of the feed is worth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It counts.
    Everything,
    /// It does not.
    Nothing,
    /// It does not, and it is the first.
    NothingFromNowOn,
    /// It does not, but the next snapshot will.
    Relist,
}

/// Looks for the signs. Lives with the engine.
pub(crate) struct Watcher {
    signs: Option<Signs>,
    told: watch::Sender<Removal>,
    /// Items were passed over: only a snapshot can make up for that.
    behind: bool,
    /// The agent was told to stop: what goes now may be a part of everything, though no sign has come yet.
    held: bool,
    /// Policy was given up.
    pub(crate) ended: bool,
}

impl Watcher {
    /// The watcher of an agent, and where it tells. Without a pod's identity there is nothing to see.
    pub(crate) fn new(config: &Config) -> (Self, watch::Receiver<Removal>) {
        let of_pod = |name: &str| config.settings.variable(name).filter(|text| !text.is_empty());
        let removed = matches!(Mark::read(&config.lib_dir), Ok(Some(_)));
        let signs = of_pod("POD_NAMESPACE").zip(of_pod("POD_SERVICE_ACCOUNT"));
        let signs = signs.map(|(namespace, account)| Signs::new(namespace, account, removed));
        let (told, removal) = watch::channel(None);
        (Self { signs, told, behind: false, held: false, ended: false }, removal)
    }

    /// Looks at an item before anything else does.
    pub(crate) fn judge(&mut self, item: &Feed) -> Worth {
        let Some(signs) = &mut self.signs else { return Worth::Everything };
        match item {
            Feed::Snapshot(list) => signs.snapshot(list),
            Feed::Events(events) => events.iter().for_each(|event| signs.event(event)),
            Feed::Progress(_) | Feed::Lost(_) => {}
        }
        let (before, now) = (self.told.borrow().is_some(), signs.removal());
        let begins = now.is_some() && !before;
        let ends = now.is_none() && before;
        if begins || ends {
            self.told.send_replace(now.clone().map(Arc::from));
        }
        let complete = matches!(item, Feed::Snapshot(_));
        let behind = self.behind;
        self.behind = now.is_some() || (ends || behind) && !complete;
        match now {
            _ if self.ended => Worth::Nothing,
            Some(_) if begins => Worth::NothingFromNowOn,
            Some(_) => Worth::Nothing,
            None if self.held => Worth::Nothing,
            None if ends && !complete => Worth::Relist,
            None if behind && !complete => Worth::Nothing,
            None => Worth::Everything,
        }
    }

    /// From now on only signs count.
    pub(crate) fn hold(&mut self) {
        self.held = self.signs.is_some();
    }

    /// The reason, for people.
    pub(crate) fn reason(&self) -> Removal {
        self.told.borrow().clone()
    }
}

/// What is left to be done after the engine.
pub(crate) struct Leaving {
    config: Arc<Config>,
    removal: watch::Receiver<Removal>,
    engine: Handle,
    host: Arc<Netlink>,
    /// Takes away what Kubernetes' node says.
    forgetting: Option<JoinHandle<()>>,
}

impl Leaving {
    pub(crate) fn new(
        config: Arc<Config>,
        removal: watch::Receiver<Removal>,
        engine: Handle,
        host: Arc<Netlink>,
        kube: Option<&Arc<KubeStore>>,
    ) -> Self {
        let forgetting = kube.map(|kube| forget(kube.clone(), config.clone(), removal.clone()));
        Self { config, removal, engine, host, forgetting }
    }

    /// After the signal to stop: whether this is a removal. Who is only being stopped waits a moment in vain.
    pub(crate) async fn is_removal(&mut self) -> bool {
        if self.config.settings.variable("POD_NAMESPACE").is_none_or(str::is_empty) {
            return false;
        }
        self.engine.hold().await;
        let seen = self.removal.wait_for(Option::is_some);
        matches!(tokio::time::timeout(PATIENCE, seen).await, Ok(Ok(_)))
    }

    /// Gives up policy and leaves the rest to the plugin; takes the rest away if there is nobody who needs it.
    pub(crate) async fn leave(mut self) {
        if let Err(error) = self.engine.leave().await {
            tracing::error!(%error, "policy cannot be taken out of the kernel; it goes with the last pod");
        }
        let (config, host) = (self.config.clone(), self.host.clone());
        let rest = tokio::task::spawn_blocking(move || hand_over(&config, &host));
        match rest.await.unwrap_or_else(|e| Err(chain(&e))) {
            Ok(0) => tracing::info!("nothing of the network is left on this node"),
            Ok(pods) => {
                tracing::info!(
                    pods,
                    "policy is not enforced any more; the pods' network stays, and goes with the last of them"
                );
            }
            Err(error) => tracing::error!(%error, "the node is not clean"),
        }
        if let Some(forgetting) = self.forgetting.take() {
            // It tells by itself what came of it.
            let _ = tokio::time::timeout(HEAD_START + ANSWER, forgetting).await;
        }
    }
}

/// Tells the plugin that it is alone from now on; answers how many pods need the network.
fn hand_over(config: &Config, host: &Netlink) -> Result<usize, String> {
    let mut mark = Mark::read(&config.lib_dir).map_err(|e| chain(&e))?.unwrap_or_default();
    mark.ended = true;
    mark.write(&config.lib_dir).map_err(|e| chain(&e))?;
    let pods = tortie_removal::workloads(host, &mark).map_err(|e| chain(&e))?.len();
    if pods == 0 {
        let problems = tortie_removal::finish(host, &mark, &places(config));
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
    }
    Ok(pods)
}

/// The node's directories as this container sees them.
fn places(config: &Config) -> Places {
    let directory = |name: &str, usual: &str| {
        let given = config.settings.variable(name).filter(|text| !text.is_empty());
        given.unwrap_or(usual).into()
    };
    Places {
        lib: config.lib_dir.clone(),
        run: config.run_dir.clone(),
        net: directory("TORTIE_CNI_NET_DIR", "/host/etc/cni/net.d"),
        bin: directory("TORTIE_CNI_BIN_DIR", "/host/opt/cni/bin"),
        plugin: "/opt/cni/bin/calico".into(),
    }
}

/// Takes away what Kubernetes' node says of the network, while that is allowed.
fn forget(
    kube: Arc<KubeStore>,
    config: Arc<Config>,
    mut removal: watch::Receiver<Removal>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if removal.wait_for(Option::is_some).await.is_err() {
            return;
        }
        tokio::time::sleep(HEAD_START).await;
        if removal.borrow().is_none() {
            return;
        }
        let name = config.start.node.kubernetes_name();
        match tokio::time::timeout(ANSWER, kube.forget_node(name)).await {
            Ok(Ok(())) => tracing::info!("the node's annotations and conditions of this network are removed"),
            Ok(Err(error)) => {
                tracing::info!(error = %chain(&error), "the node keeps its annotations of this network");
            }
            Err(_) => tracing::info!("the node keeps its annotations of this network: no answer"),
        }
    })
}

/// Why ADD fails.
pub(crate) fn refusal(reason: &str) -> ApiError {
    ApiError {
        code: code::TRY_AGAIN,
        message: format!("this node's network is being removed: {reason}"),
        details: "install a network; pods start when its configuration is on the node".to_owned(),
    }
}

/// Whether an earlier agent of this node was removed, and its pods may still run.
pub(crate) fn was_removed(lib: &Path) -> bool {
    matches!(Mark::read(lib), Ok(Some(_)))
}

#[cfg(test)]
mod tests;
