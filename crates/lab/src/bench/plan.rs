//! How often the benchmark on real nodes measures what, and in which order.

use super::kubernetes::Measure;
use crate::spec::Cni;

/// The sizes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How often each network gets a cluster of its own.
    pub(crate) rounds: usize,
    pub(crate) nodes: usize,
    /// Pods one after the other, in each round.
    adds: usize,
    /// Pods of a Deployment, and how often in each round.
    pub(crate) pods: usize,
    bursts: usize,
    /// Pods that are started while the agent is looked at.
    pub(crate) starts: usize,
    idle_seconds: u64,
    changes: usize,
}

impl Default for Plan {
    /// What tells networks apart on a quiet machine, in less than ten minutes.
    fn default() -> Self {
        Self {
            rounds: 3,
            nodes: 3,
            adds: 15,
            pods: 30,
            bursts: 2,
            starts: 100,
            idle_seconds: 30,
            changes: 50,
        }
    }
}

impl Plan {
    /// As little as shows that everything works.
    pub(crate) fn short() -> Self {
        Self { rounds: 1, nodes: 2, adds: 2, pods: 4, bursts: 1, starts: 6, idle_seconds: 2, changes: 2 }
    }

    /// The networks of one round: who went first goes last in the next.
    pub(crate) fn order(round: usize) -> [Cni; 2] {
        if round.is_multiple_of(2) { [Cni::Tortie, Cni::Bridge] } else { [Cni::Bridge, Cni::Tortie] }
    }

    /// What a cluster of this round is asked for. What needs an agent is measured once.
    pub(crate) fn measures(&self, round: usize, cni: Cni) -> Vec<Measure> {
        let mut all = vec![
            Measure::Warm,
            Measure::Adds { pods: self.adds },
            Measure::Bursts { pods: self.pods, times: self.bursts },
        ];
        if round == 0 && cni == Cni::Tortie {
            all.push(Measure::Policy { changes: self.changes });
            all.push(Measure::Idle { pods: self.pods, seconds: self.idle_seconds });
            all.push(Measure::Starts { pods: self.starts });
        }
        // Last: it leaves a node whose neighbours have yet to find it again.
        all.push(Measure::Node);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_take_turns_and_the_agent_is_looked_at_once() {
        assert_eq!(Plan::order(0), [Cni::Tortie, Cni::Bridge]);
        assert_eq!(Plan::order(1), [Cni::Bridge, Cni::Tortie]);
        let plan = Plan::default();
        assert_eq!(plan.measures(0, Cni::Tortie).len(), 7);
        assert_eq!(plan.measures(0, Cni::Bridge), plan.measures(1, Cni::Tortie));
    }
}
