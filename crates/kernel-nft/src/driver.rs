//! The driver's state, and the apply cycle.

use crate::channel::Channel;
use crate::commit::Outcome;
use crate::error::{ApplyError, OpenError};
use crate::plan::{Effect, Layout, Plan, Planned};
use crate::refused::{Refusal, Refused};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tortie_nft::decode::KernelBase;
use tortie_nft::set::{RawElement, Spec};
use tortie_rules::{ChainName, Desired, Dirty, SetChange, SetName};

/// How long a set outlives its last user. A packet on its way through the rules takes microseconds.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
/// How often a transaction is tried without the items that were refused.
const ROUNDS: usize = 12;

/// What an apply did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Transactions that were sent; 0 if there was nothing to do.
    pub transactions: usize,
    /// Messages in those that succeeded.
    pub messages: usize,
    /// Bytes in those that succeeded.
    pub bytes: usize,
    /// The table was read on the way.
    pub resynced: bool,
    /// The table had to be deleted and created again.
    pub rebuilt: bool,
    /// All items that are not as wanted because the kernel refuses them.
    pub refused: Vec<Refusal>,
    /// Something is left to be removed: apply again after this time.
    pub again_after: Option<Duration>,
}

/// What is in the kernel under our table's name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) table: bool,
    pub(crate) chains: BTreeMap<ChainName, Option<KernelBase>>,
    pub(crate) sets: BTreeMap<SetName, Spec>,
}

/// The table `inet calico` of one network namespace.
#[derive(Debug)]
pub struct Driver {
    pub(crate) channel: Channel,
    pub(crate) table: &'static str,
    pub(crate) known: Known,
    /// The kernel's state has been read and nothing says that `known` is not true.
    pub(crate) in_step: bool,
    /// The table is deleted and created again by the next transaction.
    pub(crate) reset: bool,
    /// What may differ from what is wanted.
    pub(crate) pending: Dirty,
    /// Elements that nobody of ours has written.
    pub(crate) foreign: BTreeMap<SetName, Vec<RawElement>>,
    pub(crate) refused: Refused,
    /// Sets without users, and since when.
    pub(crate) retired: BTreeMap<SetName, Instant>,
    /// Largest transaction, if the socket could take a larger one.
    pub(crate) max_transaction: usize,
}

impl Driver {
    /// Opens a socket in the current network namespace. The kernel's state is read at the first apply.
    pub fn open() -> Result<Self, OpenError> {
        Ok(Self {
            channel: Channel::open()?,
            table: tortie_model::names::nftables::TABLE,
            known: Known::default(),
            in_step: false,
            reset: false,
            pending: Dirty::default(),
            foreign: BTreeMap::new(),
            refused: Refused::default(),
            retired: BTreeMap::new(),
            max_transaction: usize::MAX,
        })
    }

    /// Cuts transactions at chain and set borders so that each has at most about this many bytes. Without it only the socket's
    /// buffer limits them, and one transaction is the rule.
    pub fn with_max_transaction(mut self, bytes: usize) -> Self {
        self.max_transaction = bytes;
        self
    }

    /// All items that are not as wanted because the kernel refuses them.
    pub fn refused(&self) -> impl Iterator<Item = &Refusal> {
        self.refused.iter()
    }

    /// Writes what changed since the last apply, in one transaction. Before `in_sync` nothing is deleted.
    ///
    /// Items that the kernel refuses are left out and reported. On an error nothing is lost: the next apply tries again.
    pub fn apply(&mut self, desired: &mut Desired, in_sync: bool) -> Result<ApplyReport, ApplyError> {
        let result = self.try_apply(desired, in_sync);
        if result.is_err() && self.reset {
            // What the driver knew was given up for a reset that did not come about.
            self.reset = false;
            self.in_step = false;
        }
        result
    }

    fn try_apply(&mut self, desired: &mut Desired, in_sync: bool) -> Result<ApplyReport, ApplyError> {
        let mut report = ApplyReport::default();
        self.take_in(desired);
        let mut layout = Layout::Whole;
        for _ in 0..ROUNDS {
            if !self.in_step && !self.reset {
                self.resync(desired)?;
                report.resynced = true;
            }
            let plan = match self.plan(desired.table(), in_sync, layout)? {
                Planned::Plan(plan) => plan,
                Planned::NeedsReset if in_sync && !report.rebuilt => {
                    self.begin_reset(desired, &mut report);
                    continue;
                }
                Planned::NeedsReset => break,
            };
            if plan.batch.is_empty() {
                self.settle(plan);
                return Ok(self.finish(report));
            }
            match self.commit(&plan, layout, &mut report.transactions)? {
                Outcome::Done => {
                    report.messages += plan.batch.messages().len();
                    report.bytes += plan.batch.len();
                    self.settle(plan);
                    return Ok(self.finish(report));
                }
                Outcome::TooLarge => layout = Layout::Parts,
                Outcome::Changed => {}
                Outcome::Refused(refusals) => {
                    let stale = refusals.iter().any(|r| is_stale(r.errno));
                    if stale && !report.resynced {
                        self.in_step = false;
                    } else if !self.refused.note(refusals) {
                        if !in_sync || report.rebuilt {
                            break;
                        }
                        self.begin_reset(desired, &mut report);
                    }
                }
            }
        }
        self.in_step = false;
        Err(ApplyError::Stuck { refused: self.refused.iter().count() })
    }

    /// Adds what changed to what is pending.
    fn take_in(&mut self, desired: &mut Desired) {
        desired.render_dirty();
        let mut dirty = desired.take_dirty();
        self.refused.forget(&mut dirty);
        self.pending.merge(dirty);
    }

    /// From here on the kernel's table counts for nothing.
    fn begin_reset(&mut self, desired: &Desired, report: &mut ApplyReport) {
        tracing::warn!(table = self.table, "nftables table cannot be changed in place: it is created anew");
        report.rebuilt = true;
        self.forget_kernel(desired);
    }

    /// The next transaction puts what is wanted in the place of the whole table.
    pub(crate) fn forget_kernel(&mut self, desired: &Desired) {
        self.reset = true;
        self.in_step = false;
        self.known = Known::default();
        self.foreign.clear();
        self.retired.clear();
        self.refused = Refused::default();
        self.pending = Dirty {
            chains: desired.table().chains().keys().cloned().collect(),
            sets: desired.table().sets().keys().map(|name| (name.clone(), SetChange::Whole)).collect(),
        };
    }

    /// Takes note of a transaction that succeeded.
    fn settle(&mut self, plan: Plan) {
        self.reset = false;
        self.in_step = true;
        self.pending = plan.left;
        self.foreign.clear();
        for effect in plan.effects {
            match effect {
                Effect::Table => self.known.table = true,
                Effect::ChainAdded(name, base) => {
                    self.known.chains.insert(name, base);
                }
                Effect::ChainGone(name) => {
                    self.known.chains.remove(&name);
                }
                Effect::SetAdded(name, spec) => {
                    self.known.sets.insert(name, spec);
                }
                Effect::SetGone(name) => {
                    self.known.sets.remove(&name);
                    self.retired.remove(&name);
                }
                Effect::SetUsed(name) => {
                    self.retired.remove(&name);
                }
                Effect::SetUnused(name) => {
                    self.retired.entry(name).or_insert_with(Instant::now);
                }
            }
        }
    }

    fn finish(&self, mut report: ApplyReport) -> ApplyReport {
        report.refused = self.refused.iter().cloned().collect();
        report.again_after = self.retired.values().map(|since| GRACE.saturating_sub(since.elapsed())).max();
        report
    }
}

/// Errors that may mean that the kernel's state is not what the driver believes.
fn is_stale(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::EEXIST | Errno::EBUSY | Errno::ENOTEMPTY | Errno::ESTALE)
}
