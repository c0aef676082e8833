//! create, apply, replace, delete, validate: what is done to each object of a file or of the arguments.

use super::{Common, Failure, Outcome, Scope, Surroundings, bad_file, named};
use crate::client::{Client, ClientError};
use crate::resources::{Resource, load};
use tortie_api::validate;
use tortie_causes::chain;

/// What to do with each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Apply,
    Replace,
    Delete,
    Validate,
}

/// The objects of a command: a file, or kind and names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) filename: Option<String>,
    pub(crate) recursive: bool,
    pub(crate) skip_empty: bool,
    pub(crate) kind: Option<String>,
    pub(crate) names: Vec<String>,
}

/// Options of the commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) selection: Selection,
    pub(crate) scope: Scope,
    pub(crate) skip_exists: bool,
    pub(crate) skip_not_exists: bool,
}

/// What became of the objects.
#[derive(Debug, Default)]
struct Results {
    total: usize,
    done: usize,
    errors: Vec<String>,
    /// The kind, if all objects are of one.
    kind: Option<&'static str>,
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Validate => "validate",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Apply => "applied",
            Self::Replace => "replaced",
            Self::Delete => "deleted",
            Self::Validate => "validated",
        }
    }
}

impl Selection {
    /// Loads the objects; none only if that was allowed.
    pub(crate) fn resources(&self, world: &mut Surroundings<'_>) -> Outcome<Vec<Resource>> {
        if let Some(filename) = &self.filename {
            return load(filename, self.recursive, self.skip_empty, world.stdin)
                .map(|loaded| loaded.resources)
                .map_err(|e| bad_file(&e));
        }
        match &self.kind {
            Some(kind) => named(kind, &self.names),
            None => Err(Failure::new("resource kind and name, or a file (-f), must be given")),
        }
    }
}

/// Runs a command.
pub(crate) async fn run(
    action: Action,
    options: &Options,
    common: &Common,
    world: &mut Surroundings<'_>,
) -> Outcome {
    let by_name = options.selection.filename.is_none();
    if by_name && options.selection.kind.is_none() {
        return Err(Failure::new(format!("a file must be given: {} -f FILE", action.verb())));
    }
    if by_name && action == Action::Delete && options.selection.names.is_empty() {
        return Err(Failure::new("resource name must be given"));
    }
    // What cannot be connected to is told before what cannot be read, as Calico's client does.
    let client = match action {
        Action::Validate => None,
        _ => Some(common.client(world).await?),
    };
    let resources = options.selection.resources(world)?;
    if resources.is_empty() {
        writeln!(world.out, "No resources specified")?;
        return Ok(());
    }
    if let (Some(client), Action::Create | Action::Apply | Action::Replace) = (&client, action) {
        // A user who may only write some kinds can still do so.
        if let Err(error @ ClientError::Store(_)) = client.ensure_initialized().await
            && !matches!(&error, ClientError::Store(tortie_store::StoreError::Denied { .. }))
        {
            return Err(error.into());
        }
    }
    let mut results = Results { total: resources.len(), ..Results::default() };
    let first = resources.first().map(|r| r.kind.kind);
    results.kind = first.filter(|kind| resources.iter().all(|r| r.kind.kind == *kind));
    for mut resource in resources {
        match one(action, client.as_ref(), options, &mut resource).await {
            Ok(()) => results.done += 1,
            Err(error) => results.errors.push(error),
        }
    }
    report(action, &results, world)
}

async fn one(
    action: Action,
    client: Option<&Client>,
    options: &Options,
    resource: &mut Resource,
) -> Result<(), String> {
    options.scope.apply(resource)?;
    let Some(client) = client else { return judge(resource) };
    let (kind, value) = (resource.kind, resource.value.clone());
    let done = match action {
        Action::Create => client.create(kind, value).await.map(drop),
        Action::Apply => apply(client, resource).await,
        Action::Replace => client.update(kind, value).await.map(drop),
        Action::Delete => {
            let version = crate::client::text(&value, "/metadata/resourceVersion").to_owned();
            client.delete(kind, resource.namespace(), resource.name(), &version).await
        }
        Action::Validate => Ok(()),
    };
    match done {
        Err(ClientError::Exists(_)) if options.skip_exists => Ok(()),
        Err(ClientError::NotFound(_)) if options.skip_not_exists => Ok(()),
        Err(error) => Err(chain(&error)),
        Ok(()) => Ok(()),
    }
}

/// Creates, or replaces what is there.
pub(crate) async fn apply(client: &Client, resource: &Resource) -> Result<(), ClientError> {
    let mut fresh = resource.value.clone();
    crate::client::metadata_mut(&mut fresh).shift_remove("resourceVersion");
    match client.create(resource.kind, fresh).await {
        Err(ClientError::Exists(_) | ClientError::Unsupported { .. }) => {
            client.update(resource.kind, resource.value.clone()).await.map(drop)
        }
        done => done.map(drop),
    }
}

fn judge(resource: &Resource) -> Result<(), String> {
    let problems = validate::validate_value(&resource.value, validate::Options::ALL);
    if problems.is_empty() {
        return Ok(());
    }
    let object = crate::client::name_of(resource.kind, &resource.value);
    Err(chain(&ClientError::wrong(object, &resource.value, problems)))
}

fn report(action: Action, results: &Results, world: &mut Surroundings<'_>) -> Outcome {
    let Results { total, done, errors, kind } = results;
    let (verb, past) = (action.verb(), action.past());
    let quoted = |tail: &str| kind.map_or_else(|| tail.to_owned(), |kind| format!("'{kind}' {tail}"));
    if errors.is_empty() {
        writeln!(world.out, "Successfully {past} {done} {}", quoted("resource(s)"))?;
        return Ok(());
    }
    let told = errors.join("\n");
    if action == Action::Delete {
        if *done > 0 {
            writeln!(world.out, "Successfully {past} {done} {}", quoted("resource(s)"))?;
        }
        let told: Vec<String> =
            errors.iter().map(|e| format!("Failed to delete {}: {e}", quoted("resource"))).collect();
        return Err(Failure::new(told.join("\n")));
    }
    if *done > 0 {
        let what = quoted("resources");
        let partial = format!("{past} the first {done} out of {total} {what}");
        // Calico's client tells this only if more succeeded than failed.
        if *done > errors.len() {
            writeln!(world.out, "Partial success: {partial}:")?;
            return Err(Failure::new(format!("hit error: {told}")));
        }
        return Err(Failure::new(format!("{partial}; hit error: {told}")));
    }
    Err(Failure::new(if *total == 1 {
        format!("failed to {verb} {}: {told}", quoted("resource"))
    } else {
        format!("failed to {verb} any {}: {told}", quoted("resources"))
    }))
}
