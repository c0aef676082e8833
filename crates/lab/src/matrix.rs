//! Who can reach whom: what policy says, and what packets do.

use crate::glob;
use crate::lab::Lab;
use crate::pods::proto;
use crate::supervisor::Sink;
use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tortie_net::{Family, Protocol};
use tortie_policy::Packet;
use tortie_probe::{Answerer, Expect, Host, Options, Probe, Proto, Verdict};
use tortie_scenario::Listen;

/// Entries that travel in one frame.
const CHUNK: usize = 2000;

/// One question and its two answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) from: String,
    pub(crate) to: String,
    /// 0 for ICMP.
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) family: u8,
    /// `allow`, `deny`.
    pub(crate) policy: String,
    /// `allow`, `deny`, `reject`, or what went wrong.
    pub(crate) packets: String,
    pub(crate) agree: bool,
    /// What decided, according to the evaluator; for entries that do not agree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

/// An end of a flow.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) host: Host,
    /// Group for the table: the workload it belongs to.
    pub(crate) group: String,
    pub(crate) listen: Vec<Listen>,
    /// What answers is no program of ours.
    pub(crate) foreign: bool,
}

/// What the table needs beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatrixSummary {
    /// Sources in order, with their group.
    pub(crate) ends: Vec<(String, String)>,
    pub(crate) probes: usize,
    pub(crate) disagreements: usize,
    pub(crate) milliseconds: u64,
}

impl Lab {
    /// Pods, then hosts outside.
    pub(crate) fn ends(&self) -> Vec<End> {
        let pods = self.pods.all().into_iter().map(|pod| End {
            host: pod.host.clone(),
            group: pod
                .owner
                .as_ref()
                .map_or_else(|| pod.name.to_string(), |o| format!("{}/{}", o.namespace, o.name)),
            listen: pod.listen.clone(),
            foreign: pod.foreign,
        });
        let hosts = self.hosts().into_iter().map(|o| End {
            group: o.host.name().to_owned(),
            host: o.host,
            listen: o.listen,
            foreign: false,
        });
        pods.chain(hosts).collect()
    }

    /// Probes everybody from everybody and compares; entries are sent as they are known.
    pub(crate) async fn matrix(&self, globs: &[String], sink: &Sink) -> anyhow::Result<MatrixSummary> {
        let started = std::time::Instant::now();
        let wanted = |e: &End| globs.is_empty() || globs.iter().any(|g| glob::matches(g, e.host.name()));
        let ends: Vec<End> = self.ends().into_iter().filter(wanted).collect();
        let state = self.truth().await?;
        let (mut probes, mut entries) = (Vec::new(), Vec::new());
        for from in &ends {
            for to in ends.iter().filter(|to| to.host.name() != from.host.name()) {
                for (port, proto) in targets(to) {
                    for family in Family::ALL {
                        let (Some(src), Some(dst)) = (from.host.address(family), to.host.address(family))
                        else {
                            continue;
                        };
                        let decision = state.evaluate(&packet(src, dst, port, proto));
                        let expect = if decision.is_allowed() { Expect::Allow } else { Expect::Deny };
                        let mut probe = Probe::new(&from.host, &to.host, dst, port, proto).expecting(expect);
                        if to.foreign {
                            probe.answerer = Answerer::Stranger;
                        }
                        probes.push(probe);
                        entries.push(Entry {
                            from: from.host.name().to_owned(),
                            to: to.host.name().to_owned(),
                            port,
                            protocol: proto.to_string(),
                            family: family.version(),
                            policy: decision.verdict.to_string(),
                            packets: String::new(),
                            agree: false,
                            reason: decision
                                .deciding()
                                .map(|s| format!("{}: {}", s.point, s.reason))
                                .unwrap_or_default(),
                        });
                    }
                }
            }
        }
        sink.progress(format!("{} probes", probes.len())).await;
        let outcomes = run_probes(probes).await?;
        let mut disagreements = 0;
        for (entry, (expect, verdict)) in entries.iter_mut().zip(outcomes) {
            entry.packets = word(&verdict);
            entry.agree = expect.is_none_or(|e| verdict.meets(e));
            if entry.agree {
                entry.reason.clear();
            } else {
                disagreements += 1;
            }
        }
        for chunk in entries.chunks(CHUNK) {
            sink.item(&chunk).await;
        }
        Ok(MatrixSummary {
            ends: ends.iter().map(|e| (e.host.name().to_owned(), e.group.clone())).collect(),
            probes: entries.len(),
            disagreements,
            milliseconds: started.elapsed().as_millis() as u64,
        })
    }
}

/// Ports to try: those it listens on, or an echo request.
fn targets(to: &End) -> Vec<(u16, Proto)> {
    let ports: Vec<(u16, Proto)> = to.listen.iter().filter_map(|l| Some((l.port, proto(l)?))).collect();
    if ports.is_empty() { vec![(0, Proto::Icmp)] } else { ports }
}

/// The evaluator's packet for a probe.
pub(crate) fn packet(src: IpAddr, dst: IpAddr, port: u16, proto: Proto) -> Packet {
    match proto {
        Proto::Tcp => Packet::to_port(src, dst, Protocol::TCP, port),
        Proto::Udp => Packet::to_port(src, dst, Protocol::UDP, port),
        Proto::Sctp => Packet::to_port(src, dst, Protocol::SCTP, port),
        Proto::Icmp => Packet::echo(src, dst),
    }
}

/// `allow`, `deny`, `reject`, or what went wrong.
pub(crate) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allowed => "allow".to_owned(),
        Verdict::Denied => "deny".to_owned(),
        Verdict::Rejected(_) => "reject".to_owned(),
        other => other.to_string(),
    }
}

/// Makes probes; answers expectation and finding of each, in order.
pub(crate) async fn run_probes(probes: Vec<Probe>) -> anyhow::Result<Vec<(Option<Expect>, Verdict)>> {
    tokio::task::spawn_blocking(move || {
        let outcomes = tortie_probe::run(&probes, &Options::default())?;
        Ok(probes.iter().map(|p| p.expect).zip(outcomes.into_iter().map(|o| o.verdict)).collect())
    })
    .await
    .map_err(|e| anyhow!("{e}"))?
    .map_err(|e: tortie_probe::RunError| anyhow!(e))
    .context("probing is impossible")
}
