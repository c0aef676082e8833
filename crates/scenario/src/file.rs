//! The fields of a scenario file.

use crate::decode::{Field, Fields};
use crate::object::{Meaning, Origin, meaning};
use crate::plan::Outside;
use crate::pod::{Listen, Pod};
use crate::pool::{check_pools, parse_pool};
use crate::problem::Problem;
use crate::{address, matrix};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_api::document::{Document, read};
use tortie_net::{Cidr, Family};

/// A text with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How messages call it: its path.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Gives the files that a scenario refers to.
pub trait Loader {
    /// The file at a path relative to the scenario, or the YAML and JSON files of a directory in order of their names.
    fn load(&self, path: &str) -> Result<Vec<Source>, String>;
}

impl<F: Fn(&str) -> Result<Vec<Source>, String>> Loader for F {
    fn load(&self, path: &str) -> Result<Vec<Source>, String> {
        self(path)
    }
}

/// Fields of a pod in a scenario.
pub(crate) const POD_FIELDS: [&str; 7] =
    ["name", "node", "labels", "serviceAccount", "listen", "annotations", "addresses"];

/// Most nodes of a lab.
const MAX_NODES: u64 = 200;

/// The head of a scenario.
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) nodes: usize,
    pub(crate) families: Vec<Family>,
    pub(crate) pools: Vec<Cidr>,
    pub(crate) own_pools: bool,
    pub(crate) outside: Vec<Outside>,
    /// Labels of namespaces.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// Reads everything but pods, objects and steps.
pub(crate) fn head(fields: &Fields<'_>) -> Head {
    if let Some(version) = fields.need("scenario")
        && version.text().is_some_and(|t| t != "v1")
    {
        version.problem("this is not a version of scenarios that is known here; known is v1");
    }
    let nodes = fields.get("nodes").and_then(|f| f.number(1..=MAX_NODES)).unwrap_or(3) as usize;
    let families = match fields.get("families") {
        Some(field) => families(&field),
        None => Family::ALL.to_vec(),
    };
    let own_pools = fields.get("pools").is_some();
    let pools: Vec<Cidr> = if own_pools {
        pools(&fields.items("pools"))
    } else {
        address::DEFAULT_POOLS.iter().filter_map(|p| p.parse().ok()).collect()
    };
    if let (true, Some(field)) = (own_pools, fields.get("pools")) {
        for family in families.iter().filter(|f| !pools.iter().any(|p| p.family() == **f)) {
            field.problem(format!(
                "there is no {family} pool, but {family} is to be probed; say families: or add one"
            ));
        }
    }
    let mut outside: Vec<Outside> = Vec::new();
    for field in fields.items("outside") {
        if let Some(host) = outside_host(&field, outside.len()) {
            if outside.iter().any(|o| o.name == host.name) {
                field.problem(format!("there is an outside host {} already", host.name));
            }
            outside.push(host);
        }
    }
    let mut namespaces = BTreeMap::new();
    for field in fields.items("namespaces") {
        let Some(namespace) = field.fields(&["name", "labels"]) else { continue };
        let name = namespace.need("name").and_then(|n| n.text());
        let labels = namespace.string_map("labels");
        if let Some(name) = name {
            if !is_dns_label(name) {
                field.problem(format!("{name:?} is no name of a namespace"));
            }
            if namespaces.insert(name.to_owned(), labels).is_some() {
                field.problem(format!("namespace {name} is there twice"));
            }
        }
    }
    Head {
        name: fields.need("name").and_then(|f| f.text()).unwrap_or_default().to_owned(),
        about: fields.text("about").unwrap_or_default().to_owned(),
        nodes,
        families,
        pools,
        own_pools,
        outside,
        namespaces,
    }
}

/// The pools of a scenario, which must work in a lab.
fn pools(items: &[Field<'_>]) -> Vec<Cidr> {
    let (mut pools, mut of) = (Vec::new(), Vec::new());
    for item in items {
        match item.text().map(parse_pool) {
            Some(Ok(pool)) => {
                pools.push(pool);
                of.push(item);
            }
            Some(Err(error)) => item.problem(format!("{}: {error}", item.path())),
            None => {}
        }
    }
    for (index, error) in check_pools(&pools) {
        if let Some(item) = of.get(index) {
            item.problem(format!("{}: {error}", item.path()));
        }
    }
    pools
}

/// `[4, 6]`.
pub(crate) fn families(field: &Field<'_>) -> Vec<Family> {
    let mut families = Vec::new();
    for item in field.items() {
        match item.value().as_u64().and_then(matrix::family) {
            Some(family) if families.contains(&family) => item.problem(format!("{family} is there twice")),
            Some(family) => families.push(family),
            None => item.problem("a family is 4 or 6"),
        }
    }
    if families.is_empty() {
        field.problem("at least one family is needed");
    }
    families.sort();
    families
}

fn outside_host(field: &Field<'_>, index: usize) -> Option<Outside> {
    let fields = field.fields(&["name", "listen", "addresses"])?;
    let name = fields.need("name")?.text()?;
    if !is_dns_label(name) {
        field.problem(format!("{name:?} is no name of a host"));
    }
    let own = addresses(&fields);
    Some(Outside {
        name: name.to_owned(),
        listen: listen(&fields),
        own_addresses: !own.is_empty(),
        addresses: if own.is_empty() { address::outside_addresses(index).to_vec() } else { own },
    })
}

/// A pod in the short form.
pub(crate) fn pod(field: &Field<'_>, nodes: usize) -> Option<Pod> {
    let fields = field.fields(&POD_FIELDS)?;
    let node = fields.get("node").and_then(|f| f.number(1..=nodes as u64));
    let (labels, annotations) = (fields.string_map("labels"), fields.string_map("annotations"));
    let service_account = fields.text("serviceAccount").unwrap_or_default().to_owned();
    let (listen, addresses) = (listen(&fields), addresses(&fields));
    let full_name = fields.need("name")?;
    let Some((namespace, name)) = pod_name(full_name.text()?) else {
        full_name.problem("a pod is named namespace/name, of a-z, 0-9 and -: at most 63 and 253 characters");
        return None;
    };
    Some(Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        node: node.unwrap_or(0) as usize,
        labels,
        annotations,
        service_account,
        listen,
        addresses,
        owner: None,
        spec: serde_json::Value::Null,
    })
}

/// The two parts of a pod's name.
pub(crate) fn pod_name(text: &str) -> Option<(&str, &str)> {
    /// A subdomain of DNS, as Kubernetes has it.
    const LONGEST: usize = 253;
    text.split_once('/')
        .filter(|(ns, name)| is_dns_label(ns) && name.len() <= LONGEST && name.split('.').all(is_dns_label))
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn listen(fields: &Fields<'_>) -> Vec<Listen> {
    let mut ports: Vec<Listen> = Vec::new();
    for field in fields.items("listen") {
        let Some(port) = field.parse::<Listen>() else { continue };
        if ports.iter().any(|p| p.port == port.port && p.protocol == port.protocol) {
            field.problem(format!("{} is there twice", port.bare()));
        } else {
            ports.push(port);
        }
    }
    ports
}

/// At most one address of a family.
fn addresses(fields: &Fields<'_>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for field in fields.items("addresses") {
        let Some(address) = field.parse::<IpAddr>() else { continue };
        if found.iter().any(|a| Family::of(*a) == Family::of(address)) {
            field.problem(format!("there is a second {} address", Family::of(address)));
        } else {
            found.push(address);
        }
    }
    found.sort();
    found
}

/// The documents of a list of inline documents and paths.
pub(crate) fn objects(
    list: &Field<'_>,
    document: &Arc<Document>,
    loader: &dyn Loader,
    problems: &mut Vec<Problem>,
) -> Vec<Meaning> {
    let mut meanings = Vec::new();
    for item in list.items() {
        if item.value().is_object() {
            let origin = Origin { document: document.clone(), prefix: item.path().to_owned() };
            meanings.extend(meaning(item.value(), origin, problems));
            continue;
        }
        let Some(path) = item.value().as_str() else {
            item.problem("an object is a document or the path of a file");
            continue;
        };
        match loader.load(path) {
            Ok(sources) if sources.is_empty() => item.problem(format!("{path} holds no YAML or JSON files")),
            Ok(sources) => sources.iter().for_each(|s| file_objects(s, &mut meanings, problems)),
            Err(error) => item.problem(error),
        }
    }
    meanings
}

fn file_objects(source: &Source, meanings: &mut Vec<Meaning>, problems: &mut Vec<Problem>) {
    let parsed = read(&source.name, &source.text);
    problems.extend(parsed.errors.into_iter().map(|e| Problem::new(&e.source_name, e.position, e.message)));
    for document in parsed.documents {
        let document = Arc::new(document);
        let origin = Origin { document: document.clone(), prefix: String::new() };
        meanings.extend(meaning(&document.value, origin, problems));
    }
}
