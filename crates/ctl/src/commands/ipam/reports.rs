//! ipam release --from-report: what reports of ipam check found leaked.

use super::check::{Leak, Report};
use crate::client::{self, Client};
use crate::commands::{CALICO_VERSION, Common, Failure, Outcome, Surroundings};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_ipam::{HandleId, Ipam, Release};
use tortie_model::Key;
use tortie_store::{Op, Precondition, StoreError};

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) reports: Vec<String>,
    pub(crate) force: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    from_reports(options, &client, world).await
}

/// Releases addresses of any node; answers those that nobody had.
async fn release(client: &Client, addresses: Vec<Release>) -> Outcome<Vec<IpAddr>> {
    // Releasing belongs to no node.
    let ipam = Ipam::new(Arc::clone(client.store()), "");
    Ok(ipam.release_ips(addresses).await?)
}

async fn from_reports(options: &Options, client: &Client, world: &mut Surroundings<'_>) -> Outcome {
    let information = client.cluster_information().await?.unwrap_or_default();
    let reports = read(options, &information, world)?;
    if information["spec"]["datastoreReady"] != serde_json::json!(false) {
        if !options.force {
            return Err(Failure::new(
                "data store is not locked. Either lock the data store, or re-run with --force",
            ));
        }
        writeln!(world.out, "WARNING: Data store is not locked. Ignoring due to --force option")?;
    }
    let (addresses, handles) = in_all(&reports);
    if addresses.is_empty() {
        writeln!(world.out, "Report didn't contain any leaked IPs to clean up.")?;
    } else {
        let count = addresses.len();
        writeln!(world.out, "Releasing {count} old IPs...")?;
        let gone = release(client, addresses).await?.len();
        writeln!(world.out, "Released {} IPs successfully", count - gone)?;
        if gone > 0 {
            writeln!(
                world.out,
                "{gone} addresses marked as leaked in the report had already been cleaned up."
            )?;
        }
    }
    if handles.is_empty() {
        writeln!(world.out, "Report didn't contain any handles to clean up.")?;
    } else {
        release_handles(client, &handles, world).await?;
    }
    writeln!(world.out, "You may now unlock the data store.")?;
    Ok(())
}

fn read(
    options: &Options,
    information: &serde_json::Value,
    world: &mut Surroundings<'_>,
) -> Outcome<Vec<Report>> {
    let mut reports = Vec::new();
    for file in &options.reports {
        let text = std::fs::read(file).map_err(|e| Failure::new(format!("read {file}: {e}")))?;
        let report: Report = serde_json::from_slice(&text)
            .map_err(|e| Failure::new(format!("{file} is no report of ipam check: {e}")))?;
        // A report of another cluster is refused whatever is forced.
        if report.cluster_guid != client::text(information, "/spec/clusterGUID") {
            return Err(Failure::new(format!(
                "cluster does not match the provided report ({file}): mismatched cluster GUID. Refusing to release"
            )));
        }
        if report.version != CALICO_VERSION {
            if !options.force {
                return Err(Failure::new(format!(
                    "the provided report ({file}) was produced using a different version ({}) of calicoctl. Refusing to release",
                    report.version
                )));
            }
            writeln!(
                world.out,
                "WARNING: Report was produced using a different version of calicoctl. Ignoring due to --force option"
            )?;
        }
        reports.push(report);
    }
    let now = client::text(information, "/metadata/resourceVersion");
    if !reports.iter().any(|report| report.cluster_information_revision == now) {
        return Err(Failure::new(
            "the provided reports are all stale - at least one should be up-to-date. Please generate a new report while the data store is locked and try again",
        ));
    }
    Ok(reports)
}

/// Addresses and handles that every report calls leaked.
fn in_all(reports: &[Report]) -> (Vec<Release>, Vec<Leak>) {
    let leaks = |report: &Report| -> BTreeMap<String, Release> {
        let allocations = report.allocations.values().flatten();
        allocations
            .filter(|a| !a.in_use && !a.cooling_down)
            .filter_map(|a| {
                let handle = Some(a.handle.as_str()).filter(|h| !h.is_empty()).map(HandleId::new);
                let release = Release { addr: a.ip.parse().ok()?, handle, sequence: a.sequence_number };
                Some((a.ip.clone(), release))
            })
            .collect()
    };
    let Some((last, earlier)) = reports.split_last() else { return (Vec::new(), Vec::new()) };
    let earlier_leaks: Vec<_> = earlier.iter().map(leaks).collect();
    let addresses =
        leaks(last).into_iter().filter(|(ip, _)| earlier_leaks.iter().all(|l| l.contains_key(ip)));
    let handles = last.leaked_handles.iter().filter(|h| earlier.iter().all(|r| r.leaked_handles.contains(h)));
    (addresses.map(|(_, release)| release).collect(), handles.cloned().collect())
}

async fn release_handles(client: &Client, handles: &[Leak], world: &mut Surroundings<'_>) -> Outcome {
    writeln!(world.out, "Deleting {} handles...", handles.len())?;
    writeln!(world.out, "Key: '.' = Deleted OK; 'x' = skip, handle missing/changed.")?;
    let (mut released, mut skipped, mut errors) = (0, 0, 0);
    for handle in handles {
        let key = Key::IpamHandle(handle.id.clone()).to_path().unwrap_or_default();
        let when = handle.revision.parse().map_or(Precondition::Absent, Precondition::Revision);
        match client.store().commit(vec![Op::Delete { key, when }]).await {
            Ok(_) => {
                released += 1;
                write!(world.out, ".")?;
            }
            Err(StoreError::Conflict { .. }) => {
                skipped += 1;
                write!(world.out, "x")?;
            }
            Err(error) => {
                errors += 1;
                writeln!(world.out, "\nDeleting handle {} failed: {error}.", handle.id)?;
            }
        }
    }
    writeln!(world.out, "\nReleased {released} handles; {skipped} skipped; {errors} errors.")?;
    Ok(())
}
