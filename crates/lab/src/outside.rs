//! Hosts beyond the router, with open ports.

use crate::lab::Lab;
use anyhow::anyhow;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_probe::Host;
use tortie_scenario::Listen;

/// The outside host of every lab, and where it listens.
const WORLD: &str = "world";
const WORLD_PORTS: [&str; 2] = ["443/tcp", "53/udp"];

/// A host beyond the router.
#[derive(Clone, Debug)]
pub(crate) struct OutsideHost {
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) listen: Vec<Listen>,
}

impl Lab {
    /// Adds a host beyond the router; without addresses it gets the next free ones.
    pub(crate) async fn add_host(
        &self,
        name: &str,
        wanted: &[IpAddr],
        listen: Vec<Listen>,
    ) -> anyhow::Result<()> {
        let (fabric, owned, addresses) = (Arc::clone(&self.fabric), name.to_owned(), wanted.to_vec());
        let made = tokio::task::spawn_blocking(move || fabric.add_outside(&owned, &addresses))
            .await
            .map_err(|e| anyhow!("{e}"))??;
        let host = Host::new(format!("outside:{name}"), made.netns, made.addresses);
        self.listen(&host, &listen)?;
        self.outside().push(OutsideHost { name: name.to_owned(), host, listen });
        Ok(())
    }

    /// Adds the host that every lab has.
    pub(crate) async fn add_world(&self) -> anyhow::Result<()> {
        self.add_host(WORLD, &[], WORLD_PORTS.iter().filter_map(|p| p.parse().ok()).collect()).await
    }

    /// Removes a host beyond the router, if there is one of this name.
    pub(crate) async fn remove_host(&self, name: &str) -> anyhow::Result<()> {
        self.outside().retain(|o| {
            let other = o.name != name;
            if !other {
                self.listeners.remove(&o.host);
            }
            other
        });
        let (fabric, owned) = (Arc::clone(&self.fabric), name.to_owned());
        tokio::task::spawn_blocking(move || fabric.remove_outside(&owned))
            .await
            .map_err(|e| anyhow!("{e}"))?
    }

    /// All hosts beyond the router.
    pub(crate) fn hosts(&self) -> Vec<OutsideHost> {
        self.outside().clone()
    }
}
