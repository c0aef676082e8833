//! `lab up` and `lab down`.

use super::Context;
use crate::args::{ShapeArgs, UpArgs};
use crate::control::{Client, Event, name_flag};
use crate::dirs::{DirState, LabDir};
use crate::kube::{binaries, space};
use crate::request::Request;
use crate::sandbox;
use crate::spec::{Cni, Datastore, Kubelets, LabSpec};
use crate::terminal::Terminal;
use anyhow::{Context as _, anyhow, bail};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tortie_agent_api::read_frame;
use tortie_scenario::check_pools;

/// How long a lab may take to go away.
const DOWN_PATIENCE: Duration = Duration::from_secs(15);

/// The shape that a command asks for.
pub(crate) fn shape(dir: &LabDir, nodes: usize, args: &ShapeArgs) -> anyhow::Result<LabSpec> {
    let pools =
        if args.pools.is_empty() { LabSpec::default_pools(args.families) } else { args.pools.clone() };
    if let Some(pool) = pools.iter().find(|p| !args.families.has(p.family())) {
        bail!("--pool {pool} is of no family of this lab: change --families");
    }
    let wrong: Vec<String> = check_pools(&pools).iter().map(|(_, error)| error.to_string()).collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n  "));
    }
    let kubelets = args.kubernetes.then(|| kubelets(args)).transpose()?;
    let datastore = if args.kubernetes { Datastore::Kubernetes } else { args.datastore };
    Ok(LabSpec {
        name: dir.name().to_owned(),
        dir: dir.path().to_owned(),
        nodes,
        datastore,
        fabric: args.fabric,
        encapsulation: args.encapsulation,
        families: args.families,
        pools,
        cni_bin: cni_bin(args.cni_bin.as_deref())?,
        agent_env: args.agent_env.clone(),
        agents: kubelets.as_ref().is_none_or(|k| k.cni == Cni::Tortie),
        kube_bin: match datastore {
            Datastore::Kubernetes => Some(binaries::directory("kube-apiserver")?),
            Datastore::Embedded | Datastore::Etcd => None,
        },
        kubelets,
        tied: false,
    })
}

fn cni_bin(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().context("cannot find this executable")?.with_file_name("tortie-cni"),
    };
    path.canonicalize().with_context(|| {
        format!(
            "no CNI plugin at {}: build it with `cargo build -p tortie-cni` or name one with --cni-bin",
            path.display()
        )
    })
}

/// `lab up`.
pub(crate) fn up(context: &Context, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let mut shape_args = args.shape.clone();
    if args.without_agents && shape_args.cni_bin.is_none() {
        // A bare fabric has no use for a plugin.
        shape_args.cni_bin = Some("/dev/null".into());
    }
    let mut spec = shape(&context.dir, args.nodes, &shape_args)?;
    spec.agents &= !args.without_agents;
    spec.tied = args.tied;
    let started = Instant::now();
    let Some(_channel) = bring_up(context, &spec)? else { return already_up(context, &spec) };
    Terminal::print(&format!(
        "lab {:?} is up: {} node{}, {} fabric, {} datastore ({:.1} s)",
        spec.name,
        spec.nodes,
        if spec.nodes == 1 { "" } else { "s" },
        spec.fabric,
        spec.datastore,
        started.elapsed().as_secs_f64()
    ));
    if args.tied {
        // The lab goes with the channel.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("cannot read standard input")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What real nodes need of this machine, or all that it lacks.
fn kubelets(args: &ShapeArgs) -> anyhow::Result<Kubelets> {
    let mut problems = space::obstacles();
    if args.bare && args.cni != Cni::None {
        bail!("--bare is for clusters in which something is to be installed: it needs --cni none");
    }
    for program in ["containerd", "runc", "cp"] {
        if !binaries::in_path(program) {
            problems.push(format!(
                "{program} is not installed: `cargo xtask kube images` installs what nodes need"
            ));
        }
    }
    let mut programs = vec!["kubelet"];
    if !args.lean {
        programs.extend(["kube-proxy", "kube-controller-manager", "kube-scheduler"]);
    }
    for program in programs {
        problems.extend(binaries::directory(program).err().map(|e| format!("{e:#}")));
    }
    match binaries::images() {
        Ok(images) if problems.is_empty() => {
            Ok(Kubelets { lean: args.lean, cni: args.cni, proxy: args.kube_proxy, bare: args.bare, images })
        }
        images => {
            problems.extend(images.err().map(|e| format!("{e:#}")));
            bail!("real nodes cannot run here:\n  {}", problems.join("\n  "))
        }
    }
}

/// A second `up`: fine if it asks for what is there.
fn already_up(context: &Context, wanted: &LabSpec) -> anyhow::Result<ExitCode> {
    let name = context.dir.name();
    // Its supervisor may still be building it.
    let deadline = Instant::now() + DOWN_PATIENCE;
    let mut client = loop {
        match Client::try_connect(&context.dir)? {
            Some(client) => break client,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            None => bail!("lab {name:?} is being started or stopped by another command and does not answer"),
        }
    };
    let is: LabSpec = client.call(&Request::Shape, &mut |_| {})?;
    match is.difference(wanted) {
        None => {
            Terminal::print(&format!("lab {name:?} is up already"));
            Ok(ExitCode::SUCCESS)
        }
        Some(difference) => bail!(
            "lab {name:?} is up already in another shape ({difference}): stop it with `tortie lab down{}`, or start this one beside it with --name",
            name_flag(name)
        ),
    }
}

/// Starts a lab and waits until it is up; `None` if one of this name lives already. The channel answered is the one to which a
/// tied lab holds on.
pub(crate) fn bring_up(context: &Context, spec: &LabSpec) -> anyhow::Result<Option<UnixStream>> {
    context.clean_leftover()?;
    let Some(claim) = context.dir.claim()? else { return Ok(None) };
    let (mut first, channel) = match sandbox::launch(&claim, &context.dir, spec) {
        Ok(launched) => launched,
        Err(error) => {
            claim.remove()?;
            return Err(error);
        }
    };
    drop(claim);
    context.interrupts.hold(&context.dir, &channel, "the start was")?;
    let outcome = follow(context, channel);
    let _ = first.wait();
    context.interrupts.settle();
    match outcome {
        Ok(channel) => {
            if spec.tied {
                context.interrupts.hold(&context.dir, &channel, "the lab was")?;
            } else {
                context.interrupts.leave(&context.dir);
            }
            Ok(Some(channel))
        }
        Err(error) => {
            wait_until_gone(&context.dir)?;
            Err(error)
        }
    }
}

/// Shows how the start goes on until the lab is up.
fn follow(context: &Context, mut channel: UnixStream) -> anyhow::Result<UnixStream> {
    loop {
        match read_frame::<Event>(&mut channel) {
            Ok(Some(Event::Progress { message })) => context.terminal.progress(&message),
            Ok(Some(Event::Done { .. })) => return Ok(channel),
            Ok(Some(Event::Failed { chain })) => {
                let chain = chain.join(": ");
                return Err(
                    anyhow!(chain).context(format!("lab {:?} could not be started", context.dir.name()))
                );
            }
            Ok(Some(Event::Item { .. })) => {}
            Ok(None) => return Err(died(&context.dir)),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Err(died(&context.dir)),
            Err(e) => return Err(e).context("the lab's supervisor makes no sense"),
        }
    }
}

/// The last words of a sandbox that ended without a message.
fn died(dir: &LabDir) -> anyhow::Error {
    let log = std::fs::read_to_string(dir.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    let last = lines.into_iter().rev().collect::<Vec<_>>().join("\n  ");
    anyhow!("the sandbox ended while lab {:?} was starting:\n  {last}", dir.name())
}

/// `lab down`.
pub(crate) fn down(context: &Context) -> anyhow::Result<ExitCode> {
    let name = context.dir.name();
    match context.dir.state()? {
        DirState::Absent => {
            Terminal::print(&format!("lab {name:?} is not up"));
            return Ok(ExitCode::SUCCESS);
        }
        DirState::Leftover => {
            context.dir.clean()?;
            Terminal::print(&format!("removed the leftovers of lab {name:?}, which had died"));
            return Ok(ExitCode::SUCCESS);
        }
        DirState::Alive => {}
    }
    take_down(&context.dir)?;
    Terminal::print(&format!("lab {name:?} is down"));
    Ok(ExitCode::SUCCESS)
}

/// Ends a lab that is up.
pub(crate) fn take_down(dir: &LabDir) -> anyhow::Result<()> {
    if let Some(mut client) = Client::try_connect(dir)? {
        // The supervisor may be gone before its answer is read: what counts is the lock.
        let _ = client.call::<serde_json::Value>(&Request::Down, &mut |_| {});
    }
    wait_until_gone(dir)
}

/// Waits until the last process of the sandbox has ended, and removes what is left.
pub(crate) fn wait_until_gone(dir: &LabDir) -> anyhow::Result<()> {
    let deadline = Instant::now() + DOWN_PATIENCE;
    loop {
        match dir.state()? {
            DirState::Absent => return Ok(()),
            DirState::Leftover => {
                dir.clean()?;
                return Ok(());
            }
            DirState::Alive if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            DirState::Alive => bail!(
                "lab {:?} does not go down: see {}, or kill its supervisor, which ends all of it",
                dir.name(),
                dir.log().display()
            ),
        }
    }
}
