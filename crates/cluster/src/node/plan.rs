//! What a Node should say, out of what it says, what its environment asks for, and what the machine has. Pure.

use super::NodeError;
use crate::detect::{Interface, InterfaceAddress, Machine, Method, MethodError, listed, of_machine};
use crate::object::{part, text};
use serde_json::{Value, json};
use std::net::IpAddr;
use tortie_api::v3::{self, AsNumber};
use tortie_net::Family;

/// What is asked of a node, by its environment.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// `CALICO_K8S_NODE_REF`: its name in Kubernetes, if that is another.
    pub node_ref: String,
    /// The datastore is that of Kubernetes.
    pub kubernetes: bool,
    /// False if somebody else brings packets from node to node: then addresses are nobody's business.
    pub networking: bool,
    /// Per family: `IP` and `IP6`.
    wanted: [Wanted; 2],
    /// `AS`.
    as_number: Option<AsNumber>,
    /// Not `DISABLE_NODE_IP_CHECK`.
    pub check_conflicts: bool,
}

/// A setting of the environment that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An address.
    #[error("{variable} cannot be {value:?}: write an {family} address, autodetect or none")]
    Address {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// The family that it must have.
        family: Family,
    },
    /// A method.
    #[error("{variable} is wrong")]
    Method {
        /// The variable.
        variable: &'static str,
        /// Why.
        source: MethodError,
    },
    /// An AS number.
    #[error("AS is wrong")]
    AsNumber(#[from] v3::AsNumberParseError),
}

#[derive(Clone, Debug)]
enum Wanted {
    /// Nothing is said.
    Open(Method),
    /// `none`: what is stored stays.
    Kept,
    /// `autodetect`.
    Detected(Method),
    /// Given, with or without its subnet.
    Given(InterfaceAddress, bool),
}

/// What a Node should be.
pub(super) struct Plan {
    pub(super) object: Value,
    /// It has an address that it did not have.
    pub(super) moved: bool,
    pub(super) notes: Vec<String>,
}

const VARIABLES: [(&str, &str); 2] = [("IP", "IP_AUTODETECTION_METHOD"), ("IP6", "IP6_AUTODETECTION_METHOD")];

impl NodeSpec {
    /// Reads the environment; all that is wrong with it.
    pub fn from_environment(
        name: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<SpecError>> {
        let get = |name: &str| environment(name).unwrap_or_default().trim().to_owned();
        let mut problems = Vec::new();
        let wanted = Family::ALL.map(|family| {
            wanted(family, &get).unwrap_or_else(|problem| {
                problems.push(problem);
                Wanted::Kept
            })
        });
        let as_number = match get("AS").as_str() {
            "" => None,
            text => text.parse().map_err(|e: v3::AsNumberParseError| problems.push(e.into())).ok(),
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name: name.to_owned(),
            node_ref: get("CALICO_K8S_NODE_REF"),
            kubernetes: get("DATASTORE_TYPE") == "kubernetes",
            networking: get("CALICO_NETWORKING_BACKEND") != "none",
            wanted,
            as_number,
            check_conflicts: get("DISABLE_NODE_IP_CHECK") != "true",
        })
    }

    /// Whether the address of a family is found by looking.
    pub(super) fn is_detected(&self, family: Family) -> bool {
        matches!(self.wanted(family), Wanted::Detected(_))
    }

    /// The node's name in Kubernetes.
    pub fn kubernetes_name(&self) -> &str {
        if self.node_ref.is_empty() { &self.name } else { &self.node_ref }
    }

    fn wanted(&self, family: Family) -> &Wanted {
        let [v4, v6] = &self.wanted;
        if family == Family::V4 { v4 } else { v6 }
    }
}

fn wanted(family: Family, get: &dyn Fn(&str) -> String) -> Result<Wanted, SpecError> {
    let (variable, method_variable) = VARIABLES[usize::from(family == Family::V6)];
    let method = || {
        get(method_variable).parse().map_err(|source| SpecError::Method { variable: method_variable, source })
    };
    match get(variable).as_str() {
        "" if family == Family::V4 => Ok(Wanted::Open(method()?)),
        // IPv6 is only where it is asked for.
        "" | "none" => Ok(Wanted::Kept),
        "autodetect" => Ok(Wanted::Detected(method()?)),
        given => {
            let address = given.parse::<InterfaceAddress>().ok().filter(|a| Family::of(a.addr) == family);
            address.map(|a| Wanted::Given(a, given.contains('/'))).ok_or_else(|| SpecError::Address {
                variable,
                value: given.to_owned(),
                family,
            })
        }
    }
}

/// The field of an address.
fn field(family: Family) -> &'static str {
    if family == Family::V4 { "ipv4Address" } else { "ipv6Address" }
}

/// An address of a Node, empty if it has none.
pub(super) fn address(node: &Value, family: Family) -> &str {
    node.pointer("/spec/bgp").and_then(|bgp| bgp.get(field(family))).and_then(Value::as_str).unwrap_or("")
}

/// What the Node should be.
pub(super) fn plan(
    stored: Option<&Value>,
    spec: &NodeSpec,
    machine: &dyn Machine,
    internal: &[IpAddr],
) -> Result<Plan, NodeError> {
    let kind = v3::by_kind("Node").expect("a kind of the table");
    let mut object = stored.cloned().unwrap_or_else(|| crate::object::new(kind, &spec.name, json!({})));
    let mut notes = Vec::new();
    let mut moved = false;
    if spec.networking {
        for family in Family::ALL {
            let before = stored.map_or("", |s| address(s, family)).to_owned();
            let now = chosen(family, &before, spec, machine, internal, &mut notes)?;
            moved |= now != before;
            if now != before && !now.is_empty() {
                if !before.is_empty() {
                    notes.push(format!("the node's {family} address changes from {before} to {now}; if that happens again and again, two nodes have this name"));
                }
                part_of_bgp(&mut object).insert(field(family).to_owned(), now.into());
            }
        }
        if Family::ALL.iter().all(|f| address(&object, *f).is_empty()) {
            return Err(NodeError::NoAddress {
                family: Family::V4,
                variable: "IP",
                reason: "neither IPv4 nor IPv6 is asked for".to_owned(),
            });
        }
        if let Some(AsNumber(number)) = spec.as_number {
            part_of_bgp(&mut object).insert("asNumber".to_owned(), number.into());
        }
        interfaces(&mut object, spec, machine)?;
    }
    if !spec.node_ref.is_empty() {
        let refs = json!([{"nodeName": spec.node_ref, "orchestrator": "k8s"}]);
        part(&mut object, "spec").insert("orchRefs".to_owned(), refs);
    }
    Ok(Plan { object, moved, notes })
}

/// The address of a family, empty if there is none.
fn chosen(
    family: Family,
    before: &str,
    spec: &NodeSpec,
    machine: &dyn Machine,
    internal: &[IpAddr],
    notes: &mut Vec<String>,
) -> Result<String, NodeError> {
    let (variable, _) = VARIABLES[usize::from(family == Family::V6)];
    let unseen = |reason| NodeError::Machine { reason };
    match spec.wanted(family) {
        Wanted::Detected(method) => find(method, family, before, machine, internal, notes),
        Wanted::Open(method) if before.is_empty() => find(method, family, before, machine, internal, notes),
        Wanted::Given(address, true) => {
            confirm(*address, variable, machine, notes)?;
            Ok(address.to_string())
        }
        Wanted::Given(address, false) => match of_machine(address.addr, machine).map_err(unseen)? {
            Some(found) => Ok(found.to_string()),
            None => {
                confirm(*address, variable, machine, notes)?;
                Ok(address.to_string())
            }
        },
        Wanted::Open(_) | Wanted::Kept => {
            if let Ok(address) = before.parse() {
                confirm(address, "the Node", machine, notes)?;
            }
            Ok(before.to_owned())
        }
    }
}

fn find(
    method: &Method,
    family: Family,
    before: &str,
    machine: &dyn Machine,
    internal: &[IpAddr],
    notes: &mut Vec<String>,
) -> Result<String, NodeError> {
    let (variable, _) = VARIABLES[usize::from(family == Family::V6)];
    match method.find(family, machine, internal) {
        Ok(found) => Ok(found.to_string()),
        Err(reason) if before.is_empty() => Err(NodeError::NoAddress { family, variable, reason }),
        Err(reason) => {
            notes.push(format!("no {family} address was found ({reason}); {before} is kept"));
            Ok(before.to_owned())
        }
    }
}

/// Notes an address that is not this machine's.
fn confirm(
    address: InterfaceAddress,
    origin: &str,
    machine: &dyn Machine,
    notes: &mut Vec<String>,
) -> Result<(), NodeError> {
    let found = of_machine(address.addr, machine).map_err(|reason| NodeError::Machine { reason })?;
    if found.is_none() {
        notes.push(format!("{} from {origin} is on no interface of this host", address.addr));
    }
    Ok(())
}

/// The Node's list of interfaces, of the families that are asked for by name.
fn interfaces(object: &mut Value, spec: &NodeSpec, machine: &dyn Machine) -> Result<(), NodeError> {
    let asked = |f: &Family| matches!(spec.wanted(*f), Wanted::Detected(_) | Wanted::Given(..));
    let families: Vec<Family> = Family::ALL.into_iter().filter(asked).collect();
    let spec = part(object, "spec");
    if families.is_empty() {
        return Ok(());
    }
    let all = machine.interfaces().and_then(|all| listed(all, &families));
    let all = all.map_err(|reason| NodeError::Machine { reason })?;
    let of = |i: &Interface| {
        let addresses: Vec<String> = i.addresses.iter().map(|a| a.addr.to_string()).collect();
        if addresses.is_empty() {
            json!({"name": i.name})
        } else {
            json!({"name": i.name, "addresses": addresses})
        }
    };
    spec.insert("interfaces".to_owned(), all.iter().map(of).collect());
    Ok(())
}

/// The Node without addresses of these families; `None` if it has none of them.
pub(super) fn clear(stored: &Value, families: &[Family]) -> Option<Value> {
    let mut object = stored.clone();
    let bgp = object.pointer_mut("/spec/bgp")?.as_object_mut()?;
    let before = bgp.len();
    for family in families {
        bgp.shift_remove(field(*family));
    }
    if bgp.len() == before {
        return None;
    }
    if bgp.is_empty() {
        part(&mut object, "spec").shift_remove("bgp");
    }
    Some(object)
}

/// Other nodes with an address of this one, and which.
pub(super) fn conflicts(node: &Value, name: &str, others: &[Value]) -> Vec<(String, IpAddr)> {
    let of = |node: &Value, family| address(node, family).parse::<InterfaceAddress>().ok().map(|a| a.addr);
    let mut found = Vec::new();
    for other in others.iter().filter(|o| text(o, "/metadata/name") != name) {
        for family in Family::ALL {
            if let Some(address) = of(node, family).filter(|a| of(other, family) == Some(*a)) {
                found.push((text(other, "/metadata/name").to_owned(), address));
            }
        }
    }
    found
}

fn part_of_bgp(node: &mut Value) -> &mut serde_json::Map<String, Value> {
    let spec = part(node, "spec");
    let bgp = spec.entry("bgp").or_insert_with(|| json!({}));
    if !bgp.is_object() {
        *bgp = json!({});
    }
    bgp.as_object_mut().expect("made an object just above")
}
