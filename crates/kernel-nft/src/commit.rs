//! Sends a planned transaction and reads the kernel's verdict.

use crate::driver::Driver;
use crate::error::ApplyError;
use crate::plan::{Layout, Plan};
use crate::refused::Refusal;
use nix::errno::Errno;
use tortie_nft::decode::Answer;
use tortie_nft::{Item, Part};

/// Headers around the messages.
const FRAME: usize = 256;

/// `ERESTART` of the kernel, which user space knows as no error of its own.
const ERESTART: i32 = 85;

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is in the kernel.
    Done,
    /// The socket cannot take it in one piece.
    TooLarge,
    /// The rules changed since they were read for this plan.
    Changed,
    /// Nothing of it is in the kernel, because of these.
    Refused(Vec<Refusal>),
}

impl Driver {
    /// Sends the plan, counting the transactions.
    pub(crate) fn commit(
        &mut self,
        plan: &Plan,
        layout: Layout,
        sent: &mut usize,
    ) -> Result<Outcome, ApplyError> {
        let limit = self.channel.send_limit(plan.batch.len() + FRAME).saturating_sub(FRAME);
        let limit = limit.min(self.max_transaction);
        if plan.batch.len() > limit && layout == Layout::Whole {
            return Ok(Outcome::TooLarge);
        }
        for (index, part) in plan.batch.parts(limit, plan.generation).into_iter().enumerate() {
            *sent += 1;
            let answers = self.channel.transact(&part.bytes);
            if index > 0 || answers.is_err() {
                // Until all parts are in, the kernel has neither the old state nor the new one.
                self.in_step = false;
            }
            match judge(plan, &part, answers?)? {
                Outcome::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::Done)
    }
}

fn judge(plan: &Plan, part: &Part, answers: Vec<Answer>) -> Result<Outcome, ApplyError> {
    let mut acknowledged = false;
    let mut refusals = Vec::new();
    for Answer { seq, errno, offset, text } in answers {
        let message = (seq as usize).checked_sub(1).filter(|index| part.messages.contains(index));
        let message = message.and_then(|index| plan.batch.messages().get(index));
        if errno == 0 {
            acknowledged |= seq == part.last;
            continue;
        }
        let code = Errno::from_raw(errno);
        match message.map(|m| m.item_at(offset)) {
            Some(Item::Table) => return Err(ApplyError::Transaction { source: code, text }),
            Some(item) => refusals.push(Refusal { item, errno: code, text }),
            // An error on the frame is about the transaction as such.
            None if errno == ERESTART => return Ok(Outcome::Changed),
            None => return Err(ApplyError::Transaction { source: code, text }),
        }
    }
    if !refusals.is_empty() {
        return Ok(Outcome::Refused(refusals));
    }
    if acknowledged {
        Ok(Outcome::Done)
    } else {
        Err(ApplyError::Transaction { source: Errno::EIO, text: Some("no answer".into()) })
    }
}
