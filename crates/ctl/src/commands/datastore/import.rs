//! datastore migrate import: reads the file of an export into a datastore that holds nothing of Calico's yet.

use super::file::{FileError, IpamPart, MigrationFile, Pair};
use super::{KINDS, kind, movable};
use crate::client::{self, Client, ClientError, metadata_mut, part_mut, text};
use crate::commands::{Common, Failure, Outcome, Surroundings};
use crate::resources::{self, Resource};
use serde::Serialize;
use std::collections::BTreeMap;
use tortie_api::validate;
use tortie_causes::chain;
use tortie_store::{Op, Precondition, StoreError};

/// What is told after so many objects that more are to come.
const PROGRESS_EVERY: usize = 500;
/// Tiers that every datastore has.
const SYSTEM_TIERS: [&str; 3] = ["default", "kube-admin", "kube-baseline"];

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `-f`.
    pub(crate) filename: String,
    /// Only judge the file and the datastore.
    pub(crate) dry_run: bool,
    /// Where to write what became of everything, as JSON.
    pub(crate) report: Option<String>,
    /// Go on with an import that was interrupted.
    pub(crate) resume: bool,
    /// Import into a datastore other than Kubernetes, too.
    pub(crate) any_datastore: bool,
}

/// What became of the objects of a kind, or of a part of address management.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Tally {
    found: usize,
    written: usize,
    skipped: usize,
    errors: Vec<String>,
}

/// By kind.
type Report = BTreeMap<String, Tally>;

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let datastore = common.datastore_type(world)?;
    if datastore == "etcdv3" && !options.any_datastore {
        return Err(Failure::new(format!(
            "invalid datastore type: {datastore} to import to for datastore migration. Datastore type must be kubernetes"
        )));
    }
    let file = read(options, world)?;
    let resources = resources::parse(&options.filename, &file.objects)
        .map_err(|error| Failure::new(format!("failed to import v3 resources: {}", chain(&error))))?;
    // Versions differ while a cluster moves.
    let client = common.unchecked_client(world).await?;
    if !options.resume {
        demand_nothing(&client).await?;
    }
    if options.dry_run {
        return dry_run(&file, &resources, options, world);
    }
    client.ensure_initialized().await?;
    client.set_ready(false).await?;
    writeln!(world.out, "Datastore locked.")?;
    let mut report = Report::new();
    let objects = import_objects(&client, resources, &mut report, world).await?;
    writeln!(world.out, "Successfully applied {} resource(s)", objects.written)?;
    import_cluster(&client, &file).await?;
    writeln!(world.out, "Importing IPAM resources")?;
    let addresses = import_addresses(&client, &file.ipam, options, &mut report).await?;
    write_report(options, &report)?;
    conclude(&objects, &addresses, world)
}

fn read(options: &Options, world: &mut Surroundings<'_>) -> Outcome<MigrationFile> {
    let name = &options.filename;
    let wrong = |told: String| Failure::new(format!("error while reading migration file: {told}"));
    if name.is_empty() {
        return Err(wrong("a file must be given: datastore migrate import -f FILE".to_owned()));
    }
    let mut text = String::new();
    if name == "-" {
        world.stdin.read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(name).map_err(|error| wrong(format!("open {name}: {error}")))?;
    }
    MigrationFile::parse(name, &text).map_err(|error: FileError| wrong(chain(&error)))
}

/// Refuses a datastore with objects in it: they would be mixed with those of the file.
async fn demand_nothing(client: &Client) -> Outcome {
    let found = |what: &str| {
        Failure::new(format!(
            "datastore already has Calico resources: found existing {what}. Clear out all Calico resources by \
             deleting all Calico CRDs, or go on with an interrupted import with --resume"
        ))
    };
    for name in KINDS.into_iter().filter(|name| *name != "Node") {
        let mut items = movable(client, name).await?.items;
        items.retain(|item| name != "Tier" || !SYSTEM_TIERS.contains(&text(item, "/metadata/name")));
        if !items.is_empty() {
            return Err(found(&format!("Calico {name} resource")));
        }
    }
    if client.cluster_information().await?.is_some() {
        return Err(found("Calico ClusterInformation resource"));
    }
    if !client.store().list("/calico/ipam/v2/").await?.entries.is_empty() {
        return Err(found("IPAM resources"));
    }
    Ok(())
}

/// Tells what an import would do, and what is wrong with the file.
fn dry_run(
    file: &MigrationFile,
    resources: &[Resource],
    options: &Options,
    world: &mut Surroundings<'_>,
) -> Outcome {
    let mut report = Report::new();
    for resource in resources {
        let tally = report.entry(resource.kind.kind.to_owned()).or_default();
        tally.found += 1;
        let problems = validate::validate_value(&resource.value, validate::Options::ALL);
        if !problems.is_empty() {
            let object = client::name_of(resource.kind, &resource.value);
            tally.errors.push(chain(&ClientError::wrong(object, &resource.value, problems)));
        }
    }
    for (name, pairs) in parts(&file.ipam) {
        report.entry(name.to_owned()).or_default().found += pairs;
    }
    write_report(options, &report)?;
    let rows = report
        .iter()
        .map(|(kind, tally)| vec![kind.clone(), tally.found.to_string(), tally.errors.len().to_string()]);
    world.out.write_all(crate::output::table(&["KIND", "FOUND", "INVALID"], rows).as_bytes())?;
    let errors: Vec<String> = report.into_values().flat_map(|tally| tally.errors).collect();
    if errors.is_empty() {
        writeln!(world.out, "Nothing was written (dry run).")?;
        return Ok(());
    }
    Err(Failure::new(format!("the import would fail: {}", errors.join("\n"))))
}

fn parts(ipam: &IpamPart) -> [(&'static str, usize); 4] {
    [
        ("IPAM block affinities", ipam.block_affinities.len()),
        ("IPAM blocks", ipam.blocks.len()),
        ("IPAM handles", ipam.handles.len()),
        ("IPAM configuration", usize::from(ipam.config.is_some())),
    ]
}

async fn import_objects(
    client: &Client,
    resources: Vec<Resource>,
    report: &mut Report,
    world: &mut Surroundings<'_>,
) -> Outcome<Tally> {
    let (mut all, total) = (Tally::default(), resources.len());
    for (done, mut resource) in resources.into_iter().enumerate() {
        if done > 0 && done % PROGRESS_EVERY == 0 {
            writeln!(world.err, "{done} of {total} resources applied")?;
        }
        metadata_mut(&mut resource.value).shift_remove("resourceVersion");
        let name = client::name_of(resource.kind, &resource.value);
        let tally = report.entry(resource.kind.kind.to_owned()).or_default();
        tally.found += 1;
        all.found += 1;
        match super::super::crud::apply(client, &resource).await {
            Ok(()) => {
                tally.written += 1;
                all.written += 1;
            }
            Err(ClientError::NotFound(missing)) if resource.kind.kind == "Node" && missing.kind == "Node" => {
                tally.skipped += 1;
                writeln!(
                    world.out,
                    "[WARNING] Attempted to import node {name} from etcd that references a nonexistent Kubernetes \
                     node. Skipping that node. Non-Kubernetes nodes are not supported in the Kubernetes datastore and \
                     will be skipped."
                )?;
            }
            Err(error) => {
                let told = chain(&error);
                tally.errors.push(told.clone());
                all.errors.push(told);
            }
        }
    }
    Ok(all)
}

/// The cluster keeps its identity.
async fn import_cluster(client: &Client, file: &MigrationFile) -> Outcome {
    let Some(mut information) = client.cluster_information().await? else { return Ok(()) };
    let spec = part_mut(&mut information, "spec");
    for field in ["clusterGUID", "calicoVersion"] {
        match &file.cluster["spec"][field] {
            serde_json::Value::Null => spec.shift_remove(field),
            value => spec.insert(field.to_owned(), value.clone()),
        };
    }
    client
        .update_unprotected(kind("ClusterInformation"), information)
        .await
        .map_err(|error| Failure::new(format!("failed to update cluster information: {}", chain(&error))))?;
    Ok(())
}

async fn import_addresses(
    client: &Client,
    ipam: &IpamPart,
    options: &Options,
    report: &mut Report,
) -> Outcome<Tally> {
    let mut all = Tally::default();
    let mut names = parts(ipam).into_iter().flat_map(|(name, pairs)| std::iter::repeat_n(name, pairs));
    for Pair { key, value, .. } in ipam.pairs() {
        let tally = report.entry(names.next().unwrap_or_default().to_owned()).or_default();
        tally.found += 1;
        all.found += 1;
        let put = Op::Put {
            key: key.clone(),
            value: value.to_string().into(),
            when: if options.resume { Precondition::Any } else { Precondition::Absent },
            ttl: None,
        };
        match client.store().commit(vec![put]).await {
            Ok(_) => {
                tally.written += 1;
                all.written += 1;
            }
            Err(error @ StoreError::Unavailable { .. }) => return Err(error.into()),
            Err(error) => {
                let told = format!("error trying to create {key}: {}", chain(&error));
                tally.errors.push(told.clone());
                all.errors.push(told);
            }
        }
    }
    Ok(all)
}

fn write_report(options: &Options, report: &Report) -> Outcome {
    let Some(path) = options.report.as_deref().filter(|path| !path.is_empty()) else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text + "\n")
        .map_err(|error| Failure::new(format!("write the report to {path}: {error}")))
}

fn conclude(objects: &Tally, addresses: &Tally, world: &mut Surroundings<'_>) -> Outcome {
    if addresses.written > 0 {
        writeln!(world.out, "Successfully applied {} IPAM resource(s)", addresses.written)?;
    }
    let errors: Vec<&str> = objects.errors.iter().chain(&addresses.errors).map(String::as_str).collect();
    if !errors.is_empty() {
        let told = errors.join("\n");
        return Err(Failure::new(format!("hit error(s): {told}\nMend them and go on with --resume")));
    }
    if addresses.found == 0 {
        return Err(Failure::new("no IPAM resources specified in file"));
    }
    writeln!(
        world.out,
        "Datastore information successfully imported. Please refer to the datastore migration documentation for next steps."
    )?;
    Ok(())
}
