//! datastore migrate lock, unlock: tells components that the datastore must not be used, or may be again.

use super::{Common, Outcome, Surroundings};

/// Locks or unlocks.
pub(crate) async fn set_ready(ready: bool, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    client.set_ready(ready).await?;
    writeln!(world.out, "Datastore {}.", if ready { "unlocked" } else { "locked" })?;
    Ok(())
}
