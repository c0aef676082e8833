//! Go templates, as far as output of objects needs them: fields, variables, pipelines, `range`, `if`, `with`, and the
//! usual functions.
//!
//! Data is JSON. Calico's client gives templates its Go structures, so the names of their fields work beside those of
//! JSON: `.ObjectMeta.Name` is `.metadata.name`, `.Items` is `.items`. Must not do anything but make text.

mod evaluate;
mod parse;

use parse::Node;
use serde_json::Value;

/// A template that was understood.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("template: {message}")]
pub struct TemplateError {
    /// What is wrong, with the place.
    pub message: String,
}

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl Template {
    /// Understands a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(|nodes| Self { nodes })
    }

    /// The text for some data. `as_number` is what `config "asnumber"` says.
    pub fn render(&self, data: &Value, as_number: &str) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, data, as_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(template: &str) -> Result<String, String> {
        let data = json!([{
            "kind": "TierList", "items": [
                {"kind": "Tier", "metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}, "spec": {"order": 10}},
                {"kind": "Tier", "metadata": {"name": "b"}, "spec": {"nets": ["n", "m"]}},
            ],
        }]);
        Template::parse(template).and_then(|t| t.render(&data, "64512")).map_err(|e| e.to_string())
    }

    #[test]
    fn fields_by_either_name() {
        assert_eq!(rendered("{{range .items}}{{.metadata.name}} {{end}}").unwrap(), "a b ");
        assert_eq!(
            rendered("{{range .}}{{range .Items}}{{.ObjectMeta.Name}},{{end}}{{end}}").unwrap(),
            "a,b,"
        );
        assert_eq!(rendered("{{range .Items}}{{.Name}}={{.Spec.Order}};{{end}}").unwrap(), "a=10;b=<nil>;");
        assert_eq!(rendered("{{(index .Items 1).Spec.Nets}}").unwrap(), "[n m]");
    }

    #[test]
    fn control() {
        let template = r#"{{- range $i, $t := .items -}}{{if $i}}, {{end}}{{if eq $t.metadata.name "a"}}first{{else if .spec.nets}}{{join .spec.nets "+"}}{{else}}?{{end}}{{end -}}  "#;
        assert_eq!(rendered(template).unwrap(), "first, n+m");
        assert_eq!(rendered("{{with .nothing}}x{{else}}none{{end}}").unwrap(), "none");
        assert_eq!(rendered("{{range .nothing}}x{{else}}empty{{end}}").unwrap(), "empty");
        assert_eq!(rendered("{{/* no word */}}{{$x := len .items}}{{$x}}").unwrap(), "2");
        assert_eq!(
            rendered("{{range $k, $v := (index .items 0).metadata.labels}}{{$k}}{{$v}}{{end}}").unwrap(),
            "x1y2"
        );
    }

    #[test]
    fn functions() {
        assert_eq!(
            rendered(r#"{{printf "%s|%5d|%v|%q|%%" "a" 3 true "b"}}"#).unwrap(),
            r#"a|    3|true|"b"|%"#
        );
        assert_eq!(rendered(r#"{{.items | len | printf "%d"}}"#).unwrap(), "2");
        assert_eq!(
            rendered(r#"{{and true (or false (not false))}} {{lt 1 2}} {{ne "a" "b"}}"#).unwrap(),
            "true true true"
        );
        assert_eq!(rendered(r#"{{config "asnumber"}}"#).unwrap(), "64512");
        assert_eq!(rendered("{{`raw`}}{{println 1 2}}").unwrap(), "raw1 2\n");
    }

    #[test]
    fn mistakes_are_told() {
        for (template, part) in [
            ("{{range .items}}", "end"),
            ("{{.items", "unclosed"),
            ("{{nothing 1}}", "nothing"),
            ("{{$x}}", "$x"),
            ("{{end}}", "end"),
            ("{{index .items 7}}", "7"),
        ] {
            let error = rendered(template).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }
}
