//! A node's directories before and after.

use super::*;
use std::os::unix::fs::PermissionsExt;

struct Host {
    root: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in [BIN_DIRS[0], NET_DIR, SOURCE_DIR] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join(SOURCE_DIR).join("calico"), b"the plugin").unwrap();
        let env = [("SLEEP", "false"), ("KUBERNETES_NODE_NAME", "n1")];
        Self { root, env: env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect() }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn install(&self) -> Result<bool> {
        install(self.root.path(), &|name| self.env.get(name).cloned())
    }

    fn configuration(&self) -> serde_json::Value {
        let text = fs::read_to_string(self.root.path().join(NET_DIR).join(DEFAULT_NAME)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.root.path().join(BIN_DIRS[0]).join(name)
    }
}

#[test]
fn a_node_gets_both_names_and_a_list() {
    let host = Host::new();
    fs::write(host.bin("portmap"), b"the host's own").unwrap();
    assert!(!host.install().unwrap());
    for name in OWN_NAMES {
        assert_eq!(fs::read(host.bin(name)).unwrap(), b"the plugin");
    }
    let list = host.configuration();
    assert_eq!(list["plugins"][0]["nodename"], "n1");
    assert_eq!(list["plugins"][1]["type"], "portmap");
    let path = host.root.path().join(NET_DIR).join(DEFAULT_NAME);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!host.root.path().join(NET_DIR).join("calico-kubeconfig").exists(), "no credential on the node");

    host.install().unwrap();
    uninstall(host.root.path(), &|name| host.env.get(name).cloned()).unwrap();
    assert!(!path.exists() && !host.bin("calico").exists() && !host.bin("calico-ipam").exists());
    assert!(host.bin("portmap").exists(), "not ours");
}

#[test]
fn an_optional_plugin_that_is_missing_is_left_out_of_our_own_list_only() {
    let host = Host::new();
    host.install().unwrap();
    assert_eq!(host.configuration()["plugins"].as_array().unwrap().len(), 1);

    let host = Host::new().set(
        "CNI_NETWORK_CONFIG",
        r#"{"name": "x", "cniVersion": "1.0.0", "plugins": [{"type": "calico"}, {"type": "bandwidth"}]}"#,
    );
    let error = host.install().unwrap_err().to_string();
    assert!(error.contains("bandwidth") && error.contains("CNI_NETWORK_CONFIG"), "{error}");
    assert!(
        !host.root.path().join(NET_DIR).join(DEFAULT_NAME).exists(),
        "nothing that cannot run is written"
    );
}

#[test]
fn calicos_template_is_filled_in() {
    let host = Host::new().set("CNI_MTU", "1440").set(
        "CNI_NETWORK_CONFIG",
        r#"{"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [{"type": "calico", "nodename": "__KUBERNETES_NODE_NAME__",
            "mtu": __CNI_MTU__, "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}, "token": "__SERVICEACCOUNT_TOKEN__"}]}"#,
    );
    host.install().unwrap();
    let list = host.configuration();
    assert_eq!(list["plugins"][0]["mtu"], 1440);
    assert_eq!(list["plugins"][0]["kubernetes"]["kubeconfig"], "/etc/cni/net.d/calico-kubeconfig");
    assert_eq!(list["plugins"][0]["token"], "");
}

#[test]
fn a_template_in_a_file_wins() {
    let host = Host::new().set("CNI_NETWORK_CONFIG_FILE", "/config/list").set("CNI_NETWORK_CONFIG", "{");
    fs::create_dir_all(host.root.path().join("config")).unwrap();
    fs::write(host.root.path().join("config/list"), r#"{"name": "file", "type": "calico"}"#).unwrap();
    host.install().unwrap();
    assert_eq!(host.configuration()["name"], "file");
}

#[test]
fn binaries_are_kept_when_told_so() {
    let host = Host::new().set("UPDATE_CNI_BINARIES", "false");
    fs::write(host.bin("calico"), b"baked in").unwrap();
    host.install().unwrap();
    assert_eq!(fs::read(host.bin("calico")).unwrap(), b"baked in");
}

#[test]
fn bad_settings_are_named() {
    for (name, value) in [
        ("SLEEP", "maybe"),
        ("CNI_MTU", "big"),
        ("CNI_MTU", "20"),
        ("CNI_CONF_NAME", "../x"),
        ("TEST_FILE_PERMISSION", "9"),
        ("TORTIE_OTHER_CNI", "perhaps"),
    ] {
        let error = Host::new().set(name, value).install().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
    let host = Host::new();
    fs::remove_dir_all(host.root.path().join("host/opt")).unwrap();
    let error = host.install().unwrap_err().to_string();
    assert!(error.contains("/opt/cni/bin"), "{error}");
}

const CALICO: &str = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"},
    "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}}]}"#;
const CANAL: &str = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico", "ipam": {"type": "host-local", "subnet": "usePodCidr"}}]}"#;
const FLANNEL: &str = r#"{"name": "cbr0", "plugins": [{"type": "flannel", "delegate": {"isDefaultGateway": true}}, {"type": "portmap"}]}"#;

impl Host {
    fn net(&self, name: &str) -> PathBuf {
        self.root.path().join(NET_DIR).join(name)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.net("")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn calicos_own_is_replaced_and_its_credential_goes() {
    for name in [DEFAULT_NAME, "05-calico.conflist", "20-calico.conflist"] {
        let host = Host::new();
        fs::write(host.net(name), CALICO).unwrap();
        fs::write(host.net("calico-kubeconfig"), "token").unwrap();
        fs::write(host.net("calico-note.txt"), "mine").unwrap();
        host.install().unwrap();
        assert_eq!(host.files(), [DEFAULT_NAME, "calico-note.txt"], "{name}");
        assert!(host.configuration().pointer("/plugins/0/kubernetes").is_none());
    }
}

#[test]
fn others_stay_are_moved_or_stand_in_the_way() {
    for (name, text) in [
        ("10-canal.conflist", CANAL),
        ("10-flannel.conflist", FLANNEL),
        ("05-bridge.conf", r#"{"type": "bridge"}"#),
    ] {
        let host = Host::new();
        fs::write(host.net(name), text).unwrap();
        host.install().unwrap();
        let mut both = vec![name.to_owned(), DEFAULT_NAME.to_owned()];
        both.sort();
        assert_eq!(host.files(), both, "reported only");

        let host = host.set("TORTIE_OTHER_CNI", "move");
        host.install().unwrap();
        let aside = format!("{name}.aside-by-tortie");
        assert_eq!(
            others::find(&host.net("")).iter().map(|f| f.file.as_str()).collect::<Vec<_>>(),
            [DEFAULT_NAME]
        );
        assert_eq!(fs::read_to_string(host.net(&aside)).unwrap(), text);
        host.install().unwrap();
        uninstall(host.root.path(), &|name| host.env.get(name).cloned()).unwrap();
        assert_eq!(host.files(), [name], "what was there before");
        assert_eq!(fs::read_to_string(host.net(name)).unwrap(), text);

        let host = host.set("TORTIE_OTHER_CNI", "refuse");
        let error = host.install().unwrap_err();
        assert!(error.is::<OthersError>());
        let error = error.to_string();
        assert!(error.contains(name) && error.contains("TORTIE_OTHER_CNI"), "{error}");
        assert_eq!(host.files(), [name], "nothing is written");
        assert!(!host.bin("calico").exists(), "the other network may run with Calico's plugin");
    }
}

#[test]
fn what_is_moved_does_not_hide_a_newer_file() {
    let host = Host::new().set("TORTIE_OTHER_CNI", "move");
    fs::write(host.net("10-flannel.conflist"), FLANNEL).unwrap();
    host.install().unwrap();
    fs::write(host.net("10-flannel.conflist"), "newer").unwrap();
    uninstall(host.root.path(), &|name| host.env.get(name).cloned()).unwrap();
    assert_eq!(fs::read_to_string(host.net("10-flannel.conflist")).unwrap(), "newer");
}

#[test]
fn files_that_no_runtime_reads_are_nobodys() {
    let host = Host::new().set("TORTIE_OTHER_CNI", "refuse");
    for name in ["00-notes.txt", "10-old.conflist.bak", ".hidden"] {
        fs::write(host.net(name), "{").unwrap();
    }
    host.install().unwrap();
    assert!(host.files().contains(&DEFAULT_NAME.to_owned()));
}
