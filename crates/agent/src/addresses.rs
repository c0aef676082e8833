//! Which addresses a pod wants: network configuration, namespace annotations, pod annotations; the last one wins.

use serde_json::Value;
use std::net::IpAddr;
use tortie_agent_api::CniArgs;
use tortie_ipam::{AssignRequest, Counts, Facts, HandleId, PoolRef};

const ANNOTATION: &str = "cni.projectcalico.org/";

/// What is known of the pod's surroundings.
pub(crate) struct Context<'a> {
    pub(crate) pod: &'a Value,
    pub(crate) namespace: Option<&'a Value>,
    pub(crate) node: &'a str,
    /// Families that have a pool at all: the default when the configuration does not choose.
    pub(crate) available: Counts,
}

/// One address of each family that has an enabled pool.
pub(crate) fn available(facts: &Facts) -> Counts {
    let any = |v4: bool| usize::from(facts.pools.iter().any(|p| p.enabled && p.cidr.addr().is_ipv4() == v4));
    Counts { v4: any(true), v6: any(false) }
}

/// The request for a pod's addresses. The error names the field that cannot be understood.
pub(crate) fn request(
    args: &CniArgs,
    handle: HandleId,
    context: &Context<'_>,
) -> Result<AssignRequest, String> {
    let mut request = AssignRequest::for_pod(handle, context.node, &args.namespace, &args.pod);
    request.counts = Counts {
        v4: flag(&args.ipam, "assign_ipv4")?.map_or(context.available.v4.min(1), usize::from),
        v6: flag(&args.ipam, "assign_ipv6")?.map_or(context.available.v6.min(1), usize::from),
    };
    request.namespace_labels = context
        .namespace
        .and_then(|n| n.pointer("/metadata/labels")?.as_object().cloned())
        .map(|labels| labels.into_iter().filter_map(|(k, v)| Some((k, v.as_str()?.to_owned()))).collect());
    for field in ["ipv4_pools", "ipv6_pools"] {
        let listed = args.ipam.get(field).and_then(Value::as_array);
        request.pools.extend(listed.into_iter().flatten().filter_map(Value::as_str).map(PoolRef::from));
    }
    for name in ["ipv4pools", "ipv6pools"] {
        if let Some(pools) = list(context, name)? {
            let v6 = name == "ipv6pools";
            // The annotation replaces what the configuration says for its family; a pool's name may be of either.
            request.pools.retain(|p| matches!(p, PoolRef::Cidr(c) if c.addr().is_ipv6() != v6));
            request.pools.extend(pools.iter().map(|p| PoolRef::from(p.as_str())));
        }
    }
    request.wanted.clone_from(&args.ips);
    if let Some(addresses) = list(context, "ipAddrs")? {
        request.wanted = addresses
            .iter()
            .map(|a| {
                a.parse().map_err(|_| format!("annotation {ANNOTATION}ipAddrs: {a:?} is not an IP address"))
            })
            .collect::<Result<Vec<IpAddr>, String>>()?;
        let of = |v4: bool| request.wanted.iter().filter(|a| a.is_ipv4() == v4).count();
        if of(true) > 1 || of(false) > 1 {
            return Err(format!("annotation {ANNOTATION}ipAddrs: at most one address per family"));
        }
        // Fixed addresses mean these and no others.
        request.counts = Counts { v4: of(true), v6: of(false) };
    }
    if request.counts.v4 + request.counts.v6 + request.wanted.len() == 0 {
        return Err("no address family is asked for: no pool exists, or ipam.assign_ipv4 and ipam.assign_ipv6 are both false".to_owned());
    }
    Ok(request)
}

/// `"true"`, `"false"`, `true` or `false`; Calico writes strings.
fn flag(ipam: &Value, field: &str) -> Result<Option<bool>, String> {
    match ipam.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(b)) => Ok(Some(*b)),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(other) => {
            Err(format!("network configuration: ipam.{field} is {other}, expected \"true\" or \"false\""))
        }
    }
}

/// An annotation that holds a JSON list of strings; the pod's wins over the namespace's.
fn list(context: &Context<'_>, name: &str) -> Result<Option<Vec<String>>, String> {
    let key = format!("{ANNOTATION}{name}");
    let of =
        |object: &Value| object.get("metadata")?.get("annotations")?.get(&key)?.as_str().map(str::to_owned);
    let Some(text) = of(context.pod).or_else(|| context.namespace.and_then(of)) else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| format!("annotation {key}: expected a JSON list of strings, as [\"10.0.0.1\"]: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(ipam: Value, pod: &Value, namespace: Option<&Value>) -> Result<AssignRequest, String> {
        let args = CniArgs { namespace: "shop".into(), pod: "web".into(), ipam, ..CniArgs::default() };
        let context = Context { pod, namespace, node: "n1", available: Counts { v4: 1, v6: 0 } };
        request(&args, "k8s-pod-network.c1".into(), &context)
    }

    fn annotated(name: &str, value: &str) -> Value {
        json!({"metadata": {"annotations": {format!("{ANNOTATION}{name}"): value}}})
    }

    #[test]
    fn families_and_pools() {
        let none = json!({});
        let r = ask(Value::Null, &none, None).unwrap();
        assert_eq!(r.counts, Counts { v4: 1, v6: 0 }, "what there are pools for");
        let r = ask(json!({"assign_ipv4": "false", "assign_ipv6": true}), &none, None).unwrap();
        assert_eq!(r.counts, Counts { v4: 0, v6: 1 });
        assert!(ask(json!({"assign_ipv4": "maybe"}), &none, None).unwrap_err().contains("assign_ipv4"));
        assert!(ask(json!({"assign_ipv4": "false"}), &none, None).is_err());

        let namespace = annotated("ipv4pools", "[\"10.1.0.0/16\"]");
        let r =
            ask(json!({"ipv4_pools": ["10.9.0.0/16"], "ipv6_pools": ["fd00::/64"]}), &none, Some(&namespace))
                .unwrap();
        assert_eq!(r.pools, [PoolRef::from("fd00::/64"), PoolRef::from("10.1.0.0/16")]);
        let pod = annotated("ipv4pools", "[\"special\"]");
        let r = ask(Value::Null, &pod, Some(&namespace)).unwrap();
        assert_eq!(r.pools, [PoolRef::from("special")]);
        let pod = annotated("ipv4pools", "special");
        assert!(ask(Value::Null, &pod, None).unwrap_err().contains("ipv4pools"));
    }

    #[test]
    fn fixed_addresses() {
        let pod = annotated("ipAddrs", "[\"10.65.0.7\",\"fd65::7\"]");
        let r = ask(Value::Null, &pod, None).unwrap();
        assert_eq!((r.wanted.len(), r.counts), (2, Counts { v4: 1, v6: 1 }));
        for bad in ["[\"10.65.0.7\",\"10.65.0.8\"]", "[\"x\"]", "10.65.0.7"] {
            let pod = annotated("ipAddrs", bad);
            assert!(ask(Value::Null, &pod, None).unwrap_err().contains("ipAddrs"), "{bad}");
        }
    }
}
