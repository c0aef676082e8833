//! ADD is interrupted: the pod is deleted, the plugin, the sandbox or the agent is killed, at moments spread over the time that a
//! start takes. What was attached half must go completely, and what shall run must run.

use crate::pods::{Pod, create_all, start_all};
use crate::{Context, Shape, Trial, leaks, probe::Probe};
use anyhow::{Result, anyhow};
use std::time::Duration;

pub(crate) const TRIAL: Trial = Trial {
    name: "add-interrupted",
    about: "pods deleted, plugins, sandboxes and agents killed in the middle of ADD leave nothing behind",
    shape: Shape::LEAN,
    run,
};

/// Pods that are started at once.
const PODS: usize = 4;

fn run(cx: &mut Context) -> Result<()> {
    let steady = start_all(cx, &[cx.pod("steady").server().on(1), cx.pod("peer").on(2)])?;
    let [server, peer] = steady.as_slice() else { unreachable!("two pods were started") };
    let probes = Probe::all(peer, server)?;
    for step in 0..6 {
        cx.say(&format!("pods deleted {} ms after their creation", step * 150));
        let names = begin(cx, &format!("short{step}"), step)?;
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let force = ["--grace-period=0", "--force", "--wait=false"];
        // Half of them as users do it.
        let (now, gently) = words.split_at(PODS / 2);
        cx.kubectl(&[&["delete", "pod"], now, &force].concat())?;
        cx.kubectl(&[&["delete", "pod"], gently, &["--wait=false"]].concat())?;
    }
    leaks::none(&cx.cluster)?;
    for (what, program) in [("plugins", "calico"), ("sandboxes", "pause")] {
        cx.say(&format!("{what} killed"));
        let names = kill_first(cx, program)?;
        ready(cx, &names)?;
        leaks::none(&cx.cluster)?;
    }
    for step in 0..6 {
        cx.say(&format!("agent killed {} ms after the creation of pods", step * 150));
        let names = begin(cx, &format!("orphan{step}"), step)?;
        cx.cluster.fault("restart-agent 1")?;
        ready(cx, &names)?;
    }
    leaks::none(&cx.cluster)?;
    for probe in probes {
        probe.must_not_fail()?;
    }
    Ok(())
}

/// Creates pods and kills the first three processes of a program that come with them.
fn kill_first(cx: &Context, program: &str) -> Result<Vec<String>> {
    let script = format!(
        "before=\" $(pgrep -x {program} | tr '\\n' ' ')\"; echo; n=0; while [ $n -lt 3 ]; do \
           for p in $(pgrep -x {program}); do \
             case \"$before\" in *\" $p \"*) ;; *) kill -9 $p && n=$((n+1)); before=\"$before$p \";; esac; \
           done; done"
    );
    let node = cx.cluster.clone();
    let killing = std::thread::spawn(move || node.sh(1, &script));
    let names = begin(cx, &format!("without-{program}"), 0)?;
    killing.join().map_err(|_| anyhow!("the killer panicked"))??;
    Ok(names)
}

/// Creates pods on the first node and lets a moment pass, so that each step meets another state of them.
fn begin(cx: &Context, name: &str, step: u32) -> Result<Vec<String>> {
    let names: Vec<String> = (0..PODS).map(|i| format!("{name}-{i}")).collect();
    let specs: Vec<_> = names.iter().map(|name| cx.pod(name).on(1)).collect();
    create_all(cx, &specs)?;
    std::thread::sleep(Duration::from_millis(150) * step);
    Ok(names)
}

fn ready(cx: &Context, names: &[String]) -> Result<()> {
    names.iter().try_for_each(|name| Pod::ready(cx, name).map(drop))
}
