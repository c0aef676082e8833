//! A store process for the tests: `FILE SOCKET`. Ends when its standard input does, so that it outlives no test.

use std::io::Write;
use std::process::ExitCode;
use tokio::sync::oneshot;
use tortie_store::{Durability, ServeConfig, serve};

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), Some(socket)) = (arguments.next(), arguments.next()) else {
        return ExitCode::from(64);
    };
    let mut config = ServeConfig::new(file, socket);
    config.engine.durability = Durability::Process;
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(());
    });
    match serve(config, async { drop(ended.await) }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
