//! cluster diags: what the datastore holds and what Calico's pods say, in one archive.
//!
//! Secrets are not collected. Pods and their logs are asked for with kubectl, if it is there.

use super::bundle::{Bundle, Probe};
use super::{Common, Failure, Outcome, Surroundings};
use crate::client::{Client, text};
use crate::resources::columns::Columns;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use tortie_api::document::to_yaml;
use tortie_api::v3;
use tortie_causes::chain;

/// Namespaces of Calico's own pods.
const NAMESPACES: [&str; 4] = ["kube-system", "calico-system", "calico-apiserver", "tigera-operator"];
/// Names of its components begin so.
const COMPONENTS: [&str; 3] = ["calico", "tigera", "typha"];
/// Where address management is.
const IPAM: &str = "/calico/ipam/v2/";

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) since: String,
    pub(crate) max_logs: i64,
    pub(crate) max_parallelism: i64,
    pub(crate) focus_nodes: String,
    /// Leave what was collected beside the archive.
    pub(crate) keep: bool,
}

/// Runs the command; the archive is written to the current directory.
pub(crate) async fn diags(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let wrong = |told: String| Failure::OnStdout(format!("Error executing command: {told}"));
    if !options.since.is_empty() && !is_duration(&options.since) {
        let since = &options.since;
        return Err(wrong(format!("invalid duration for since flag (try 10s, 5m, or 1h): {since}")));
    }
    if options.max_logs < 0 {
        return Err(wrong("negative value for max-logs flag".to_owned()));
    }
    if options.max_parallelism < 1 {
        return Err(wrong("max-parallelism flag needs at least 1".to_owned()));
    }
    writeln!(world.out, "==== Begin collecting diagnostics. ====")?;
    let bundle = Bundle::new("calico-diagnostics")?;
    match common.unchecked_client(world).await {
        Ok(client) => datastore(&client, &bundle, world).await?,
        Err(Failure::Message(told) | Failure::OnStdout(told)) => {
            writeln!(world.out, "The datastore cannot be asked: {told}")?;
            bundle.add("datastore/error.txt", told.as_bytes())?;
        }
    }
    kubernetes(options, &bundle, world)?;
    let archive = bundle.pack("calico-diagnostics", Some(Path::new(".")), options.keep)?;
    writeln!(world.out, "\nDiagnostic bundle available at {}", archive.display())?;
    Ok(())
}

/// `10s`, `5m`, `1h`.
fn is_duration(text: &str) -> bool {
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    text.len() == digits.len() + 1 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Every object of every kind, and address management.
async fn datastore(client: &Client, bundle: &Bundle, world: &mut Surroundings<'_>) -> Outcome {
    for kind in v3::RESOURCES.iter().filter(|kind| Columns::of(kind).is_some()) {
        writeln!(world.out, "Collecting {} ...", kind.plural)?;
        let text = match client.list(kind, None).await {
            Ok(listed) => to_yaml(&json!({
                "kind": format!("{}List", kind.kind),
                "apiVersion": v3::API_VERSION,
                "metadata": {"resourceVersion": listed.revision.to_string()},
                "items": listed.items,
            })),
            Err(error) => format!("# {}\n", chain(&error)),
        };
        bundle.add(&format!("datastore/{}.yaml", kind.plural), text.as_bytes())?;
    }
    writeln!(world.out, "Collecting IPAM ...")?;
    let mut lines = String::new();
    match client.store().list(IPAM).await {
        Ok(list) => {
            for entry in list.entries {
                let value: Value = serde_json::from_slice(&entry.value)
                    .unwrap_or_else(|_| String::from_utf8_lossy(&entry.value).into_owned().into());
                let line = json!({"key": &*entry.key, "revision": entry.revision, "value": value});
                lines.push_str(&format!("{line}\n"));
            }
        }
        Err(error) => lines = chain(&error) + "\n",
    }
    bundle.add("datastore/ipam.jsonl", lines.as_bytes())
}

/// What Kubernetes knows about nodes and Calico's pods, and their logs.
fn kubernetes(options: &Options, bundle: &Bundle, world: &mut Surroundings<'_>) -> Outcome {
    let pods = Probe::new("", "kubectl get pods -A -o json", "");
    let listed = match pods.run() {
        Ok((text, true)) => serde_json::from_slice::<Value>(&text).unwrap_or_default(),
        Ok((text, false)) => {
            let told = String::from_utf8_lossy(&text).into_owned();
            writeln!(world.out, "Kubernetes cannot be asked: {}", told.trim_end())?;
            return bundle.add("cluster/error.txt", told.as_bytes());
        }
        Err(error) => {
            writeln!(
                world.out,
                "unable to locate kubectl in PATH ({error}); pods and logs are not collected"
            )?;
            return bundle.add("cluster/error.txt", format!("kubectl: {error}\n").as_bytes());
        }
    };
    for (what, arguments) in [
        ("version", "version -o yaml"),
        ("nodes", "get nodes -o wide"),
        ("nodes.yaml", "get nodes -o yaml"),
        ("pods", "get pods -A -o wide"),
        ("daemonsets", "get daemonsets -A -o wide"),
        ("deployments", "get deployments -A -o wide"),
        ("services", "get services -A -o wide"),
        ("networkpolicies.yaml", "get networkpolicies -A -o yaml"),
        ("events", "get events -A --sort-by=.metadata.creationTimestamp"),
    ] {
        let probe = Probe::new(
            &format!("Collecting {what} ..."),
            &format!("kubectl {arguments}"),
            &format!("cluster/{what}"),
        );
        bundle.probe(&probe, world)?;
    }
    let probes = log_probes(&listed, options);
    writeln!(world.out, "Collecting logs of {} pods ...", probes.len())?;
    let outputs = in_parallel(&probes, usize::try_from(options.max_parallelism).unwrap_or(1));
    for (probe, output) in probes.iter().zip(outputs) {
        bundle.add(&probe.file, &output)?;
    }
    Ok(())
}

/// Questions for the logs of Calico's pods: so many of each component, on nodes in focus first.
fn log_probes(pods: &Value, options: &Options) -> Vec<Probe> {
    let focus: Vec<&str> =
        options.focus_nodes.split(',').map(str::trim).filter(|node| !node.is_empty()).collect();
    let mut ours: Vec<&Value> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| {
            NAMESPACES.contains(&text(pod, "/metadata/namespace"))
                && COMPONENTS.iter().any(|name| text(pod, "/metadata/name").starts_with(name))
        })
        .collect();
    ours.sort_by_key(|pod| {
        let place = focus.iter().position(|node| *node == text(pod, "/spec/nodeName"));
        (component(pod).to_owned(), place.unwrap_or(usize::MAX), text(pod, "/metadata/name").to_owned())
    });
    let (mut probes, mut last, mut taken) = (Vec::new(), String::new(), 0);
    for pod in ours {
        if component(pod) != last {
            component(pod).clone_into(&mut last);
            taken = 0;
        }
        if taken >= options.max_logs {
            continue;
        }
        taken += 1;
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let since =
            if options.since.is_empty() { String::new() } else { format!(" --since={}", options.since) };
        let line =
            format!("kubectl logs -n {namespace} {name} --all-containers --prefix --timestamps{since}");
        probes.push(Probe::new("", &line, &format!("logs/{namespace}/{name}.log")));
    }
    probes
}

/// What a pod is one of: the name of its owner without the hash of a ReplicaSet.
fn component(pod: &Value) -> &str {
    let owner = text(pod, "/metadata/ownerReferences/0/name");
    match text(pod, "/metadata/ownerReferences/0/kind") {
        "ReplicaSet" => owner.rsplit_once('-').map_or(owner, |(name, _)| name),
        _ => owner,
    }
}

/// Runs programs side by side; answers their outputs in order.
fn in_parallel(probes: &[Probe], workers: usize) -> Vec<Vec<u8>> {
    let next = Mutex::new(0..probes.len());
    let outputs: Vec<Mutex<Vec<u8>>> = probes.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers.min(probes.len()) {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().expect("no worker panics with the lock").next();
                    let Some((probe, slot)) = taken.and_then(|i| probes.get(i).zip(outputs.get(i))) else {
                        return;
                    };
                    let output = match probe.run() {
                        Ok((text, _)) => text,
                        Err(error) => format!("{error}\n").into_bytes(),
                    };
                    *slot.lock().expect("each slot has one writer") = output;
                }
            });
        }
    });
    outputs.into_iter().map(|slot| slot.into_inner().expect("all writers are done")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        assert!(["10s", "5m", "1h"].into_iter().all(is_duration));
        assert!(!["", "10", "s", "1hm", "1d", "-5m", "1.5h"].into_iter().any(is_duration));
    }

    #[test]
    fn logs_are_taken_per_component_and_from_nodes_in_focus_first() {
        let pod = |namespace: &str, name: &str, node: &str, kind: &str, owner: &str| {
            json!({
                "metadata": {"namespace": namespace, "name": name, "ownerReferences": [{"kind": kind, "name": owner}]},
                "spec": {"nodeName": node},
            })
        };
        let pods = json!({"items": [
            pod("calico-system", "calico-node-a", "n1", "DaemonSet", "calico-node"),
            pod("calico-system", "calico-node-b", "n2", "DaemonSet", "calico-node"),
            pod("calico-system", "calico-typha-6c-x", "n1", "ReplicaSet", "calico-typha-6c"),
            pod("kube-system", "coredns-1", "n1", "ReplicaSet", "coredns-1"),
            pod("shop", "calico-thing", "n1", "ReplicaSet", "calico-thing"),
        ]});
        let options = Options {
            max_logs: 1,
            focus_nodes: "n2".to_owned(),
            since: "5m".to_owned(),
            ..Options::default()
        };
        let files: Vec<String> = log_probes(&pods, &options).into_iter().map(|probe| probe.file).collect();
        assert_eq!(
            files,
            ["logs/calico-system/calico-node-b.log", "logs/calico-system/calico-typha-6c-x.log"]
        );
        let all = log_probes(&pods, &Options { max_logs: 5, ..Options::default() });
        assert_eq!(all.len(), 3);
        assert_eq!(
            in_parallel(&[Probe::new("", "echo a", ""), Probe::new("", "echo b", "")], 4),
            [b"a\n", b"b\n"]
        );
    }
}
