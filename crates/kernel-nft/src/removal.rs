//! The end of the table: for whoever takes the product off a node.

use crate::channel::Channel;
use crate::driver::{ApplyReport, Driver};
use crate::error::{ApplyError, ChannelError, OpenError, hint};
use nix::errno::Errno;
use std::sync::Arc;
use tortie_nft::Batch;
use tortie_rules::Desired;

/// The table is still there.
#[derive(Debug, thiserror::Error)]
pub enum RemoveTableError {
    /// No socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Talking to the kernel failed.
    #[error("cannot remove table inet calico")]
    Channel(#[from] ChannelError),
    /// The kernel refused.
    #[error("the kernel refuses to remove table inet calico{}", hint(*.source))]
    Refused {
        /// Why.
        #[source]
        source: Errno,
        /// What it said.
        text: Option<Arc<str>>,
    },
}

/// Removes the table `inet calico` of the current network namespace with all that is in it, in one transaction. It is
/// no error if there is none.
pub fn remove_table() -> Result<(), RemoveTableError> {
    let mut channel = Channel::open()?;
    let mut batch = Batch::new(tortie_model::names::nftables::TABLE);
    // What is made if it is not there can be deleted in any case.
    batch.add_table();
    batch.delete_table();
    for part in batch.parts(usize::MAX, None) {
        let answers = channel.transact(&part.bytes)?;
        if let Some(refused) = answers.into_iter().find(|answer| answer.errno != 0) {
            return Err(RemoveTableError::Refused {
                source: Errno::from_raw(refused.errno),
                text: refused.text,
            });
        }
    }
    Ok(())
}

impl Driver {
    /// Puts what is wanted in the place of the whole table, in one transaction: nothing of before is left, not even for a
    /// moment. For when nearly everything goes; counters begin anew.
    pub fn replace(&mut self, desired: &mut Desired) -> Result<ApplyReport, ApplyError> {
        desired.render_dirty();
        desired.take_dirty();
        self.forget_kernel(desired);
        self.apply(desired, true)
    }
}
