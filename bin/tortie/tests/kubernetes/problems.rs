//! What users get wrong: named in the log, in the status and in the node's condition, and over when it is mended.

use super::{World, cluster, ip};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tortie_test_netns::isolated;

const LIST: &str = r#"{"name": "k8s-pod-network", "cniVersion": "1.0.0", "plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}]}"#;

impl World {
    /// Names of what is wrong by the status, its exit status, and what it shows people.
    fn wrong(&self) -> (BTreeSet<String>, i32, String) {
        let status = |format: &str| self.tortie().args(["node", "status", "-o", format]).output().unwrap();
        let json: Value = serde_json::from_slice(&status("json").stdout).unwrap_or_default();
        let problems = json["problems"].as_array().cloned().unwrap_or_default();
        let warnings = problems.iter().filter(|p| p["severity"] == "warning");
        let names = warnings.map(|p| p["name"].as_str().unwrap().to_owned()).collect();
        let table = status("table");
        (names, table.status.code().unwrap(), String::from_utf8(table.stdout).unwrap())
    }

    /// Waits until exactly these are wrong, and until everybody says so.
    fn is_wrong(&self, names: &[&str]) {
        let want: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let shown = self.until(&format!("{names:?}"), || {
            let (names, exit, shown) = self.wrong();
            (names == want && exit == if want.is_empty() { 0 } else { 2 }).then_some(shown)
        });
        for name in names {
            assert!(shown.contains(&format!("\n{name}  ")), "{shown}");
            assert!(self.log().contains(&format!("name=\"{name}\"")), "{}", self.log());
        }
        let reason = if names.is_empty() { "NoProblems".to_owned() } else { names.join(",") };
        let status = if names.is_empty() { "False" } else { "True" };
        self.until(&format!("the condition {status} {reason}"), || {
            (self.condition_of("NetworkDegraded")? == format!("{status} {reason}")).then_some(())
        });
        assert_eq!(self.condition_of("NetworkUnavailable").as_deref(), Some("False CalicoIsUp"));
    }

    /// The node's directories of CNI, as the agent's mounts show them.
    fn make_cni_directories(&mut self) {
        use std::os::unix::fs::PermissionsExt as _;
        let (net, bin) = (self.file("net.d"), self.file("bin"));
        for directory in [&net, &bin] {
            std::fs::create_dir_all(directory).unwrap();
        }
        for name in ["calico", "calico-ipam"] {
            std::fs::write(bin.join(name), "").unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(net.join("10-calico.conflist"), LIST).unwrap();
        self.variables.insert("TORTIE_CNI_NET_DIR".to_owned(), net.display().to_string());
        self.variables.insert("TORTIE_CNI_BIN_DIR".to_owned(), bin.display().to_string());
    }

    /// Takes some kinds out of the role.
    fn narrow_role(&self, kinds: &[&str]) {
        let mut role = self.cluster.shown(&["clusterrole", "calico-node"]);
        for rule in role["rules"].as_array_mut().unwrap() {
            rule["resources"].as_array_mut().unwrap().retain(|r| !kinds.contains(&r.as_str().unwrap()));
        }
        role["rules"].as_array_mut().unwrap().retain(|rule| rule["resources"] != json!([]));
        let role = json!({"apiVersion": role["apiVersion"], "kind": "ClusterRole", "metadata": {"name": "calico-node"}, "rules": role["rules"]});
        self.cluster.kubectl(&["replace", "-f", "-"], &role.to_string());
    }

    fn pool(&self, name: &str, cidr: &str) {
        let pool = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name}, "spec": {"cidr": cidr, "nodeSelector": "all()"}});
        self.cluster.kubectl(&["create", "-f", "-"], &pool.to_string());
    }
}

#[test]
fn what_is_wrong_is_named_and_over_when_it_is_mended() {
    isolated(|| {
        ip("link add eth0 type veth peer name eth1");
        ip("address add 10.44.0.5/24 dev eth0");
        ip("address add fd44::5/64 dev eth0 nodad");
        ip("link set eth0 up");
        ip("link set eth1 up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some(cluster) = runtime.block_on(cluster()) else { return };
        let mut world = World { cluster, variables: BTreeMap::new(), agent: None };
        world.install();
        world.make_cni_directories();

        // Before the start: rights and definitions of an older version.
        world.narrow_role(&["servicecidrs", "stagednetworkpolicies"]);
        let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/assignmentMode";
        let patch = json!([{"op": "remove", "path": field}]).to_string();
        world
            .cluster
            .kubectl(&["patch", "crd", "ippools.projectcalico.org", "--type=json", "-p", &patch], "");
        world.cluster.kubectl(&["delete", "crd", "bgpfilters.projectcalico.org"], "");
        world.start();
        world.is_wrong(&["DefinitionMissing", "DefinitionOutdated", "PermissionMissing"]);
        let (_, _, shown) = world.wrong();
        for want in
            ["stagednetworkpolicies of projectcalico.org", "spec.assignmentMode", "calico-system:calico-node"]
        {
            assert!(shown.contains(want), "{want}\n{shown}");
        }
        world.apply_manifest();
        world.is_wrong(&[]);

        world.pool("over-services", "10.96.0.0/16");
        world.pool("over-nodes", "10.44.0.0/16");
        world.pool("over-nodes-six", "fd44::/32");
        world.is_wrong(&["PoolOverlapsNodes", "PoolOverlapsServices"]);
        world.cluster.kubectl(
            &["delete", "ippools.projectcalico.org", "over-services", "over-nodes", "over-nodes-six"],
            "",
        );
        world.is_wrong(&[]);

        let ours = world.file("net.d/10-calico.conflist");
        std::fs::remove_file(&ours).unwrap();
        world.is_wrong(&["CniConfigurationMissing"]);
        std::fs::write(&ours, LIST).unwrap();
        std::fs::write(world.file("net.d/05-other.conf"), r#"{"name": "other", "type": "bridge"}"#).unwrap();
        world.is_wrong(&["CniConfigurationShadowed"]);
        std::fs::remove_file(world.file("net.d/05-other.conf")).unwrap();
        world.is_wrong(&[]);

        // The server is not there: the condition cannot be written, and the status says why.
        world.cluster.kill();
        world.until("word of the server's absence", || {
            let (names, exit, shown) = world.wrong();
            (exit == 1 && names.contains("DatastoreUnreachable") && shown.contains("not ready")).then_some(())
        });
        world.cluster.launch(&[]);
        world.until("the server's return", || {
            let (names, exit, _) = world.wrong();
            (exit == 0 && names.is_empty()).then_some(())
        });
        world.is_wrong(&[]);
        let log = world.log();
        for name in
            ["PermissionMissing", "PoolOverlapsServices", "CniConfigurationMissing", "DatastoreUnreachable"]
        {
            let over = log.lines().any(|line| line.contains("problem is over") && line.contains(name));
            assert!(over, "{name}\n{log}");
        }
    });
}
