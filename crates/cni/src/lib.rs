//! The CNI plugin: carries the runtime's question to the node's agent and the agent's answer back.
//!
//! It holds no logic, no credential and no datastore client: environment and network configuration go to the agent's
//! socket together with the pod's network namespace (as a descriptor). It must stay small and quick to start; no
//! async runtime here. Only where the network was removed, and no agent is left, it works by itself.
//!
//! CNI specification 1.1: <https://www.cni.dev/docs/spec/>.

mod client;
mod config;
mod journal;
mod removed;
mod result;

pub use removed::wait;

use config::{Invocation, Verb};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::io::{Read, Write};
use tortie_agent_api::{ApiError, Request, Response, code};

/// CNI versions that the plugin speaks, oldest first.
pub const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Runs one invocation; the answer goes to `out`. Returns the exit status.
pub fn run(env: impl Fn(&str) -> Option<String>, input: &mut impl Read, out: &mut impl Write) -> u8 {
    let mut stdin = Vec::new();
    let read = input.take(4 << 20).read_to_end(&mut stdin);
    let outcome = match read {
        Ok(_) => Invocation::parse(env, &stdin).and_then(|call| serve(&call)),
        Err(e) => Err((
            "1.0.0".to_owned(),
            ApiError {
                code: code::IO,
                message: format!("network configuration cannot be read from stdin: {e}"),
                details: String::new(),
            },
        )),
    };
    let (text, status) = match outcome {
        Ok(text) => (text, 0),
        Err((version, error)) => (result::error(&version, &error), 1),
    };
    // Nothing is left to be told if stdout is closed; the status says it.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => status,
        Err(_) => 1,
    }
}

fn serve(call: &Invocation) -> Result<String, (String, ApiError)> {
    let fail = |e: ApiError| (call.version.clone(), e);
    if let Some(mark) = removed::mark(call) {
        return removed::serve(call, &mark).map_err(fail);
    }
    match call.verb {
        Verb::Version => Ok(result::versions()),
        Verb::Add => match client::ask(
            &call.socket,
            &Request::Add(call.args.clone()),
            call.open_netns().map_err(fail)?,
        ) {
            Ok(Response::Added(made)) => Ok(result::added(&call.version, &call.args, &made)),
            Ok(other) => Err(fail(unexpected(other))),
            Err(e) => Err(fail(e.into_error(&call.socket))),
        },
        Verb::Del => {
            // The namespace may be gone already: DEL must succeed all the same.
            let netns = call.open_netns().ok().flatten();
            match client::ask(&call.socket, &Request::Del(call.args.clone()), netns) {
                Ok(Response::Error(e)) => Err(fail(e)),
                Ok(_) => Ok(String::new()),
                // The agent is away: remember the DEL for it and let the runtime go on.
                Err(e) => match journal::remember(&call.journal, &call.args) {
                    Ok(()) => Ok(String::new()),
                    Err(io) => Err(fail(ApiError {
                        code: code::IO,
                        message: format!(
                            "DEL of {} cannot be remembered in {}: {io}",
                            call.subject(),
                            call.journal.display()
                        ),
                        details: e.into_error(&call.socket).message,
                    })),
                },
            }
        }
        Verb::Check => {
            let netns = call.open_netns().map_err(fail)?;
            expect_ok(client::ask(&call.socket, &Request::Check(call.args.clone()), netns), call)
        }
        Verb::Status => {
            expect_ok(client::ask(&call.socket, &Request::CniStatus, None), call).map_err(|(v, mut e)| {
                if e.code == code::TRY_AGAIN {
                    e.code = code::NOT_AVAILABLE;
                }
                (v, e)
            })
        }
        Verb::Gc => expect_ok(
            client::ask(
                &call.socket,
                &Request::Gc { valid: call.valid.clone(), network: call.args.network.clone() },
                None,
            ),
            call,
        ),
    }
}

fn expect_ok(
    answer: Result<Response, client::AskError>,
    call: &Invocation,
) -> Result<String, (String, ApiError)> {
    match answer {
        Ok(Response::Ok) => Ok(String::new()),
        Ok(other) => Err((call.version.clone(), unexpected(other))),
        Err(e) => Err((call.version.clone(), e.into_error(&call.socket))),
    }
}

fn unexpected(response: Response) -> ApiError {
    match response {
        Response::Error(e) => e,
        other => ApiError {
            code: code::DECODE,
            message: format!("the agent gave an answer that does not fit the question: {other:?}"),
            details:
                "plugin and agent are of different versions: install the plugin that came with the agent"
                    .to_owned(),
        },
    }
}

/// A stream socket for the agent; separate so that tests can see that nothing else is opened.
fn stream_socket() -> nix::Result<std::os::fd::OwnedFd> {
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
}
