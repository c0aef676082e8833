//! Pools that hold addresses of Services, nodes or other pools: found, named, and kept from being given away.

use crate::problems::{Name, Problem, Problems};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_cluster::{Networks, Overlapping, Owner, service_networks};
use tortie_ipam::{Foreign, Ipam};
use tortie_net::Cidr;
use tortie_store_kube::KubeStore;

const SOURCE: &str = "pools";

/// How often the Services' networks are looked at.
const INTERVAL: Duration = Duration::from_secs(30);

/// Where Kubernetes tells the networks of Services.
const SERVICE_CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

/// Starts the task.
pub(crate) fn spawn(
    kube: Option<Arc<KubeStore>>,
    ipam: Ipam,
    problems: Problems,
    mut collected: watch::Receiver<Networks>,
) {
    tokio::spawn(async move {
        let mut services = BTreeSet::new();
        let mut look = tokio::time::interval(INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = collected.changed() => if changed.is_err() { return },
                _ = look.tick() => {
                    // What was known stays, where nothing is learnt.
                    services = told(kube.as_deref()).await.unwrap_or(services);
                }
            }
            let mut networks = collected.borrow_and_update().clone();
            networks.set_service_networks(services.clone());
            let foreign = networks.foreign();
            ipam.set_foreign(SOURCE, Foreign { networks: foreign.networks, addresses: foreign.addresses });
            let names = ipam.facts().await.map(|facts| facts.pools.clone()).unwrap_or_default();
            let name = |cidr: Cidr| {
                let pool = names.iter().find(|pool| pool.cidr == cidr);
                pool.map_or_else(|| cidr.to_string(), |pool| pool.name.clone())
            };
            let mut all = found(&networks.overlaps(), &name);
            all.extend(networks.ipip_pools().into_iter().map(|pool| {
                Problem::new(
                    Name::PoolUnsupported,
                    format!("IPPool {}", name(pool)),
                    "its packets should travel in IP, which this agent does not do: pods with its addresses are not reached from other nodes",
                )
                .field("spec.ipipMode")
                .fix("set ipipMode: Never, and vxlanMode where the network between nodes does not route pods' addresses")
            }));
            problems.replace(SOURCE, all);
        }
    });
}

/// The networks of Services; nothing if they cannot be had now.
async fn told(kube: Option<&KubeStore>) -> Option<BTreeSet<Cidr>> {
    // A server without the kind tells none, and one that refuses is another detector's.
    let list = kube?.read(SERVICE_CIDRS).await.ok()?;
    Some(list.map(|list| service_networks(&list)).unwrap_or_default())
}

/// How many owners one problem names.
const NAMED: usize = 3;

/// One problem for each pool and kind of owner.
fn found(overlaps: &[Overlapping], name: &dyn Fn(Cidr) -> String) -> Vec<Problem> {
    let mut of: BTreeMap<(Name, Cidr), Vec<String>> = BTreeMap::new();
    for Overlapping { pool, with } in overlaps {
        let (kind, text) = match with {
            Owner::ServiceNetwork(_) | Owner::Service { .. } => {
                (Name::PoolOverlapsServices, with.to_string())
            }
            Owner::Node { .. } | Owner::Interface { .. } => (Name::PoolOverlapsNodes, with.to_string()),
            Owner::Pool(other) => (Name::PoolsOverlap, format!("IPPool {} ({other})", name(*other))),
        };
        of.entry((kind, *pool)).or_default().push(text);
    }
    let problem = |((kind, pool), mut owners): ((Name, Cidr), Vec<String>)| {
        let more = owners.len().saturating_sub(NAMED);
        owners.truncate(NAMED);
        let mut others = owners.join(", ");
        if more > 0 {
            others.push_str(&format!(" and {more} more"));
        }
        let (message, fix) = match kind {
            Name::PoolsOverlap => (
                format!("{pool} shares addresses with {others}"),
                "delete one of them, after its pods are gone",
            ),
            Name::PoolOverlapsServices => (
                format!(
                    "{pool} holds addresses of {others}; no block is made of them, since pods with such addresses could not be reached"
                ),
                MOVE,
            ),
            _ => (
                format!(
                    "{pool} holds addresses of {others}; no block is made of them, since its route would take the packets for them"
                ),
                MOVE,
            ),
        };
        Problem::new(kind, format!("IPPool {}", name(pool)), message).field("spec.cidr").fix(fix)
    };
    of.into_iter().map(problem).collect()
}

const MOVE: &str =
    "make a pool of other addresses, set disabled: true in this one, and delete it when its pods are gone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_for_each_pool_and_kind_of_owner() {
        let pool: Cidr = "10.0.0.0/8".parse().unwrap();
        let node = |n: u8| Owner::Node {
            name: format!("n{n}"),
            network: Cidr::new([10, n, 0, 0].into(), 16).expect("a prefix"),
        };
        let mut overlaps: Vec<Overlapping> = (1..6).map(|n| Overlapping { pool, with: node(n) }).collect();
        overlaps.push(Overlapping { pool, with: Owner::Pool("10.1.0.0/16".parse().unwrap()) });
        let problems =
            found(&overlaps, &|cidr| if cidr == pool { "wide".to_owned() } else { "narrow".to_owned() });
        assert_eq!(problems.len(), 2);
        let nodes = problems.iter().find(|p| p.key.name == Name::PoolOverlapsNodes).unwrap();
        assert_eq!((nodes.key.object.as_str(), nodes.key.field.as_str()), ("IPPool wide", "spec.cidr"));
        assert!(
            nodes.message.contains("the network 10.1.0.0/16 of node n1")
                && nodes.message.contains("and 2 more")
        );
        let pools = problems.iter().find(|p| p.key.name == Name::PoolsOverlap).unwrap();
        assert!(pools.message.contains("IPPool narrow (10.1.0.0/16)"));
    }
}
