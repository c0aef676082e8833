//! Objects of Calico that are made of objects of Kubernetes: endpoints of pods, profiles of namespaces and service
//! accounts. For reading by name or kind; who reads everything gets the objects that they are made of.

use crate::kinds::{Kind, Place, Shape};
use crate::object::{DecodeError, Seen};
use serde::Deserialize;
use serde_json::Value;
use tortie_api::k8s::{Namespace, Pod, ServiceAccount};
use tortie_model::convert::k8s::{
    is_valid_endpoint, namespace_profile, namespace_profile_name, pod_to_workload_endpoint,
    profile_namespace, profile_service_account, service_account_profile, service_account_profile_name,
};
use tortie_model::convert::{Problems, wep_name::WepName};

/// What the names of interfaces on the host begin with.
const INTERFACE_PREFIX: &str = "cali";

/// Makes the object of Calico.
pub(crate) fn decode(kind: &Kind, object: &Value) -> Result<Seen, DecodeError> {
    let prefix = kind.prefixes.first().map_or("", String::as_str);
    let entry = |key: String, value: Value| Ok(Seen::Entry(key, value.to_string().into()));
    match kind.shape {
        Shape::NamespaceProfile => {
            let namespace = Namespace::deserialize(object)?;
            let key = format!("{prefix}{}", namespace_profile_name(&namespace.metadata.name));
            entry(key, serde_json::to_value(namespace_profile(&namespace))?)
        }
        Shape::AccountProfile => {
            let account = ServiceAccount::deserialize(object)?;
            let (namespace, name) = (&account.metadata.namespace, &account.metadata.name);
            let key = format!("{prefix}{}", service_account_profile_name(namespace, name));
            entry(key, serde_json::to_value(service_account_profile(&account))?)
        }
        _ => {
            let pod = Pod::deserialize(object)?;
            let mut problems = Problems::default();
            match pod_to_workload_endpoint(&pod, INTERFACE_PREFIX, &mut problems) {
                Some(endpoint) if is_valid_endpoint(&pod) => {
                    let key = format!("{prefix}{}/{}", pod.metadata.namespace, endpoint.metadata.name);
                    entry(key, serde_json::to_value(endpoint)?)
                }
                _ => Ok(Seen::Nothing),
            }
        }
    }
}

/// The object that a name is made of.
pub(crate) fn place(shape: Shape, rest: &str) -> Option<Place> {
    let (namespace, name) = match shape {
        Shape::NamespaceProfile => ("", profile_namespace(rest)?.to_owned()),
        Shape::AccountProfile => {
            let (namespace, name) = profile_service_account(rest)?;
            (namespace, name.to_owned())
        }
        _ => {
            let (namespace, name) = rest.split_once('/')?;
            (namespace, WepName::parse(name)?.workload)
        }
    };
    Some(Place { namespace: namespace.to_owned(), name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Group;
    use crate::kinds::kinds;
    use serde_json::json;

    const V3: &str = "/calico/resources/v3/projectcalico.org";

    #[test]
    fn endpoints_and_profiles_are_found_by_their_names() {
        let meta = |namespace: &str, name: &str| json!({"name": name, "namespace": namespace});
        let pod = json!({"metadata": meta("shop", "web-1"), "spec": {"nodeName": "n-1"}, "status": {"podIP": "10.0.0.1"}});
        let cases = [
            (
                format!("{V3}/workloadendpoints/shop/n--1-k8s-web--1-eth0"),
                "/api/v1/namespaces/shop/pods/web-1",
                pod,
            ),
            (
                format!("{V3}/profiles/kns.shop"),
                "/api/v1/namespaces/shop",
                json!({"metadata": {"name": "shop"}}),
            ),
            (
                format!("{V3}/profiles/ksa.shop.a.b"),
                "/api/v1/namespaces/shop/serviceaccounts/a.b",
                json!({"metadata": meta("shop", "a.b")}),
            ),
        ];
        let kinds = kinds(Group::V1);
        for (key, path, object) in cases {
            let (kind, place) = kinds.iter().find_map(|kind| Some((kind, kind.place(&key)?))).unwrap();
            assert_eq!(kind.path(&place), path);
            let Seen::Entry(found, value) = decode(kind, &object).unwrap() else {
                panic!("{key} is nothing")
            };
            assert_eq!(found, key);
            let value: Value = serde_json::from_slice(&value).unwrap();
            assert_eq!(value["apiVersion"], "projectcalico.org/v3");
        }
        let kind = kinds.iter().find(|kind| kind.shape == Shape::Endpoint).unwrap();
        let unscheduled = json!({"metadata": meta("shop", "web-2"), "spec": {}});
        assert_eq!(decode(kind, &unscheduled).unwrap(), Seen::Nothing);
        let profiles = format!("{V3}/profiles/");
        let chosen: Vec<_> =
            kinds.iter().filter_map(|k| k.scope(&profiles).map(|ns| k.collection(&ns))).collect();
        assert_eq!(chosen, ["/api/v1/namespaces", "/api/v1/serviceaccounts"]);
    }
}
