//! Suite `calc_graph`: changes of the datastore in, what a dataplane was told after each batch out.

mod counts;
mod migration;
mod sound;
mod state;

use super::{Answer, error, only, skip, text};
use counts::Counts;
use serde_json::Value;
use state::Told;
use tortie_calc::fabric::{Fabric, FabricConfig, RouteSource};
use tortie_calc::{Calc, CalcConfig, ProfileLabels};
use tortie_model::{Change, Key, Value as Stored};

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    match text(request, "op") {
        "sequence" => sequence(request),
        other => skip(format!("op {other:?} is not known")),
    }
}

fn sequence(request: &Value) -> Answer {
    let node = text(request, "hostname");
    let config = |name: &str| request.get("config").and_then(|c| c.get(name)).unwrap_or(&Value::Null);
    let is = |name: &str| config(name).as_bool() == Some(true);
    let source = match text(request, "route_source") {
        "" | "CalicoIPAM" => RouteSource::CalicoIpam,
        "WorkloadIPs" => RouteSource::WorkloadIps,
        other => return error(format!("route_source: {other:?} is neither CalicoIPAM nor WorkloadIPs")),
    };
    let vxlan = is("VXLANEnabled") || is("VXLANEnabledV6");
    let mut calc = Calc::new(CalcConfig {
        node: node.to_owned(),
        staged: true,
        profile_labels: ProfileLabels::Resource,
        istio_ambient: config("IstioAmbientMode") == "Enabled",
    });
    let mut fabric = Fabric::new(FabricConfig {
        node: node.to_owned(),
        routes: is("BPFEnabled") || vxlan,
        vteps: vxlan,
        source,
    });
    let mut told = Told::new(node);
    let mut counts = Counts::default();
    let mut states = Vec::new();
    let batches = request.get("batches").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (i, batch) in batches.iter().enumerate() {
        for change in batch.as_array().into_iter().flatten().filter_map(change) {
            counts.on_change(&change);
            told.migrations.on_change(&change);
            fabric.on_change(&change);
            calc.on_change(change);
        }
        if i == 0 {
            calc.on_in_sync();
            fabric.on_in_sync();
        }
        let (mut updates, mut fabric_updates) = (Vec::new(), Vec::new());
        calc.flush(&mut updates);
        fabric.flush(&mut fabric_updates);
        for update in updates {
            told.apply(update);
        }
        for update in fabric_updates {
            told.apply_fabric(update);
        }
        let mut state = told.state(&calc);
        state["stats"] = counts.show();
        states.push(state);
    }
    only("states", states)
}

/// A change of a known key. A value that the agent would refuse counts as deleted.
fn change(entry: &Value) -> Option<Change> {
    let key = Key::from_path(text(entry, "key"))?;
    let value = entry.get("value").filter(|v| !v.is_null()).and_then(|json| {
        let bytes = match (&key, json) {
            (
                Key::GlobalConfig(_)
                | Key::HostConfig { .. }
                | Key::BgpGlobalConfig(_)
                | Key::BgpNodeConfig { .. },
                Value::String(raw),
            ) => raw.clone(),
            _ => json.to_string(),
        };
        Stored::parse(&key, bytes.as_bytes()).ok()
    });
    let value = value.filter(|value| sound::is_sound(&key, value));
    Some(Change { key, value })
}
