//! The commands of `tortie ctl`, over a client and the surroundings that they run in.

pub(crate) mod bundle;
pub(crate) mod cluster;
pub(crate) mod crud;
pub(crate) mod datastore;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod ipam;
pub(crate) mod label;
pub(crate) mod node;
pub(crate) mod patch;
pub(crate) mod selector;
pub(crate) mod version;

use crate::client::{self, Client, ClientError, ConfigError, Datastore, Environment};
use crate::resources::{LoadError, Resource};
use std::io::{Read, Write};
use std::sync::Arc;
use tortie_causes::chain;
use tortie_store::{EmbeddedClient, Store, StoreError};
use tortie_store_etcd::EtcdStore;
use tortie_store_kube::KubeStore;

/// Version of Calico whose data and commands these are.
pub(crate) use tortie_cluster::CALICO_VERSION;

/// What a command may use of the world: standard streams and environment.
pub struct Surroundings<'a> {
    /// Variables.
    pub environment: Environment<'a>,
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
}

/// Options that every command has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    /// `--config`.
    pub(crate) config: Option<String>,
    /// `--allow-version-mismatch`.
    pub(crate) allow_version_mismatch: bool,
}

/// Why a command failed; it ends with status 1.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Told on stderr.
    Message(String),
    /// Told on stdout, where Calico's client tells it.
    OnStdout(String),
}

/// Result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Message(chain(&error))
    }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }
}

impl Common {
    /// Connects to the configured datastore, and refuses one of another version.
    pub(crate) async fn client(&self, world: &Surroundings<'_>) -> Outcome<Client> {
        let client = self.unchecked_client(world).await?;
        if !self.allow_version_mismatch {
            check_version(&client).await?;
        }
        Ok(client)
    }

    fn datastore(&self, world: &Surroundings<'_>) -> Outcome<Datastore> {
        client::load_config(self.config.as_deref(), world.environment).map_err(|error| match error {
            ConfigError::Read { .. } => Failure::OnStdout(chain(&error)),
            _ => unusable(&chain(&error)),
        })
    }

    /// The name of the configured datastore's type.
    pub(crate) fn datastore_type(&self, world: &Surroundings<'_>) -> Outcome<&'static str> {
        Ok(self.datastore(world)?.type_name())
    }

    /// Connects, whatever version the cluster has.
    pub(crate) async fn unchecked_client(&self, world: &Surroundings<'_>) -> Outcome<Client> {
        let datastore = self.datastore(world)?;
        let store: Arc<dyn Store> = match datastore {
            Datastore::Embedded { socket } => {
                Arc::new(EmbeddedClient::connect(socket).await.map_err(|e| unusable(&chain(&e)))?)
            }
            Datastore::Etcd(config) => {
                Arc::new(EtcdStore::connect(*config).await.map_err(|e| unusable(&chain(&e)))?)
            }
            Datastore::Kubernetes(config) => {
                Arc::new(KubeStore::connect(*config).await.map_err(|e| unusable(&chain(&e)))?)
            }
        };
        Ok(Client::new(store))
    }
}

fn unusable(reason: &str) -> Failure {
    Failure::OnStdout(format!("Failed to create Calico API client: {reason}"))
}

async fn check_version(client: &Client) -> Outcome {
    let information = match client.cluster_information().await {
        Ok(information) => information,
        Err(ClientError::Store(error @ StoreError::Unavailable { .. })) => {
            return Err(unusable(&chain(&error)));
        }
        Err(error) => {
            let told = chain(&error);
            return Err(Failure::new(format!(
                "unable to get Cluster Information to verify version mismatch: {told}\nUse --allow-version-mismatch to override"
            )));
        }
    };
    let cluster = information.map(|i| client::text(&i, "/spec/calicoVersion").to_owned()).unwrap_or_default();
    if cluster.is_empty() || plain_version(&cluster) == plain_version(CALICO_VERSION) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "version mismatch.\nClient Version:   {CALICO_VERSION}\nCluster Version:  {cluster}\nUse --allow-version-mismatch to override"
    )))
}

fn plain_version(version: &str) -> &str {
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split('-').next().unwrap_or(version)
}

/// Where the objects of a command live, as flags say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// `--namespace`.
    pub(crate) namespace: Option<String>,
    /// `--all-namespaces`.
    pub(crate) all_namespaces: bool,
}

impl Scope {
    /// Gives an object its namespace, or refuses the combination.
    pub(crate) fn apply(&self, resource: &mut Resource) -> Result<(), String> {
        let kind = resource.kind.kind;
        let own = resource.namespace().to_owned();
        let asked = self.namespace.as_deref().filter(|n| !n.is_empty());
        if !resource.kind.namespaced {
            return match (own.as_str(), asked, self.all_namespaces) {
                ("", None, false) => Ok(()),
                ("", ..) => Err(format!("{kind} is not namespaced")),
                _ => Err(format!(
                    "namespace should not be specified for a non-namespaced resource. {kind} is not a namespaced resource"
                )),
            };
        }
        let namespace = match (own.as_str(), asked, self.all_namespaces) {
            (_, Some(_), true) => {
                return Err(
                    "cannot use both --namespace and --all-namespaces flags at the same time".to_owned()
                );
            }
            (_, None, true) => "",
            ("", None, false) => "default",
            ("", Some(asked), false) => asked,
            (own, None, false) => own,
            (own, Some(asked), false) if own == asked => own,
            (own, Some(asked), false) => {
                return Err(format!("resource namespace does not match client namespace. {own} != {asked}"));
            }
        };
        let metadata = client::metadata_mut(&mut resource.value);
        if namespace.is_empty() {
            metadata.shift_remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        Ok(())
    }
}

/// The objects that arguments name: `KIND [NAME...]`.
pub(crate) fn named(kind: &str, names: &[String]) -> Outcome<Vec<Resource>> {
    let Some(found) = crate::resources::kind_of(kind) else {
        return Err(Failure::new(format!("resource type '{kind}' is not supported")));
    };
    if names.iter().any(String::is_empty) {
        return Err(Failure::new("resource name may not be empty"));
    }
    if names.is_empty() {
        return Ok(vec![Resource::named(found, "")]);
    }
    Ok(names.iter().map(|name| Resource::named(found, name)).collect())
}

/// A file argument that cannot be used.
pub(crate) fn bad_file(error: &LoadError) -> Failure {
    let told = chain(error);
    match error {
        LoadError::EmptyFile(_) | LoadError::EmptyDirectory(_) => Failure::Message(told),
        _ => Failure::Message(format!("failed to execute command: {told}")),
    }
}
