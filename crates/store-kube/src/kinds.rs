//! Where keys live in the API: which prefix is which collection, and which key is which object.
//!
//! Must not know what objects look like inside; that is [`crate::object`]'s.

use crate::config::Group;
use crate::{derived, names};
use tortie_api::v3::ResourceType;
use tortie_api::{k8s, v3};
use tortie_model::key::Key;

/// How the objects of a kind are told by values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A custom resource whose value is the object.
    Custom,
    /// The same; old objects of the default tier have a prefix in their names.
    Policy,
    /// An IPAM block.
    Block,
    /// A node's claim on a block.
    Affinity,
    /// The same as an object of projectcalico.org/v3; for reading.
    AffinityView,
    /// Addresses of an owner.
    Handle,
    /// Settings of IPAM as IPAM reads them.
    IpamConfig,
    /// A node of Kubernetes as a node of Calico.
    Node,
    /// The workload endpoint of a pod; for reading.
    Endpoint,
    /// The profile of a namespace; for reading.
    NamespaceProfile,
    /// The profile of a service account; for reading.
    AccountProfile,
    /// A Kubernetes object as it is, pruned.
    Native(&'static ResourceType),
}

/// A collection of the API, with its place in the key space.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// Prefixes of its keys, each ending in `/` unless it is a whole key.
    pub(crate) prefixes: Vec<String>,
    pub(crate) shape: Shape,
    /// Group, version and kind of the objects in the API.
    pub(crate) api_version: String,
    pub(crate) kind: &'static str,
    /// The kind that values show.
    pub(crate) shown: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// Seen only by who asks for nothing else: another kind shows the same objects.
    pub(crate) hidden: bool,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Empty for objects of the cluster.
    pub(crate) namespace: String,
    /// In the API.
    pub(crate) name: String,
}

const IPAM: &str = "/calico/ipam/v2/";
const VIEW_OF_AFFINITIES: &str = "blockaffinities";

/// All collections.
pub(crate) fn kinds(group: Group) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for resource in v3::RESOURCES {
        if let Some(kind) = of_v3(resource, group) {
            kinds.push(kind);
        }
    }
    let derived = |plural: &str, shape, shown, (kind, collection), namespaced| Kind {
        prefixes: vec![format!("{}{plural}/", v3::PATH_PREFIX)],
        shape,
        api_version: "v1".to_owned(),
        kind,
        shown,
        plural: collection,
        namespaced,
        hidden: true,
    };
    kinds.extend([
        derived("workloadendpoints", Shape::Endpoint, "WorkloadEndpoint", ("Pod", "pods"), true),
        derived("profiles", Shape::NamespaceProfile, "Profile", ("Namespace", "namespaces"), false),
        derived("profiles", Shape::AccountProfile, "Profile", ("ServiceAccount", "serviceaccounts"), true),
    ]);
    let ipam = |prefixes: &[&str], shape, kind, plural| Kind {
        prefixes: prefixes.iter().map(|p| format!("{IPAM}{p}")).collect(),
        shape,
        api_version: group.as_str().to_owned(),
        kind,
        shown: kind,
        plural,
        namespaced: false,
        hidden: false,
    };
    let (config, configs) = ipam_config(group);
    kinds.push(ipam(&["assignment/"], Shape::Block, "IPAMBlock", "ipamblocks"));
    kinds.push(ipam(&["host/", "virtual/"], Shape::Affinity, "BlockAffinity", "blockaffinities"));
    kinds.push(ipam(&["handle/"], Shape::Handle, "IPAMHandle", "ipamhandles"));
    kinds.push(ipam(&["config"], Shape::IpamConfig, config, configs));
    for resource in k8s::RESOURCES {
        kinds.push(Kind {
            prefixes: vec![resource.list_prefix(None)],
            shape: Shape::Native(resource),
            api_version: resource.api_version.to_owned(),
            kind: resource.kind,
            shown: resource.kind,
            plural: resource.plural,
            namespaced: resource.namespaced,
            hidden: resource.kind == "Node",
        });
    }
    kinds
}

fn ipam_config(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::V1 => ("IPAMConfig", "ipamconfigs"),
        Group::V3 => ("IPAMConfiguration", "ipamconfigurations"),
    }
}

fn of_v3(resource: &'static ResourceType, group: Group) -> Option<Kind> {
    let mut kind = Kind {
        prefixes: vec![resource.list_prefix(None)],
        shape: Shape::Custom,
        api_version: group.as_str().to_owned(),
        kind: resource.kind,
        shown: resource.kind,
        plural: resource.plural,
        namespaced: resource.namespaced,
        hidden: false,
    };
    match resource.kind {
        // Not stored: made of pods, namespaces and service accounts; virtual machines are not read at all.
        "WorkloadEndpoint" | "Profile" | "LiveMigration" | "IPAMConfig" => return None,
        "NetworkPolicy" | "GlobalNetworkPolicy" | "StagedNetworkPolicy" | "StagedGlobalNetworkPolicy" => {
            kind.shape = Shape::Policy;
        }
        "IPAMConfiguration" => (kind.kind, kind.plural) = ipam_config(group),
        "Node" => {
            kind.shape = Shape::Node;
            "v1".clone_into(&mut kind.api_version);
        }
        "BlockAffinity" => {
            kind.shape = Shape::AffinityView;
            kind.plural = VIEW_OF_AFFINITIES;
            kind.hidden = true;
        }
        _ => {}
    }
    Some(kind)
}

impl Kind {
    /// The kind as somebody sees it who wants only some keys.
    pub(crate) fn seen_by(mut self, wanted: Option<fn(&str) -> bool>) -> Self {
        let name = if self.namespaced { "any/any" } else { "any" };
        self.hidden |=
            wanted.is_some_and(|wanted| !self.prefixes.iter().any(|p| wanted(&format!("{p}{name}"))));
        self
    }

    /// Path of the collection, of one namespace if one is given.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        let root = if self.api_version.contains('/') { "apis" } else { "api" };
        if self.namespaced && !namespace.is_empty() {
            format!("/{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural)
        } else {
            format!("/{root}/{}/{}", self.api_version, self.plural)
        }
    }

    /// Path of an object.
    pub(crate) fn path(&self, place: &Place) -> String {
        format!("{}/{}", self.collection(&place.namespace), place.name)
    }

    /// The object of a key, if the key is one of this kind and has a name that Kubernetes takes.
    pub(crate) fn place(&self, key: &str) -> Option<Place> {
        let cluster = |name: String| Some(Place { namespace: String::new(), name });
        let place = match self.shape {
            Shape::Custom | Shape::Policy | Shape::Node | Shape::AffinityView | Shape::Native(_) => {
                let rest = key.strip_prefix(self.prefixes.first()?)?;
                let (namespace, name) = if self.namespaced { rest.split_once('/')? } else { ("", rest) };
                Some(Place { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            Shape::Endpoint | Shape::NamespaceProfile | Shape::AccountProfile => {
                derived::place(self.shape, key.strip_prefix(self.prefixes.first()?)?)
            }
            Shape::Block => match Key::from_path(key)? {
                Key::Block(cidr) => cluster(names::block(cidr)),
                _ => None,
            },
            Shape::Affinity => match Key::from_path(key)? {
                Key::BlockAffinity { host, cidr, .. } => cluster(names::affinity(&host, cidr)),
                _ => None,
            },
            Shape::Handle => match Key::from_path(key)? {
                Key::IpamHandle(id) => cluster(names::handle(&id)),
                _ => None,
            },
            Shape::IpamConfig => {
                if key == self.prefixes.first()? {
                    cluster("default".to_owned())
                } else {
                    None
                }
            }
        }?;
        let good = names::is_name(&place.name)
            && self.namespaced != place.namespace.is_empty()
            && (place.namespace.is_empty() || names::is_name(&place.namespace));
        good.then_some(place)
    }

    /// Where to look for the keys with a prefix: a namespace (empty for all), nothing if there are none.
    pub(crate) fn scope(&self, prefix: &str) -> Option<String> {
        let own = self.prefixes.iter().find(|own| prefix.starts_with(own.as_str()));
        let Some(own) = own else {
            let within = self.prefixes.iter().any(|own| own.starts_with(prefix));
            return (within && !self.hidden).then(String::new);
        };
        let (namespace, _) = prefix.get(own.len()..)?.split_once('/').unwrap_or_default();
        if !self.namespaced || namespace.is_empty() || self.shape == Shape::AccountProfile {
            return Some(String::new());
        }
        names::is_name(namespace).then(|| namespace.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kinds: &[Kind], key: &str) -> Option<String> {
        kinds.iter().find_map(|kind| kind.place(key).map(|place| kind.path(&place)))
    }

    #[test]
    fn keys_are_objects() {
        let v3 = "/calico/resources/v3/projectcalico.org";
        let cases = [
            (format!("{v3}/tiers/t"), Some("/apis/G/tiers/t")),
            (format!("{v3}/networkpolicies/ns/a.b"), Some("/apis/G/namespaces/ns/networkpolicies/a.b")),
            (format!("{v3}/nodes/n1"), Some("/api/v1/nodes/n1")),
            (format!("{v3}/tiers/a/b"), None),
            (format!("{v3}/tiers/"), None),
            (format!("{v3}/networkpolicies/ns"), None),
            (format!("{v3}/tiers/ключ"), None),
            (format!("{v3}/workloadendpoints/ns/w"), None),
            (format!("{v3}/profiles/mine"), None),
            (
                "/calico/ipam/v2/assignment/ipv4/block/10.0.0.64-26".into(),
                Some("/apis/G/ipamblocks/10-0-0-64-26"),
            ),
            (
                "/calico/ipam/v2/assignment/ipv6/block/fd00::40-122".into(),
                Some("/apis/G/ipamblocks/fd00--40-122"),
            ),
            (
                "/calico/ipam/v2/host/n.1/ipv4/block/10.0.0.64-26".into(),
                Some("/apis/G/blockaffinities/n.1-10-0-0-64-26"),
            ),
            (
                "/calico/ipam/v2/virtual/lb/ipv6/block/fd00::40-122".into(),
                Some("/apis/G/blockaffinities/lb-fd00--40-122"),
            ),
            ("/calico/ipam/v2/host/n.1".into(), None),
            ("/calico/ipam/v2/handle/Net.C1".into(), Some("/apis/G/ipamhandles/net.c1")),
            ("/tortie/kubernetes/pods/ns/p".into(), Some("/api/v1/namespaces/ns/pods/p")),
            ("/tortie/kubernetes/namespaces/ns".into(), Some("/api/v1/namespaces/ns")),
            (
                "/tortie/kubernetes/endpointslices/ns/e".into(),
                Some("/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/e"),
            ),
            ("/calico/v1/Ready".into(), None),
        ];
        for group in [Group::V1, Group::V3] {
            let kinds = kinds(group);
            for (key, path) in &cases {
                let path = path.map(|p| p.replace("/G/", &format!("/{}/", group.as_str())));
                assert_eq!(find(&kinds, key), path, "{key}");
            }
        }
        let config = |group| find(&kinds(group), "/calico/ipam/v2/config").unwrap();
        assert_eq!(config(Group::V1), "/apis/crd.projectcalico.org/v1/ipamconfigs/default");
        assert_eq!(config(Group::V3), "/apis/projectcalico.org/v3/ipamconfigurations/default");
    }

    #[test]
    fn prefixes_choose_collections() {
        let kinds = kinds(Group::V1);
        let chosen = |prefix: &str| -> Vec<String> {
            kinds.iter().filter_map(|k| k.scope(prefix).map(|ns| k.collection(&ns))).collect()
        };
        let v3 = "/calico/resources/v3/projectcalico.org";
        assert_eq!(chosen(&format!("{v3}/tiers/")), ["/apis/crd.projectcalico.org/v1/tiers"]);
        assert_eq!(chosen(&format!("{v3}/tiers/def")), ["/apis/crd.projectcalico.org/v1/tiers"]);
        assert_eq!(
            chosen(&format!("{v3}/networksets/ns/x")),
            ["/apis/crd.projectcalico.org/v1/namespaces/ns/networksets"]
        );
        assert_eq!(chosen(&format!("{v3}/networksets/n")), ["/apis/crd.projectcalico.org/v1/networksets"]);
        assert_eq!(chosen("/calico/ipam/v2/host/n1/"), ["/apis/crd.projectcalico.org/v1/blockaffinities"]);
        assert_eq!(chosen("/calico/ipam/v2/host"), ["/apis/crd.projectcalico.org/v1/blockaffinities"]);
        assert_eq!(chosen("/calico/ipam/v2/").len(), 4);
        assert_eq!(chosen("/tortie/kubernetes/nodes/"), ["/api/v1/nodes"]);
        assert!(chosen("/elsewhere/").is_empty());
        let all = chosen("/");
        assert_eq!(all, chosen(""));
        assert_eq!(all.iter().filter(|path| path.ends_with("/nodes")).count(), 1, "nodes are shown once");
        assert_eq!(all.iter().filter(|path| path.ends_with("/blockaffinities")).count(), 1);
    }

    #[test]
    fn what_is_not_wanted_is_seen_only_by_its_own_prefix() {
        let wanted: fn(&str) -> bool = |key| key.contains("/networksets/any/any") || key.contains("/pods/");
        let kinds: Vec<Kind> = kinds(Group::V3).into_iter().map(|kind| kind.seen_by(Some(wanted))).collect();
        let chosen = |prefix: &str| -> Vec<String> {
            kinds.iter().filter_map(|k| k.scope(prefix).map(|ns| k.collection(&ns))).collect()
        };
        assert_eq!(chosen("/"), ["/apis/projectcalico.org/v3/networksets", "/api/v1/pods"]);
        assert_eq!(chosen("/calico/ipam/v2/assignment/"), ["/apis/projectcalico.org/v3/ipamblocks"]);
        assert_eq!(chosen("/tortie/kubernetes/services/"), ["/api/v1/services"]);
    }
}
