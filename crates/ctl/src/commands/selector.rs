//! selector check: whether a selector is well formed, what it means, and what it selects.

use super::{Failure, Outcome, Surroundings};
use crate::client::Client;
use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_model::convert::{Converter, Options as Conversion};
use tortie_model::value::StringMap;
use tortie_model::{Change, Key, Value};
use tortie_selector::Selector;

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The expression.
    pub(crate) selector: String,
    /// `k=v`, separated by commas; each list is a thing of its own.
    pub(crate) labels: Vec<String>,
}

/// Checks the expression, and evaluates it on labels. What does not match ends with status 1.
pub(crate) fn check(options: &Options, world: &mut Surroundings<'_>) -> Outcome<Selector> {
    let selector = Selector::parse(&options.selector).map_err(|error| Failure::new(error.render()))?;
    writeln!(world.out, "selector: {}\nid: {}", selector.canonical(), selector.unique_id())?;
    if selector.restrictions().values().any(|restriction| !restriction.satisfiable()) {
        writeln!(world.out, "note: nothing can match, its conditions exclude each other")?;
    }
    let mut unmatched = Vec::new();
    for text in &options.labels {
        let labels = parse_labels(text)?;
        let matches = selector.evaluate(&labels);
        writeln!(world.out, "{}: {}", text, if matches { "matches" } else { "does not match" })?;
        if !matches {
            unmatched.push(text.as_str());
        }
    }
    if unmatched.is_empty() {
        return Ok(selector);
    }
    Err(Failure::new(format!("not selected: {}", unmatched.join("; "))))
}

/// Lists the endpoints and network sets in the datastore that a selector chooses, by their own labels and by those that
/// they inherit from their profiles (of a pod: its namespace and service account).
pub(crate) async fn live(selector: &Selector, client: &Client, world: &mut Surroundings<'_>) -> Outcome {
    let mut converter = Converter::new(Conversion::default());
    let mut things = Vec::new();
    let mut inherited: BTreeMap<String, Arc<StringMap>> = BTreeMap::new();
    for prefix in ["/calico/", "/tortie/kubernetes/"] {
        let list = client.store().list(prefix).await;
        let list = list.map_err(|error| Failure::new(format!("cannot list the datastore: {error}")))?;
        for entry in &list.entries {
            // What cannot be converted selects nothing, and the agents name it.
            let (changes, _) = converter.entry(&entry.key, Some(&entry.value));
            for Change { key, value } in changes {
                match (key, value) {
                    (Key::ProfileLabels(name), Some(Value::ProfileLabels(labels))) => {
                        inherited.insert(name, labels);
                    }
                    (Key::WorkloadEndpoint(id), Some(Value::WorkloadEndpoint(e))) => {
                        let name = format!("{}/{}", id.workload, id.endpoint);
                        things.push((
                            "WorkloadEndpoint",
                            id.host,
                            name,
                            e.labels.clone(),
                            e.profile_ids.clone(),
                        ));
                    }
                    (Key::HostEndpoint { host, id }, Some(Value::HostEndpoint(e))) => {
                        things.push(("HostEndpoint", host, id, e.labels.clone(), e.profile_ids.clone()));
                    }
                    (Key::NetworkSet(name), Some(Value::NetworkSet(set))) => {
                        let node = String::new();
                        things.push(("NetworkSet", node, name, set.labels.clone(), set.profile_ids.clone()));
                    }
                    _ => {}
                }
            }
        }
    }
    things.sort();
    let chosen = things.into_iter().filter_map(|(kind, node, name, own, profiles)| {
        let mut labels = own;
        // An own label hides an inherited one, and an earlier profile a later one.
        for of_profile in profiles.iter().filter_map(|profile| inherited.get(profile)) {
            for (key, value) in &**of_profile {
                labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        selector.evaluate(&labels).then(|| vec![kind.to_owned(), node, name])
    });
    world.out.write_all(crate::output::table(&["KIND", "NODE", "NAME"], chosen).as_bytes())?;
    Ok(())
}

fn parse_labels(text: &str) -> Outcome<BTreeMap<String, String>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
            None => Err(Failure::new(format!("{pair:?} is no label: write key=value"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(selector: &str, labels: &[&str]) -> (String, Option<String>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut world = Surroundings {
            environment: &|_| None,
            stdin: &mut std::io::empty(),
            out: &mut out,
            err: &mut err,
        };
        let labels = labels.iter().map(|l| (*l).to_owned()).collect();
        let failure = match check(&Options { selector: selector.to_owned(), labels }, &mut world) {
            Ok(_) => None,
            Err(Failure::Message(told) | Failure::OnStdout(told)) => Some(told),
        };
        (String::from_utf8(out).unwrap(), failure)
    }

    #[test]
    fn labels_match_or_not() {
        let (out, failure) = run("a=='b' &&  has(c)", &["a=b,c=", "a=b"]);
        assert!(out.starts_with("selector: (a == \"b\" && has(c))\nid: s:"), "{out}");
        assert!(out.ends_with("a=b,c=: matches\na=b: does not match\n"), "{out}");
        assert_eq!(failure.as_deref(), Some("not selected: a=b"));
    }

    #[test]
    fn errors_point_at_their_place() {
        let (out, failure) = run("a == 'b' && c = 'd'", &[]);
        assert_eq!(out, "");
        let failure = failure.unwrap();
        let mut lines = failure.lines();
        assert_eq!(lines.next(), Some("a == 'b' && c = 'd'"));
        assert!(
            lines.next().is_some_and(|line| line.trim_start().starts_with('^') && line.find('^') >= Some(12)),
            "{failure}"
        );
    }

    #[test]
    fn what_can_match_nothing_is_told() {
        assert!(run("has(a) && !has(a)", &[]).0.contains("nothing can match"));
        assert!(!run("has(a)", &[]).0.contains("nothing can match"));
    }

    #[test]
    fn a_label_without_value_is_refused() {
        assert!(run("all()", &["a"]).1.is_some_and(|told| told.contains("key=value")));
    }
}
