//! Which verdicts a step does not touch, not even in passing.
//!
//! A step may take several writes, and nodes follow each of them in their own time. A pair counts as denied throughout
//! only if the same point (this pod's egress, that pod's ingress) denies it in every state in between: then no mixture of old and new
//! on different nodes can let it through. Likewise allowed throughout: allowed in every state.

use super::cast::Cast;
use crate::lab::Lab;
use crate::pods;
use crate::truth::Model;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_policy::{Point, State};
use tortie_scenario::{Expected, Fault, Operation, Peer, Probe, ProbePort, Step};

/// Positions of a step's probes whose verdict stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steady {
    pub(crate) denied: Vec<usize>,
    pub(crate) allowed: Vec<usize>,
}

/// What all states so far say of a probe.
enum Said {
    Allowed,
    DeniedAt(Point),
}

impl Lab {
    /// Follows the step's operations in the evaluator.
    pub(crate) async fn steady(self: &Arc<Self>, step: &Step) -> anyhow::Result<Steady> {
        let cast = Cast::of(self);
        let (entries, _) = self.store.records.list("/").await?;
        let mut objects: BTreeMap<String, Value> = entries
            .iter()
            .filter_map(|e| Some((e.key.to_string(), serde_json::from_slice(&e.value).ok()?)))
            .collect();
        let mut model = Model::of(&entries, &self.nodes);
        let mut said: BTreeMap<usize, Said> = BTreeMap::new();
        for (index, probe) in step.probes.iter().enumerate() {
            if let Some(first) = judge(&model.state, &cast, probe) {
                said.insert(index, first);
            }
        }
        for operation in &step.operations {
            match operation {
                Operation::Apply(object) => model.write(&object.path, Some(&object.value)),
                Operation::Delete { path, .. } => model.write(path, None),
                Operation::ChangePod(wish) => {
                    let name = pods::name_of(wish)?;
                    if let Some(current) = objects.get_mut(&name.path()) {
                        let node =
                            current.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
                        let wanted = wish.to_object(node);
                        pods::adjust(current, &wanted);
                        model.write(&name.path(), Some(current));
                    }
                    // Its ports may close.
                    let full_name = name.to_string();
                    let stays = |p: &Probe| match &p.to {
                        Peer::Pod(pod) if *pod == full_name => listens(wish, p.port),
                        _ => true,
                    };
                    said.retain(|i, s| {
                        matches!(s, Said::DeniedAt(_)) || step.probes.get(*i).is_some_and(stays)
                    });
                }
                Operation::DeletePod(name) => {
                    let peer = Peer::Pod(name.clone());
                    said.retain(|i, _| step.probes.get(*i).is_some_and(|p| p.from != peer && p.to != peer));
                    model.write(&name.parse::<pods::PodName>()?.path(), None);
                }
                Operation::Fault(Fault::Cut(_) | Fault::Heal(_) | Fault::RestartNode(_)) => {
                    said.retain(|_, s| matches!(s, Said::DeniedAt(_)));
                }
                // A new pod is in nobody's way, and what it changes for others is not known before it has an address.
                Operation::AddPod(_) | Operation::Fault(_) => continue,
            }
            said.retain(|index, before| {
                let now = step.probes.get(*index).and_then(|p| judge(&model.state, &cast, p));
                match (before, now) {
                    (Said::Allowed, Some(Said::Allowed)) => true,
                    (Said::DeniedAt(a), Some(Said::DeniedAt(b))) => *a == b,
                    _ => false,
                }
            });
        }
        let cut = self.any_cut();
        let mut steady = Steady::default();
        for (index, verdict) in said {
            let Some(probe) = step.probes.get(index) else { continue };
            match (verdict, probe.expected) {
                // A node's own filter works behind the place where arrivals are seen.
                (Said::DeniedAt(_), Expected::Deny | Expected::Reject)
                    if !matches!(probe.to, Peer::Node(_)) =>
                {
                    steady.denied.push(index);
                }
                (Said::Allowed, Expected::Allow) if !cut && holdable(probe) => steady.allowed.push(index),
                _ => {}
            }
        }
        Ok(steady)
    }
}

fn judge(state: &State, cast: &Cast, probe: &Probe) -> Option<Said> {
    let decision = state.evaluate(&cast.packet(probe)?);
    if decision.is_allowed() {
        return Some(Said::Allowed);
    }
    Some(Said::DeniedAt(decision.deciding()?.point.clone()))
}

fn listens(wish: &tortie_scenario::Pod, port: ProbePort) -> bool {
    match port {
        ProbePort::Icmp => true,
        ProbePort::Port(port, protocol) => {
            wish.listen.iter().any(|l| l.port == port && l.protocol == protocol)
        }
    }
}

/// Connections need a protocol that has them, and an end that listens.
fn holdable(probe: &Probe) -> bool {
    matches!(probe.port, ProbePort::Port(..)) && !matches!(probe.to, Peer::Node(_)) && super::speakable(probe)
}
