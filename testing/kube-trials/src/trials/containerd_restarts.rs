//! containerd is restarted, politely and not, while pods come and go: connections live, and nothing is left behind.

use crate::pods::{Pod, create_all, start_all};
use crate::{Context, Shape, Trial, leaks, probe::Probe, wait};
use anyhow::{Result, ensure};
use std::time::Duration;

pub(crate) const TRIAL: Trial = Trial {
    name: "containerd-restarts",
    about: "containerd ends by SIGTERM and SIGKILL while pods come and go: connections live, nothing leaks",
    shape: Shape::LEAN,
    run,
};

fn run(cx: &mut Context) -> Result<()> {
    let steady =
        start_all(cx, &[cx.pod("steady").server().on(1), cx.pod("near").on(1), cx.pod("far").on(2)])?;
    let [server, near, far] = steady.as_slice() else { unreachable!("three pods were started") };
    let mut probes = Probe::all(near, server)?;
    probes.extend(Probe::all(far, server)?);
    let mut before: Vec<String> = Vec::new();
    for (step, signal) in ["TERM", "KILL", "KILL", "TERM", "KILL", "KILL"].into_iter().enumerate() {
        let names: Vec<String> = (0..4).map(|i| format!("pod{step}-{i}")).collect();
        let specs: Vec<_> = names.iter().map(|name| cx.pod(name).on(1)).collect();
        create_all(cx, &specs)?;
        if !before.is_empty() {
            let words: Vec<&str> = before.iter().map(String::as_str).collect();
            cx.kubectl(&[&["delete", "pod", "--wait=false"], words.as_slice()].concat())?;
        }
        // Each step meets another state of what begins and ends.
        std::thread::sleep(Duration::from_millis(130) * step as u32);
        cx.say(&format!("SIG{signal} {} ms after pods were created and deleted", step * 130));
        let old = process(cx)?;
        cx.cluster.sh(1, &format!("kill -{signal} {old}"))?;
        wait::until_true("another containerd", wait::seconds(30), || Ok(process(cx)? != old))?;
        for name in &names {
            Pod::ready(cx, name)?;
        }
        before = names;
    }
    leaks::none(&cx.cluster)?;
    for probe in probes {
        probe.must_not_fail()?;
    }
    let restarted = cx.cluster.get(&["pod", "steady", "-n", &cx.namespace])?.unwrap_or_default();
    let restarts = restarted.pointer("/status/containerStatuses/0/restartCount").and_then(|c| c.as_u64());
    ensure!(restarts == Some(0), "a container was restarted {restarts:?} times");
    Ok(())
}

fn process(cx: &Context) -> Result<String> {
    Ok(cx.cluster.sh(1, "pgrep -x containerd")?.trim().to_owned())
}
