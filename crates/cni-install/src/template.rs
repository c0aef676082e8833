//! The network configuration that the container runtime reads: a template and the node's facts make a document.
//!
//! Pure. The placeholders are those of Calico's installer (`cni-plugin/pkg/install`), so that a template written for
//! it keeps working.

use serde_json::Value;
use std::collections::BTreeMap;

/// What is installed when the operator gives no template.
pub(crate) const DEFAULT: &str = r#"{
  "name": "k8s-pod-network",
  "cniVersion": "1.0.0",
  "plugins": [
    {
      "type": "calico",
      "log_level": "__LOG_LEVEL__",
      "log_file_path": "__LOG_FILE_PATH__",
      "datastore_type": "__DATASTORE_TYPE__",
      "nodename": "__KUBERNETES_NODE_NAME__",
      "mtu": __CNI_MTU__,
      "ipam": {"type": "calico-ipam"},
      "policy": {"type": "k8s"}
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
  ]
}
"#;

/// A template that makes no usable document. The text of the document is not repeated: it may hold secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("the network configuration is not JSON once its placeholders are filled in: {0}; look at {origin}", origin = ORIGIN)]
    NotJson(#[source] serde_json::Error),
    #[error("the network configuration has no plugins; expected {{\"name\": .., \"cniVersion\": .., \"plugins\": [{{\"type\": \"calico\", ..}}]}}; look at {origin}", origin = ORIGIN)]
    NoPlugins,
    #[error("plugins[{index}] of the network configuration has no type; look at {origin}", origin = ORIGIN)]
    NoType { index: usize },
}

const ORIGIN: &str = "CNI_NETWORK_CONFIG or CNI_NETWORK_CONFIG_FILE";

/// A document for the runtime.
#[derive(Debug)]
pub(crate) struct Document {
    value: Value,
    text: String,
}

/// Fills in the placeholders and checks what comes out. A single plugin's configuration (a `.conf`) is accepted too.
pub(crate) fn render(
    template: &str,
    facts: &BTreeMap<&'static str, String>,
) -> Result<Document, TemplateError> {
    let mut text = template.to_owned();
    for (name, value) in facts {
        text = text.replace(&format!("__{name}__"), value);
    }
    let value: Value = serde_json::from_str(&text).map_err(TemplateError::NotJson)?;
    let document = Document { value, text };
    if document.entries().is_empty() {
        return Err(TemplateError::NoPlugins);
    }
    for (index, entry) in document.entries().iter().enumerate() {
        if entry.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(TemplateError::NoType { index });
        }
    }
    Ok(document)
}

impl Document {
    fn entries(&self) -> &[Value] {
        match self.value.get("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => &[],
            None if self.value.is_object() => std::slice::from_ref(&self.value),
            None => &[],
        }
    }

    /// Executables that the runtime will look for: the plugins, and the IPAM plugins that foreign ones delegate to.
    /// The pod plugin's own `ipam` is a setting of the agent; nothing is executed for it.
    pub(crate) fn executables(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in self.entries() {
            let kind = entry.get("type").and_then(Value::as_str).unwrap_or_default();
            names.push(kind.to_owned());
            let delegate = entry.pointer("/ipam/type").and_then(Value::as_str);
            if let Some(delegate) = delegate.filter(|_| kind != "calico") {
                names.push(delegate.to_owned());
            }
        }
        names
    }

    /// The same document without the chained plugins of these types.
    pub(crate) fn without(mut self, types: &[String]) -> Self {
        if let Some(Value::Array(plugins)) = self.value.get_mut("plugins") {
            plugins.retain(|p| {
                p.get("type").and_then(Value::as_str).is_none_or(|t| !types.iter().any(|x| x == t))
            });
            // Printing what was just parsed: a value of JSON has a text.
            self.text = format!("{:#}\n", self.value);
        }
        self
    }

    /// The text to write, as the template had it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> BTreeMap<&'static str, String> {
        [
            ("LOG_LEVEL", "info"),
            ("LOG_FILE_PATH", "/var/log/calico/cni/cni.log"),
            ("DATASTORE_TYPE", "kubernetes"),
            ("KUBERNETES_NODE_NAME", "n1"),
            ("CNI_MTU", "0"),
        ]
        .into_iter()
        .map(|(k, v)| (k, v.to_owned()))
        .collect()
    }

    #[test]
    fn the_default_is_a_list_with_the_nodes_name() {
        let document = render(DEFAULT, &facts()).unwrap();
        assert_eq!(document.executables(), ["calico", "portmap"]);
        let value: Value = serde_json::from_str(document.text()).unwrap();
        assert_eq!(value.pointer("/plugins/0/nodename").and_then(Value::as_str), Some("n1"));
        assert_eq!(value.pointer("/plugins/0/mtu").and_then(Value::as_u64), Some(0));
        let alone = document.without(&["portmap".to_owned()]);
        assert_eq!(alone.executables(), ["calico"]);
        assert!(!alone.text().contains("portmap"), "{}", alone.text());
    }

    #[test]
    fn a_single_configuration_is_accepted() {
        let document = render(r#"{"name": "x", "type": "calico", "mtu": __CNI_MTU__}"#, &facts()).unwrap();
        assert_eq!(document.executables(), ["calico"]);
    }

    #[test]
    fn a_delegated_ipam_plugin_is_an_executable() {
        let document = render(
            r#"{"plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}, {"type": "bridge", "ipam": {"type": "host-local"}}]}"#,
            &facts(),
        )
        .unwrap();
        assert_eq!(document.executables(), ["calico", "bridge", "host-local"]);
    }

    #[test]
    fn errors_say_where_to_look_and_keep_secrets() {
        let broken = render(r#"{"token": "s3cret", }"#, &facts()).unwrap_err().to_string();
        assert!(broken.contains("CNI_NETWORK_CONFIG") && !broken.contains("s3cret"), "{broken}");
        assert!(render(r#"{"plugins": []}"#, &facts()).unwrap_err().to_string().contains("no plugins"));
        assert!(render(r#"{"plugins": "calico"}"#, &facts()).unwrap_err().to_string().contains("no plugins"));
        let untyped = render(r#"{"plugins": [{"type": "calico"}, {"snat": true}]}"#, &facts()).unwrap_err();
        assert!(untyped.to_string().contains("plugins[1]"), "{untyped}");
        assert!(render("[]", &facts()).is_err());
    }
}
