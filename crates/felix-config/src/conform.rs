//! Answers about settings, one JSON object each, so that they can be compared with those of other implementations.
//!
//! The answers do not depend on the machine, unless the caller lends one.

use crate::parse::parse;
use crate::sources::AnyHost;
use crate::{Config, Host, Kind, Parameter, Sources, Value, describe, from_environment, from_file};
use serde_json::{Map, Value as Json, json};
use std::error::Error;

/// Fields of an answer.
type Answer = Map<String, Json>;

/// Answers a request of the suite `felix_config`, on a machine that has every file.
pub fn answer_config(request: &Json) -> Map<String, Json> {
    answer_config_on(request, &AnyHost)
}

/// Answers a request of the suite `felix_config` on a machine.
pub fn answer_config_on(request: &Json, host: &dyn Host) -> Map<String, Json> {
    match text(request, "op") {
        "resolve" => resolve(request, host),
        "validate" => validate(request, host),
        "environment" => environment(request),
        "file" => match from_file(text(request, "content")) {
            Ok(settings) => only("settings", json!(settings)),
            Err(error) => refused(error),
        },
        "parse" => parse_value(request, host),
        op => only("skip", json!(format!("no operation {op:?}"))),
    }
}

/// Answers a request of the suite `felix_config_params`.
pub fn answer_params(request: &Json) -> Map<String, Json> {
    match text(request, "op") {
        "describe" => match describe(text(request, "name")) {
            Some(parameter) => description(parameter),
            None => only("error", json!(format!("no parameter {:?}", text(request, "name")))),
        },
        op => only("skip", json!(format!("no operation {op:?}"))),
    }
}

fn resolve(request: &Json, host: &dyn Host) -> Answer {
    let sources = match sources(request) {
        Ok(sources) => sources,
        Err(answer) => return answer,
    };
    let (config, problems) = Config::resolve(&sources, host);
    let names = request.get("params").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let values: Map<String, Json> = names.map(|name| (name.to_owned(), value(&config, name))).collect();
    let mut answer = only("params", values.into());
    if let Some(problem) = problems.iter().find(|problem| problem.is_fatal()) {
        answer.extend(refused(problem));
    }
    answer
}

fn value(config: &Config, name: &str) -> Json {
    match name {
        "$OpenstackActive" => json!(config.openstack_active()),
        "$KubernetesProvider" => json!(config.kubernetes_provider().to_string()),
        "$ProgramIPIPClusterRoutes" => json!(config.programs_ipip_cluster_routes()),
        "$ProgramNoEncapClusterRoutes" => json!(config.programs_unencapsulated_cluster_routes()),
        _ => config.get(name).map_or(Json::Null, |setting| setting.value.to_json()),
    }
}

fn validate(request: &Json, host: &dyn Host) -> Answer {
    let sources = match sources(request) {
        Ok(sources) => sources,
        Err(answer) => return answer,
    };
    let (config, problems) = Config::resolve(&sources, host);
    if let Some(problem) = problems.iter().find(|problem| problem.is_fatal()) {
        return refused(problem);
    }
    config.check().first().map(refused).unwrap_or_default()
}

fn sources(request: &Json) -> Result<Sources, Answer> {
    let mut sources = Sources::new();
    for entry in request.get("sources").and_then(Json::as_array).into_iter().flatten() {
        let source = text(entry, "source").parse().map_err(refused)?;
        let settings = entry.get("settings").and_then(Json::as_object).into_iter().flatten();
        let texts = settings.filter_map(|(name, raw)| Some((name.clone(), raw.as_str()?.to_owned())));
        sources.set(source, texts.collect::<Vec<_>>());
    }
    Ok(sources)
}

fn environment(request: &Json) -> Answer {
    let variables = request.get("environ").and_then(Json::as_array).into_iter().flatten();
    let variables = variables.filter_map(|variable| variable.as_str()?.split_once('='));
    only("settings", json!(from_environment(variables)))
}

fn parse_value(request: &Json, host: &dyn Host) -> Answer {
    let kind = match text(request, "type") {
        "endpoint-list" => Kind::Endpoints,
        "cidr-list" => Kind::Cidrs,
        "key-value-list" => Kind::KeyValues,
        "ipv4" => Kind::Ipv4,
        "ipv6" => Kind::Ipv6,
        "interface-list" => Kind::Interfaces,
        "interface-pattern-list" => Kind::InterfaceFilters,
        other => return only("skip", json!(format!("no type {other:?}"))),
    };
    match parse(&kind, text(request, "raw"), host) {
        Ok(value) => only("value", value.to_json()),
        Err(error) => refused(error),
    }
}

fn description(parameter: &Parameter) -> Answer {
    let parsed = match (parameter.kind, parameter.default_value()) {
        // No address is an empty text, not null.
        (Kind::Ipv4 | Kind::Ipv6, Value::Nothing) => json!(""),
        (_, value) => value.to_json_nanoseconds(),
    };
    let fields = json!({
        "env": parameter.variable(),
        "yaml": parameter.field,
        "default": parameter.default,
        "parsed_default": parsed.to_string(),
        "required": parameter.required,
        "on_parse_failure": if parameter.fatal { "Exit" } else { "ReplaceWithDefault" },
        "sources": if parameter.local { "LocalOnly" } else { "All" },
    });
    match fields {
        Json::Object(fields) => fields,
        _ => Answer::new(),
    }
}

fn text<'a>(object: &'a Json, name: &str) -> &'a str {
    object.get(name).and_then(Json::as_str).unwrap_or("")
}

fn only(name: &str, value: Json) -> Answer {
    [(name.to_owned(), value)].into_iter().collect()
}

/// The domain's "no", with all its reasons.
fn refused(error: impl Error) -> Answer {
    only("error", json!(tortie_causes::chain(&error)))
}
