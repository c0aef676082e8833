//! Suite `ipam`: which pools an automatic assignment may use.

use super::{Answer, error, only, skip, text};
use serde_json::{Value, json};
use tortie_blocks::{Pool, PoolQuery, RejectReason, select_pools};
use tortie_model::value::StringMap;
use tortie_net::{Cidr, Family};

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    match text(request, "op") {
        "select_pools" => select(request).unwrap_or_else(error),
        other => skip(format!("op {other:?} is not known")),
    }
}

/// The pools; beside them, which were left out because they cannot be read. Those do not stop the others.
fn select(request: &Value) -> Result<Answer, String> {
    let number = |field: &str| {
        request.get(field).and_then(Value::as_u64).and_then(|n| u8::try_from(n).ok()).unwrap_or_default()
    };
    let family = Family::from_version(number("ip_version")).ok_or("ip_version is neither 4 nor 6")?;
    let list = |field: &str| request.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut pools = Vec::new();
    for spec in list("pools") {
        let object = json!({"metadata": {"name": text(spec, "name")}, "spec": spec});
        pools.push(Pool::from_v3(&object).map_err(|e| e.to_string())?);
    }
    let mut requested = Vec::new();
    for cidr in list("requested") {
        let cidr = cidr.as_str().unwrap_or_default();
        requested.push(cidr.parse::<Cidr>().map_err(|e| e.to_string())?);
    }
    let node_labels = labels(request.get("node_labels"));
    let namespace = request.get("namespace").filter(|n| !n.is_null());
    let namespace_labels = namespace.map(|namespace| labels(namespace.get("labels")));
    let max_prefix_len = match number("max_prefix_len") {
        0 => family.bits(),
        len => len,
    };
    let query = PoolQuery {
        requested: &requested,
        namespace_labels: namespace_labels.as_ref(),
        intended_use: None,
        max_prefix_len,
        ..PoolQuery::for_workload(family, &node_labels)
    };
    let selection = select_pools(&pools, &query).map_err(|e| e.to_string())?;
    let written = |pool: &Pool| {
        let spec =
            list("pools").iter().zip(&pools).find(|(_, p)| std::ptr::eq(*p, pool)).map(|(spec, _)| spec);
        spec.map_or_else(|| pool.cidr.to_string(), |spec| text(spec, "cidr").to_owned())
    };
    let broken = selection.rejected.iter().filter(|r| r.reason == RejectReason::BadSelector);
    let broken: Vec<String> = broken.map(ToString::to_string).collect();
    let mut answer = only("pools", selection.pools.into_iter().map(written).collect::<Vec<_>>());
    if !broken.is_empty() {
        answer.insert("error".to_owned(), broken.join("; ").into());
    }
    Ok(answer)
}

fn labels(value: Option<&Value>) -> StringMap {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
