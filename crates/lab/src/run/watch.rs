//! What runs beside a change: forbidden packets and held connections.

use super::cast::Cast;
use super::steady::Steady;
use super::{Found, StepResult};
use crate::lab::Lab;
use anyhow::{Context as _, anyhow};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tortie_kernel_net::NetNs;
use tortie_probe::{Flood, Flow, Hold, Host, Listeners, Proto};
use tortie_scenario::{Observed, Step};

/// Most pairs that are flooded: with more, each would be tried too rarely.
const FLOODED: usize = 1024;

/// Packets per second over all pairs.
const RATE: u32 = 8000;

/// Most connections that are held.
const HELD: usize = 256;

/// How long connections may take to open.
const OPENING: Duration = Duration::from_secs(5);

/// A pause that an application would not notice on a machine that is busy with a whole cluster, beyond that of the control.
const TOLERATED: Duration = Duration::from_secs(1);

/// Port of the control: a connection of a host without policy to itself.
const CONTROL: u16 = 9;

/// A running flood and held connections, with the positions of their probes.
pub(crate) struct Watch {
    flood: Option<(Flood, Vec<usize>)>,
    hold: Option<(Hold, Vec<usize>)>,
    /// Keeps the control's port open.
    _control: Listeners,
}

impl Watch {
    /// Starts both.
    pub(crate) async fn start(lab: &Lab, step: &Step, steady: &Steady) -> anyhow::Result<Self> {
        let cast = Cast::of(lab);
        let pick = |positions: &[usize], most: usize| -> (Vec<usize>, Vec<Flow>) {
            let flows = sample(positions, most);
            flows.filter_map(|i| Some((i, cast.flow(step.probes.get(i)?)?))).unzip()
        };
        let (denied, floods) = pick(&steady.denied, FLOODED);
        let (allowed, mut holds) = pick(&steady.allowed, HELD);
        let control = Listeners::new()?;
        if !holds.is_empty() {
            holds.push(self::control(&control)?);
        }
        // Connections first: their opening is not to be slowed down by the flood.
        let started =
            tokio::task::spawn_blocking(move || -> anyhow::Result<(Option<Hold>, Option<Flood>)> {
                let hold = if holds.is_empty() { None } else { Some(Hold::start(&holds, OPENING)?) };
                let flood = if floods.is_empty() { None } else { Some(Flood::start(&floods, RATE)?) };
                Ok((hold, flood))
            });
        let (hold, flood) = started.await.map_err(|e| anyhow!("{e}"))?.context("cannot watch the change")?;
        Ok(Self { flood: flood.map(|f| (f, denied)), hold: hold.map(|h| (h, allowed)), _control: control })
    }

    /// Stops both and adds what they saw.
    pub(crate) async fn finish(self, result: &mut StepResult) -> anyhow::Result<()> {
        let (found, flooded, held) =
            tokio::task::spawn_blocking(move || self.stop()).await.map_err(|e| anyhow!("{e}"))??;
        result.differences.extend(found);
        result.flooded += flooded;
        result.held += held;
        Ok(())
    }

    fn stop(self) -> anyhow::Result<(Vec<Found>, u64, usize)> {
        let (mut found, mut flooded, mut held) = (Vec::new(), 0, 0);
        if let Some((flood, positions)) = self.flood {
            let report = flood.stop()?;
            flooded = report.sent;
            for arrival in report.arrived {
                let Some(probe) = positions.get(arrival.index) else { continue };
                let reason = format!(
                    "{} forbidden packets got through while the step was applied, from {:.3} s to {:.3} s",
                    arrival.packets,
                    arrival.first.as_secs_f64(),
                    arrival.last.as_secs_f64()
                );
                found.push(Found::new(*probe, Observed::Allow, reason));
            }
        }
        if let Some((hold, positions)) = self.hold {
            let report = hold.stop()?;
            held = positions.len();
            // The control is the last. When even it pauses, the machine does, and nobody's policy is to blame.
            let stall = report.flows.get(held).map_or(Duration::ZERO, |control| control.longest_gap);
            for (flow, probe) in report.flows.iter().zip(positions) {
                let disturbed = flow.broken.is_some() || flow.longest_gap > TOLERATED + stall;
                if disturbed {
                    let broken = flow.broken.as_deref().map(|b| format!(": {b}")).unwrap_or_default();
                    let reason = format!(
                        "an established connection was disturbed{broken}; {} of {} messages answered, longest pause {:.3} s",
                        flow.answered,
                        flow.sent,
                        flow.longest_gap.as_secs_f64()
                    );
                    found.push(Found::new(probe, Observed::Deny, reason));
                }
            }
        }
        Ok((found, flooded, held))
    }
}

/// A connection that no policy and no route can disturb.
fn control(listeners: &Listeners) -> anyhow::Result<Flow> {
    let home = Ipv4Addr::LOCALHOST;
    let host = Host::new("control".to_owned(), NetNs::current()?, vec![IpAddr::V4(home)]);
    listeners.add(&host, CONTROL, Proto::Tcp)?;
    Ok(Flow { from: host.clone(), to: host, addr: home.into(), port: CONTROL, proto: Proto::Tcp })
}

/// At most `most` of the positions, evenly spread.
fn sample(positions: &[usize], most: usize) -> impl Iterator<Item = usize> {
    let count = positions.len().min(most);
    (0..count).filter_map(move |i| positions.get(i * positions.len() / count.max(1)).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_and_complete_where_they_can_be() {
        assert_eq!(sample(&[3, 5, 7], 10).collect::<Vec<_>>(), [3, 5, 7]);
        let many: Vec<usize> = (0..1000).collect();
        assert_eq!(sample(&many, 4).collect::<Vec<_>>(), [0, 250, 500, 750]);
        assert_eq!(sample(&[], 4).count(), 0);
    }
}
