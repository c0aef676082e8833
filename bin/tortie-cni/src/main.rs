//! The CNI plugin's process: environment in, answer on stdout, status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    if tortie_cni::wait(|name| std::env::var(name).ok()) {
        return ExitCode::SUCCESS;
    }
    let status =
        tortie_cni::run(|name| std::env::var(name).ok(), &mut std::io::stdin(), &mut std::io::stdout());
    ExitCode::from(status)
}
