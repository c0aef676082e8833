//! Answers what comes in over the agent's socket.

use crate::attachers::Attachers;
use crate::config::Config;
use crate::current::Current;
use crate::engine::{Handle, LOCKED};
use crate::leave::{self, Removal};
use crate::problems::{self, Snapshot};
use crate::socket;
use crate::startup::Started;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_agent_api::{ApiError, BgpSession, NodeStatus, Request, Response, code};
use tortie_bird::ProtocolState;
use tortie_bird_control::Birdc;
use tortie_causes::chain;
use tortie_ipam::Ipam;

/// How long an ADD waits for the first complete apply after a start.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);

/// How long a status waits for what IPAM knows.
const FACTS_PATIENCE: Duration = Duration::from_millis(500);

/// What the answers need.
pub(crate) struct Service {
    pub(crate) config: Arc<Config>,
    pub(crate) attachers: Arc<Attachers>,
    pub(crate) current: watch::Receiver<Arc<Current>>,
    pub(crate) started: watch::Receiver<Started>,
    pub(crate) engine: Handle,
    pub(crate) in_sync: watch::Receiver<bool>,
    pub(crate) ipam: Ipam,
    /// What is wrong.
    pub(crate) shown: watch::Receiver<Arc<Snapshot>>,
    /// Whether the product is being removed.
    pub(crate) removal: watch::Receiver<Removal>,
}

impl socket::Service for Service {
    async fn answer(&self, request: Request, netns: Option<OwnedFd>) -> Response {
        let removal = self.removal.borrow().clone();
        match (request, removal) {
            (Request::Add(_) | Request::CniStatus, Some(reason)) => Response::Error(leave::refusal(&reason)),
            (request, _) => self.serve(request, netns).await,
        }
    }
}

impl Service {
    async fn serve(&self, request: Request, netns: Option<OwnedFd>) -> Response {
        match request {
            Request::Add(_)
            | Request::Del(_)
            | Request::Check(_)
            | Request::CniStatus
            | Request::Gc { .. }
                if self.attachers.paused() =>
            {
                Response::Error(self.locked())
            }
            Request::Add(args) => match self.wait_in_sync(SYNC_PATIENCE).await {
                Ok(()) => {
                    self.attachers.get().add(&args, netns).await.map_or_else(Response::Error, Response::Added)
                }
                Err(error) => Response::Error(error),
            },
            Request::Del(args) => {
                self.attachers.get().del(&args).await.map_or_else(Response::Error, |()| Response::Ok)
            }
            Request::Check(args) => {
                self.attachers.get().check(&args, netns).await.map_or_else(Response::Error, |()| Response::Ok)
            }
            Request::CniStatus => self.cni_status().await.map_or_else(Response::Error, |()| Response::Ok),
            Request::Gc { valid, network } => match self.attachers.get().collect(&valid, &network).await {
                Ok(()) => Response::Ok,
                Err(error) => Response::Error(error),
            },
            Request::NodeStatus => match self.status().await {
                Some(status) => Response::NodeStatus(Box::new(status)),
                None => Response::Error(stopping()),
            },
            Request::WaitEnforced { revision, timeout_ms, routes } => {
                let limit = Duration::from_millis(timeout_ms);
                match tokio::time::timeout(limit, self.engine.wait(revision, routes)).await {
                    Ok(Some(revision)) => {
                        Response::Enforced { reached: true, revision, missing_routes: Vec::new() }
                    }
                    Ok(None) => Response::Error(stopping()),
                    Err(_) => {
                        let status = self.engine.status().await.unwrap_or_default();
                        Response::Enforced {
                            reached: false,
                            revision: status.enforced_revision,
                            missing_routes: if routes { status.missing_routes } else { Vec::new() },
                        }
                    }
                }
            }
        }
    }
}

impl Service {
    async fn wait_in_sync(&self, limit: Duration) -> Result<(), ApiError> {
        let mut in_sync = self.in_sync.clone();
        if *in_sync.borrow()
            || matches!(tokio::time::timeout(limit, in_sync.wait_for(|s| *s)).await, Ok(Ok(_)))
        {
            return Ok(());
        }
        let reasons = self.engine.status().await.map(|s| s.reasons).unwrap_or_default();
        Err(ApiError {
            code: code::TRY_AGAIN,
            message: format!("the agent of node {} is not ready: {}", self.config.node, reasons.join("; ")),
            details: "pods are attached as soon as their policy can be enforced".to_owned(),
        })
    }

    /// Could an ADD succeed now, and do pods that run have all that they should?
    async fn cni_status(&self) -> Result<(), ApiError> {
        self.wait_in_sync(Duration::ZERO).await?;
        let Some(status) = self.engine.status().await else { return Err(stopping()) };
        if status.ready {
            return Ok(());
        }
        let lost = status.sync == "wait-for-datastore";
        Err(ApiError {
            code: if lost { code::NOT_AVAILABLE } else { code::LIMITED },
            message: format!("the agent of node {}: {}", self.config.node, status.reasons.join("; ")),
            details: "see `tortie node status`".to_owned(),
        })
    }

    fn locked(&self) -> ApiError {
        ApiError {
            code: code::TRY_AGAIN,
            message: format!("the agent of node {} does nothing for pods now: {LOCKED}", self.config.node),
            details: "`calicoctl datastore migrate unlock` ends that".to_owned(),
        }
    }

    async fn status(&self) -> Option<NodeStatus> {
        let mut status = self.engine.status().await?;
        let started = self.started.borrow().clone();
        if let Some(problem) = started.problem {
            status.ready = false;
            status.reasons.push(problem);
        }
        status.warnings.extend(started.notes);
        status.warnings.extend(self.current.borrow().problems.iter().cloned());
        if self.config.bird_config.is_some() {
            match self.sessions().await {
                Ok(sessions) => status.bgp = sessions,
                Err(error) => status.warnings.push(format!("BIRD: {error}")),
            }
        }
        // IPAM may be waiting for a datastore that says nothing; whoever asks for the status must not.
        if let Ok(Ok(facts)) = tokio::time::timeout(FACTS_PATIENCE, self.ipam.facts()).await {
            status.warnings.extend(facts.problems.iter().cloned());
        }
        let shown = self.shown.borrow().clone();
        status.problems = shown.problems.iter().map(problems::told).collect();
        status.problems_left_off = shown.left_off;
        Some(status)
    }
}

impl Service {
    /// BGP sessions as BIRD sees them.
    async fn sessions(&self) -> Result<Vec<BgpSession>, String> {
        let socket = self.config.run_dir.join("bird.ctl");
        let states =
            async { Birdc::connect(&socket).await?.protocols().await }.await.map_err(|e| chain(&e))?;
        let session = |p: ProtocolState| BgpSession {
            peer: peer_address(&p.name),
            name: p.name,
            state: p.state,
            info: p.info,
            since: p.since,
        };
        Ok(states.into_iter().filter(|p| p.kind == "BGP").map(session).collect())
    }
}

/// The address in a protocol's name: `Mesh_10_0_0_2` is with 10.0.0.2, `Mesh_fd00__2` with fd00::2.
fn peer_address(name: &str) -> String {
    let Some((_, rest)) = name.split_once('_') else { return String::new() };
    let (address, port) = rest.split_once("_port_").map_or((rest, None), |(a, p)| (a, Some(p)));
    let parse = |separator| address.replace('_', separator).parse::<std::net::IpAddr>();
    match (parse(".").or_else(|_| parse(":")), port) {
        (Ok(ip), Some(port)) => format!("{ip} port {port}"),
        (Ok(ip), None) => ip.to_string(),
        (Err(_), _) => rest.to_owned(),
    }
}

fn stopping() -> ApiError {
    ApiError { code: code::TRY_AGAIN, message: "the agent is stopping".to_owned(), details: String::new() }
}

#[cfg(test)]
mod tests {
    use super::peer_address;

    #[test]
    fn addresses_in_protocol_names() {
        for (name, want) in [
            ("Mesh_10_0_0_2", "10.0.0.2"),
            ("Mesh_fd00_31_1__12", "fd00:31:1::12"),
            ("Global_10_0_0_2_port_1790", "10.0.0.2 port 1790"),
            ("static1", ""),
            ("my_peer", "peer"),
        ] {
            assert_eq!(peer_address(name), want);
        }
    }
}
