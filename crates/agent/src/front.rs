//! Who answers on the agent's socket from the first moment on: as long as there is no datastore, this, with the reason.
//!
//! Without it a runtime would be told that there is no agent, and look in the wrong place.

use crate::config::Config;
use crate::journal;
use crate::problems::{self, Problems, Snapshot};
use crate::service::Service;
use crate::socket;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tortie_agent_api::{ApiError, NodeStatus, Request, Response, code};

/// What the socket leads to.
pub(crate) struct Front {
    config: Arc<Config>,
    shown: watch::Receiver<Arc<Snapshot>>,
    service: OnceLock<Service>,
}

impl Front {
    /// Opens the socket.
    pub(crate) fn open(config: &Arc<Config>, problems: &Problems) -> anyhow::Result<Arc<Self>> {
        let front =
            Arc::new(Self { config: config.clone(), shown: problems.watch(), service: OnceLock::new() });
        socket::serve(&config.run_dir.join("agent.sock"), front.clone())?;
        Ok(front)
    }

    /// Hands all further questions to one who can do more.
    pub(crate) fn lead_to(&self, service: Service) {
        if self.service.set(service).is_err() {
            tracing::error!("two services for one socket; the first one stays");
        }
    }

    /// Why there is nobody else yet.
    fn reasons(&self) -> Vec<String> {
        let shown = self.shown.borrow().clone();
        let mut reasons: Vec<String> =
            shown.problems.iter().map(problems::told).map(|problem| problem.message).collect();
        if reasons.is_empty() {
            reasons.push("it has started a moment ago".to_owned());
        }
        reasons
    }

    fn not_yet(&self) -> ApiError {
        ApiError {
            code: code::TRY_AGAIN,
            message: format!(
                "the agent of node {} is not ready: {}",
                self.config.node,
                self.reasons().join("; ")
            ),
            details: "see `tortie node status`; the runtime tries again".to_owned(),
        }
    }

    fn status(&self) -> NodeStatus {
        let shown = self.shown.borrow().clone();
        NodeStatus {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            sync: "wait-for-datastore".to_owned(),
            reasons: self.reasons(),
            problems: shown.problems.iter().map(problems::told).collect(),
            problems_left_off: shown.left_off,
            ..NodeStatus::default()
        }
    }
}

impl socket::Service for Front {
    async fn answer(&self, request: Request, netns: Option<OwnedFd>) -> Response {
        if let Some(service) = self.service.get() {
            return service.answer(request, netns).await;
        }
        match request {
            Request::NodeStatus => Response::NodeStatus(Box::new(self.status())),
            // As the plugin does when there is no agent: the runtime need not wait for us.
            Request::Del(args) => {
                match journal::remember(&self.config.lib_dir.join(journal::DIRECTORY), &args) {
                    Ok(()) => Response::Ok,
                    Err(error) => {
                        let message = format!(
                            "DEL of pod {}/{} cannot be remembered: {error}",
                            args.namespace, args.pod
                        );
                        Response::Error(ApiError { code: code::IO, message, details: self.not_yet().message })
                    }
                }
            }
            _ => Response::Error(self.not_yet()),
        }
    }
}
