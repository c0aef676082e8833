//! The commands of `tortie lab`: each a short-lived process outside the sandbox that asks the supervisor.

mod bench;
mod bench_kubernetes;
mod exec;
mod fault;
mod info;
mod matrix;
mod objects;
mod pod;
mod run;
mod up;

use crate::args::{Args, Command};
use crate::control::{Client, Event};
use crate::dirs::LabDir;
use crate::interrupt::Interrupts;
use crate::kube::space;
use crate::request::Request;
use crate::terminal::Terminal;
use crate::{sandbox, supervisor};
use serde::de::DeserializeOwned;
use std::process::ExitCode;
pub(crate) use up::wait_until_gone;

/// What every command needs.
pub(crate) struct Context {
    pub(crate) dir: LabDir,
    pub(crate) terminal: Terminal,
    pub(crate) interrupts: Interrupts,
}

impl Context {
    /// Asks the lab; progress goes to the terminal.
    fn ask<T: DeserializeOwned>(&self, request: &Request) -> anyhow::Result<T> {
        self.ask_with(request, &mut |_| {})
    }

    /// Asks the lab; items go to `on_item`.
    fn ask_with<T: DeserializeOwned>(
        &self,
        request: &Request,
        on_item: &mut dyn FnMut(serde_json::Value),
    ) -> anyhow::Result<T> {
        self.clean_leftover()?;
        let outcome = Client::connect(&self.dir)?.call(request, &mut |event| match event {
            Event::Progress { message } => self.terminal.progress(&message),
            Event::Item { item } => on_item(item),
            Event::Done { .. } | Event::Failed { .. } => {}
        });
        self.interrupts.settle();
        outcome
    }

    /// Removes what a crash left behind, and says so.
    fn clean_leftover(&self) -> anyhow::Result<()> {
        if self.dir.clean()? {
            self.terminal
                .warn(&format!("removed the leftovers of lab {:?}, which had died", self.dir.name()));
        }
        Ok(())
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let terminal = Terminal::new(args.quiet);
    let interrupts = Interrupts::default();
    let context = || -> anyhow::Result<Context> {
        Ok(Context { dir: LabDir::of(&args.name)?, terminal, interrupts: interrupts.clone() })
    };
    // Commands that take a while. The inner programs and what `exec` becomes have signals of their own.
    let long = matches!(
        args.command,
        Command::Up(_)
            | Command::Run(_)
            | Command::Apply { .. }
            | Command::Delete { .. }
            | Command::Matrix(_)
            | Command::Bench(_)
    );
    if long {
        interrupts.watch(terminal)?;
    }
    match args.command {
        Command::Up(up) => up::up(&context()?, &up),
        Command::Down => up::down(&context()?),
        Command::Status { output } => info::status(&context()?, output.output),
        Command::List { output } => info::list(terminal, output.output),
        Command::Exec { place, command } => exec::exec(&context()?, &place, &command),
        Command::Pod(pod) => pod::pod(&context()?, pod),
        Command::Apply { filename, no_wait, output } => {
            objects::apply(&context()?, &filename, !no_wait, output)
        }
        Command::Delete { filename, object, output } => {
            objects::delete(&context()?, &filename, &object, output)
        }
        Command::Matrix(args) => matrix::matrix(&context()?, &args),
        Command::Run(args) => run::run(&context()?, &args),
        Command::Bench(args) => bench::bench(&context()?, &args),
        Command::Kubeconfig => info::kubeconfig(&context()?),
        Command::Reuse { output } => bench::reuse(&context()?, output.output),
        Command::Fault { fault } => fault::fault(&context()?, &fault),
        // The inner programs of the sandbox know their directory from the specification.
        Command::Sandbox(inner) => sandbox::enter(&inner.spec),
        Command::Init(inner) => sandbox::init(&inner.spec),
        Command::Node(inner) => space::node(&inner.space),
        Command::NodeInit(inner) => space::init(&inner.space),
        Command::Enter { pid_file, command } => space::enter(&pid_file, &command),
        Command::Become { command } => space::become_program(&command),
        Command::Supervise(inner) => supervisor::run(inner.spec),
    }
}
