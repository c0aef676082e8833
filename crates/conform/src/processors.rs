//! Suite `trace_update_processors`: projectcalico.org/v3 objects to keys and values of the model, one kind at a time.

use super::passed::passed;
use super::tagged::{NoKey, Tagged, split, write_key};
use super::{Answer, error, only, skip, text};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tortie_api::v3 as calico;
use tortie_model::convert::{Claims, Problems, v3};
use tortie_model::value::{BlockAffinity, Policy};
use tortie_model::{Change, Key, PolicyId, PolicyKind, ResourceKey, Value as Stored};
use tortie_net::Cidr;

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    let namespace = text(request, "namespace");
    let mut problems = Problems::new();
    match text(request, "op") {
        "process" => process(request),
        "rule" => match read::<calico::Rule>(request.get("rule")) {
            Ok(rule) => only("result", json!(v3::rule(&rule, namespace, "rule", &mut problems))),
            Err(reason) => error(reason),
        },
        "rules" => match read::<Option<Vec<calico::Rule>>>(request.get("rules")) {
            Ok(rules) => {
                let rules = v3::rules(&rules.unwrap_or_default(), namespace, "rules", &mut problems);
                only("result", json!(rules))
            }
            Err(reason) => error(reason),
        },
        "nets" | "normalize_nets" => match read::<Option<Vec<String>>>(request.get("nets")) {
            Ok(nets) => only("result", json!(v3::normalize_nets(&nets.unwrap_or_default()))),
            Err(reason) => error(reason),
        },
        other => skip(format!("op {other:?} is not known")),
    }
}

fn read<T: DeserializeOwned>(value: Option<&Value>) -> Result<T, String> {
    serde_json::from_value(value.cloned().unwrap_or(Value::Null)).map_err(|e| format!("cannot be read: {e}"))
}

fn process(request: &Value) -> Answer {
    let argument = request.pointer("/args/0").unwrap_or(&Value::Null);
    let Some(mut processor) = Processor::new(text(request, "processor"), argument) else {
        return skip(format!("the processor {:?} is not known here", text(request, "processor")));
    };
    let steps = request.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    only("steps", steps.iter().map(|step| Value::Object(processor.step(step))).collect::<Vec<_>>())
}

/// A converter of one kind of object, with what it has to remember.
struct Processor {
    name: String,
    /// Kind of the keys that it takes.
    kind: String,
    pod_cidrs: bool,
    claims: Claims,
    /// Parameters that only annotations have set.
    seen: BTreeSet<String>,
    /// The last prefixes of each node, as written.
    prefixes: HashMap<String, Vec<String>>,
}

/// One step's outcome.
#[derive(Default)]
struct Outcome {
    kvs: Vec<Value>,
    error: Option<String>,
}

impl Outcome {
    fn error(reason: impl Into<String>) -> Self {
        Self { error: Some(reason.into()), ..Self::default() }
    }

    fn changes(changes: Vec<Change>) -> Self {
        Self { kvs: changes.iter().map(kv).collect(), error: None }
    }

    fn one(key: Key, value: Option<Stored>) -> Self {
        Self::changes(vec![Change { key, value }])
    }

    fn with_problems(mut self, problems: &Problems) -> Self {
        let texts: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
        self.error = (!texts.is_empty()).then(|| texts.join("; "));
        self
    }

    fn into_answer(self) -> Answer {
        let mut answer = only("kvs", self.kvs);
        answer.extend(self.error.map(|reason| ("error".to_owned(), reason.into())));
        answer
    }
}

fn kv(change: &Change) -> Value {
    json!({"key": write_key(&change.key), "value": change.value.as_ref().map(Stored::to_json)})
}

/// A key, and the object under it unless that is gone.
struct Input<'a> {
    key: ResourceKey,
    /// Type and JSON of the object.
    value: Option<(&'a str, &'a Value)>,
}

impl Input<'_> {
    /// The object, if it is of a type. An error says what it is instead.
    fn object<T: DeserializeOwned>(&self, kind: &str) -> Result<Option<T>, String> {
        match self.value {
            None => Ok(None),
            Some((found, json)) if found == kind => read(Some(json)).map(Some),
            Some((found, _)) => Err(format!("expected a {kind}, found a {found}")),
        }
    }

    /// The object itself.
    fn passed_on(&self) -> Value {
        let key = write_key(&Key::Resource(self.key.clone()));
        json!({"key": key, "value": self.value.map(|(kind, json)| passed(kind, json))})
    }
}

impl Processor {
    fn new(name: &str, argument: &Value) -> Option<Self> {
        let kind = match name {
            "NetworkPolicy" | "GlobalNetworkPolicy" => argument.as_str().unwrap_or(name),
            "StagedGlobalNetworkPolicy"
            | "StagedNetworkPolicy"
            | "StagedKubernetesNetworkPolicy"
            | "Tier"
            | "Profile"
            | "IPPool"
            | "HostEndpoint"
            | "WorkloadEndpoint"
            | "NetworkSet"
            | "GlobalNetworkSet" => name,
            "FelixConfig" => "FelixConfiguration",
            "ClusterInfo" => "ClusterInformation",
            "FelixNode" | "BGPNode" => "Node",
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            pod_cidrs: argument.as_bool().unwrap_or(false),
            claims: Claims::default(),
            seen: BTreeSet::new(),
            prefixes: HashMap::new(),
        })
    }

    fn step(&mut self, step: &Value) -> Answer {
        if step.get("restart").and_then(Value::as_bool) == Some(true) {
            // Prefixes are not forgotten: those of a node that is gone meanwhile must still be removed.
            self.claims = Claims::default();
            self.seen.clear();
            return Answer::new();
        }
        let kv = step.get("kv").unwrap_or(&Value::Null);
        let key = match Tagged::read(kv.get("key").unwrap_or(&Value::Null)) {
            Ok(Tagged::Key(Key::Resource(key))) => key,
            Ok(_) | Err(NoKey::Unknown(_)) => return error(format!("expected the key of a {}", self.kind)),
            Err(NoKey::Bad(reason)) => return error(reason),
        };
        let is_config = matches!(self.name.as_str(), "FelixConfig" | "ClusterInfo");
        if key.kind != self.kind && !is_config {
            return error(format!("expected the key of a {}, found that of a {}", self.kind, key.kind));
        }
        let value = kv.get("value").filter(|v| !v.is_null()).map(split);
        self.convert(&Input { key, value }).into_answer()
    }

    fn convert(&mut self, input: &Input<'_>) -> Outcome {
        let result = match self.name.as_str() {
            "Profile" => profile(input),
            "IPPool" | "HostEndpoint" | "GlobalNetworkSet" => Ok(self.claim(input)),
            "FelixConfig" => self.felix_configuration(input),
            "ClusterInfo" => cluster_information(input),
            "FelixNode" | "BGPNode" => self.node(input),
            _ => self.simple(input),
        };
        result.unwrap_or_else(Outcome::error)
    }

    /// Kinds whose key follows from the name. What cannot be used is as if it were gone.
    fn simple(&self, input: &Input<'_>) -> Result<Outcome, String> {
        let ResourceKey { namespace, name, .. } = &input.key;
        let namespaced = matches!(
            self.name.as_str(),
            "NetworkPolicy" | "StagedNetworkPolicy" | "StagedKubernetesNetworkPolicy" | "NetworkSet"
        );
        if name.is_empty() || (namespaced && namespace.is_empty()) {
            return Err(format!("the key of a {} lacks its name or namespace", self.kind));
        }
        let mut problems = Problems::new();
        let value = self.simple_value(input, &mut problems);
        let key = match self.name.as_str() {
            "Tier" => Key::Tier(name.clone()),
            "NetworkSet" => Key::NetworkSet(format!("{namespace}/{name}")),
            "WorkloadEndpoint" => {
                let key = v3::workload_key(namespace, name, &mut problems);
                key.map(Key::WorkloadEndpoint).ok_or_else(|| format!("{name:?} does not name an endpoint"))?
            }
            _ => {
                let kind = PolicyKind::from_name(&self.kind).ok_or("the key is not that of a policy")?;
                let namespace = if namespaced { namespace.clone() } else { String::new() };
                Key::Policy(PolicyId { kind, namespace, name: name.clone() })
            }
        };
        // What makes a policy unusable is for who applies it to judge: it is passed on as it was written.
        let is_policy = matches!(key, Key::Policy(_));
        Ok(Outcome::one(key, value.filter(|_| is_policy || !problems.is_fatal())))
    }

    fn simple_value(&self, input: &Input<'_>, problems: &mut Problems) -> Option<Stored> {
        fn object<T: DeserializeOwned>(input: &Input<'_>, kind: &str) -> Option<T> {
            input.object(kind).ok().flatten()
        }
        let policy = |policy: Policy| Stored::Policy(Arc::new(policy));
        let kind = self.name.as_str();
        match kind {
            "NetworkPolicy" => Some(policy(v3::network_policy(&object(input, kind)?, problems))),
            "GlobalNetworkPolicy" => Some(policy(v3::global_network_policy(&object(input, kind)?, problems))),
            "StagedNetworkPolicy" => v3::staged_network_policy(&object(input, kind)?, problems).map(policy),
            "StagedGlobalNetworkPolicy" => {
                v3::staged_global_network_policy(&object(input, kind)?, problems).map(policy)
            }
            "StagedKubernetesNetworkPolicy" => {
                v3::staged_kubernetes_network_policy(&object(input, kind)?, problems).map(policy)
            }
            "Tier" => Some(Stored::Tier(v3::tier(&object(input, kind)?))),
            "NetworkSet" => {
                Some(Stored::NetworkSet(Arc::new(v3::network_set(&object(input, kind)?, problems))))
            }
            _ => {
                let endpoint = v3::workload_endpoint(&object(input, kind)?, problems)?;
                Some(Stored::WorkloadEndpoint(Arc::new(endpoint)))
            }
        }
    }

    /// Kinds of which several objects can claim one key.
    fn claim(&mut self, input: &Input<'_>) -> Outcome {
        let name = input.key.name.as_str();
        let claim = match self.claimed(input) {
            Ok(claim) => claim,
            Err(reason) => {
                let changes = self.claims.set(name, None);
                return Outcome { error: Some(reason), ..Outcome::changes(changes) };
            }
        };
        if claim.is_none() && !self.claims.knows(name) {
            return Outcome::error(format!("{} {name} is not known", self.kind));
        }
        Outcome::changes(self.claims.set(name, claim))
    }

    fn claimed(&self, input: &Input<'_>) -> Result<Option<(Key, Stored)>, String> {
        let mut problems = Problems::new();
        let claim = match self.name.as_str() {
            "IPPool" => input.object::<calico::IpPool>("IPPool")?.and_then(|pool| {
                let pool = v3::ip_pool(&pool, &mut problems)?;
                Some((Key::IpPool(pool.cidr), Stored::IpPool(Arc::new(pool))))
            }),
            "HostEndpoint" => {
                let endpoint = input.object::<calico::HostEndpoint>("HostEndpoint")?;
                if endpoint.as_ref().is_some_and(|e| e.spec.node.is_empty()) {
                    return Err("spec.node: must name the node whose interface this is".to_owned());
                }
                endpoint.map(|e| {
                    let key = Key::HostEndpoint { host: e.spec.node.clone(), id: e.metadata.name.clone() };
                    (key, Stored::HostEndpoint(Arc::new(v3::host_endpoint(&e, &mut problems))))
                })
            }
            _ => input.object::<calico::GlobalNetworkSet>("GlobalNetworkSet")?.map(|set| {
                let value = v3::global_network_set(&set, &mut problems);
                (Key::NetworkSet(set.metadata.name), Stored::NetworkSet(Arc::new(value)))
            }),
        };
        match problems.iter().find(|p| p.fatal) {
            Some(problem) => Err(format!("{}: {}", problem.field, problem.message)),
            None => Ok(claim),
        }
    }

    fn felix_configuration(&mut self, input: &Input<'_>) -> Result<Outcome, String> {
        let name = input.key.name.as_str();
        if v3::ConfigScope::of(name) == v3::ConfigScope::Selected {
            return Ok(Outcome { kvs: vec![input.passed_on()], error: None });
        }
        let object = input.object("FelixConfiguration")?;
        let mut problems = Problems::new();
        let changes = v3::felix_configuration(name, object.as_ref(), &mut self.seen, &mut problems);
        Ok(Outcome::changes(changes).with_problems(&problems))
    }

    fn node(&mut self, input: &Input<'_>) -> Result<Outcome, String> {
        let name = input.key.name.as_str();
        let node: Option<calico::Node> = input.object("Node")?;
        let mut problems = Problems::new();
        let bgp = self.name == "BGPNode";
        let convert = if bgp { v3::bgp_node } else { v3::felix_node };
        let mut changes = convert(name, node.as_ref(), &mut problems);
        if self.pod_cidrs {
            let now = node.as_ref().map(|n| n.typed_status().pod_cidrs).unwrap_or_default();
            let before = self.prefixes.remove(name).unwrap_or_default();
            let gone = before.iter().filter(|prefix| !now.contains(prefix));
            changes.extend(gone.filter_map(|prefix| prefix_change(name, prefix, bgp, false)));
            changes.extend(now.iter().filter_map(|prefix| prefix_change(name, prefix, bgp, true)));
            if !now.is_empty() {
                self.prefixes.insert(name.to_owned(), now);
            }
        }
        let mut outcome = Outcome::changes(changes).with_problems(&problems);
        if !bgp {
            let key = ResourceKey { namespace: String::new(), ..input.key.clone() };
            outcome.kvs.push(Input { key, value: input.value }.passed_on());
        }
        Ok(outcome)
    }
}

/// What a prefix from Kubernetes stands for: to the agent a block, to BGP a node's claim.
fn prefix_change(node: &str, prefix: &str, bgp: bool, there: bool) -> Option<Change> {
    let cidr: Cidr = prefix.parse().ok().filter(|_| prefix.contains('/'))?;
    if bgp {
        let key = Key::BlockAffinity { host: node.to_owned(), affinity_type: String::new(), cidr };
        let claim = BlockAffinity { state: "confirmed".to_owned(), deleted: false };
        return Some(Change { key, value: there.then_some(Stored::BlockAffinity(claim)) });
    }
    let [(key, value), _] = v3::pod_cidr_block(node, cidr);
    Some(Change { key, value: Some(value).filter(|_| there) })
}

fn cluster_information(input: &Input<'_>) -> Result<Outcome, String> {
    let name = input.key.name.as_str();
    if v3::ConfigScope::of(name) == v3::ConfigScope::Selected {
        return Ok(Outcome { kvs: vec![input.passed_on()], error: None });
    }
    let object = input.object("ClusterInformation")?;
    Ok(Outcome::changes(v3::cluster_information(name, object.as_ref())))
}

fn profile(input: &Input<'_>) -> Result<Outcome, String> {
    let name = &input.key.name;
    if name.is_empty() {
        return Err("the key of a Profile lacks its name".to_owned());
    }
    let mut problems = Problems::new();
    let object = input.object::<calico::Profile>("Profile").ok().flatten();
    let converted = object.map(|o| v3::profile(&o, &mut problems));
    let usable = Input { key: input.key.clone(), value: input.value.filter(|_| converted.is_some()) };
    let (rules, labels) = converted.unzip();
    let labels = labels.filter(|l| !l.is_empty()).map(|l| Stored::ProfileLabels(Arc::new(l)));
    let rules = rules.map(|r| Stored::ProfileRules(Arc::new(r)));
    let mut outcome = Outcome::changes(vec![
        Change { key: Key::ProfileLabels(name.clone()), value: labels },
        Change { key: Key::ProfileRules(name.clone()), value: rules },
    ]);
    outcome.kvs.push(usable.passed_on());
    Ok(outcome)
}
