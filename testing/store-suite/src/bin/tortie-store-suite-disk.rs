//! A full disk, seen from inside: `fill FILE` writes numbered keys until the store fails, and prints how many were
//! acknowledged; `check FILE COUNT` opens the store anew, and checks that those are there and that it writes again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for a test, which sees it fail"
)]

use std::process::ExitCode;
use tortie_store::{Durability, Engine, EngineConfig, Store};
use tortie_store_suite::{put, soon};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["fill", file] => fill(file).await,
        ["check", file, count] => check(file, count.parse().unwrap()).await,
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn open(file: &str) -> Engine {
    Engine::open(EngineConfig { durability: Durability::Process, ..EngineConfig::new(file) }).unwrap()
}

async fn fill(file: &str) {
    let engine = open(file);
    for n in 0..100_000 {
        if let Err(error) = engine.commit(vec![put(&format!("/fill/{n}"), vec![7; 5000])]).await {
            assert!(error.is_transient(), "{error}");
            // It says so at once from now on, still reads, and lets its owner know.
            let later = engine.commit(vec![put("/later", "1")]).await.unwrap_err();
            assert!(
                later.is_transient() && later.to_string().contains("cannot be written any more"),
                "{later}"
            );
            assert!(engine.read("/fill/0").unwrap().is_some());
            assert!(soon("the news", engine.failed()).await.contains("cannot be written"));
            println!("{n}");
            return;
        }
    }
    panic!("the disk is never full");
}

async fn check(file: &str, count: usize) {
    let engine = open(file);
    for n in 0..count {
        let entry = engine.read(&format!("/fill/{n}")).unwrap();
        assert!(entry.is_some_and(|entry| entry.value == vec![7; 5000]), "/fill/{n} of {count} is gone");
    }
    let found = engine.read_all("/fill/").unwrap().entries.len();
    assert!(found == count || found == count + 1, "{found} keys where {count} were acknowledged");
    engine.commit(vec![put("/after", "1")]).await.unwrap();
}
