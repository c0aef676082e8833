//! version: of this program, and of the cluster.

use super::{CALICO_VERSION, Common, Failure, Outcome, Surroundings};
use crate::client::text;
use std::time::Duration;
use tortie_api::duration;
use tortie_causes::chain;

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) client: bool,
    pub(crate) poll: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let poll = match options.poll.as_deref().filter(|p| !p.is_empty()) {
        Some(text) => Some(interval(text)?),
        None => None,
    };
    writeln!(world.out, "Client Version:    {CALICO_VERSION}-tortie-{}", env!("CARGO_PKG_VERSION"))?;
    writeln!(world.out, "Git commit:        {}", option_env!("TORTIE_GIT_COMMIT").unwrap_or("unknown"))?;
    if options.client {
        return Ok(());
    }
    let client = common.unchecked_client(world).await?;
    let (mut version, mut cluster_type) = (String::new(), String::new());
    loop {
        let found = match client.cluster_information().await {
            Ok(Some(information)) => {
                let or_unknown = |field: &str| match text(&information, field) {
                    "" => "unknown".to_owned(),
                    text => text.to_owned(),
                };
                let (v, t) = (or_unknown("/spec/calicoVersion"), or_unknown("/spec/clusterType"));
                if v != version {
                    writeln!(world.out, "Cluster Version:   {v}")?;
                }
                if t != cluster_type {
                    writeln!(world.out, "Cluster Type:      {t}")?;
                }
                (version, cluster_type) = (v, t);
                Ok(())
            }
            Ok(None) => Err("nothing was written to this datastore yet".to_owned()),
            Err(error) => Err(chain(&error)),
        };
        let told = found.map_err(|e| format!("unable to retrieve Cluster Version or Type: {e}"));
        let Some(poll) = poll else { return told.map_err(Failure::new) };
        if let Err(told) = told {
            writeln!(world.err, "{told}")?;
            (version, cluster_type) = (String::new(), String::new());
        }
        tokio::time::sleep(poll).await;
    }
}

fn interval(text: &str) -> Outcome<Duration> {
    let wrong = || Failure::new(format!("invalid poll duration specified: {text}; write 5s or 1m"));
    let nanoseconds = duration::parse(text).map_err(|_| wrong())?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| wrong())
}
