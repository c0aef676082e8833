//! Probes and metrics: what is listened on follows the settings.

use crate::current::Current;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tortie_runtime::http::{Handler, ListenError, Server};
use tortie_runtime::{Health, Registry, http, logging};

/// What is listened on.
struct Port {
    purpose: &'static str,
    handler: Handler,
    wanted: fn(&Current) -> Option<Result<SocketAddr, String>>,
    /// The address as it is wanted, and who serves it.
    now: Option<(SocketAddr, Server)>,
}

/// Listens where the settings say, and from then on follows them. Fails if that is impossible at the start: then two
/// agents run on this host.
pub(crate) async fn start(
    mut current: watch::Receiver<Arc<Current>>,
    registry: &Registry,
    health: &Health,
) -> Result<(), ListenError> {
    let (registry, health) = (registry.clone(), health.clone());
    let probes: Handler = Arc::new(move |path| {
        let problems = match path {
            "/liveness" => health.dead(),
            "/readiness" => health.unready(),
            _ => return None,
        };
        let healthy = problems.is_empty();
        Some(if healthy { (204, String::new()) } else { (503, problems.join("\n") + "\n") })
    });
    let metrics: Handler = Arc::new(move |path| (path == "/metrics").then(|| (200, registry.expose())));
    let mut ports = [
        Port { purpose: "health", handler: probes, wanted: Current::health, now: None },
        Port { purpose: "metrics", handler: metrics, wanted: Current::metrics, now: None },
    ];
    let first = current.borrow_and_update().clone();
    for port in &mut ports {
        port.follow(&first).await?;
    }
    tokio::spawn(async move {
        while current.changed().await.is_ok() {
            let now = current.borrow_and_update().clone();
            logging::set_level(now.log_level());
            for port in &mut ports {
                if let Err(error) = port.follow(&now).await {
                    tracing::error!(error = %tortie_causes::chain(&error), "the setting is tried again when settings change");
                }
            }
        }
    });
    Ok(())
}

impl Port {
    async fn follow(&mut self, current: &Current) -> Result<(), ListenError> {
        let wanted = match (self.wanted)(current) {
            Some(Ok(address)) => Some(address),
            Some(Err(problem)) => {
                tracing::error!(purpose = self.purpose, %problem, "nothing is listened on");
                None
            }
            None => None,
        };
        if wanted == self.now.as_ref().map(|(address, _)| *address) {
            return Ok(());
        }
        // The same port may be wanted on another address.
        self.now = None;
        if let Some(address) = wanted {
            let server = http::spawn(address, self.purpose, self.handler.clone()).await?;
            tracing::info!(purpose = self.purpose, address = %server.address, "listening");
            self.now = Some((address, server));
        }
        Ok(())
    }
}
