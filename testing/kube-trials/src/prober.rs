//! The program behind [`Probe`](crate::probe::Probe): it runs in a pod's network namespace and prints a line of JSON for each
//! attempt, until its standard input ends.

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Between two attempts.
const PACE: Duration = Duration::from_millis(100);

/// What a connection may take to come about: less than a lost packet costs.
const CONNECT: Duration = Duration::from_millis(900);

/// What an answer on a held connection may take: a busy machine's worst, and a few packets sent again.
const ANSWER: Duration = Duration::from_secs(5);

/// Exit status of `once` if there is no connection.
const UNREACHED: u8 = 4;

/// `prober once|connect|hold ADDRESS:PORT`.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let [kind, to] = arguments else { bail!("expected: prober once|connect|hold ADDRESS:PORT") };
    let to: SocketAddr = to.parse().with_context(|| format!("{to:?} is no address with a port"))?;
    match kind.as_str() {
        "once" => {
            let reached = TcpStream::connect_timeout(&to, CONNECT).is_ok();
            Ok(if reached { ExitCode::SUCCESS } else { ExitCode::from(UNREACHED) })
        }
        "connect" => {
            attempt(|| TcpStream::connect_timeout(&to, CONNECT).map(drop))?;
            Ok(ExitCode::SUCCESS)
        }
        "hold" => {
            let mut held = None;
            attempt(|| {
                let mut connection = match held.take() {
                    Some(connection) => connection,
                    None => open(to)?,
                };
                ask(&mut connection)?;
                held = Some(connection);
                Ok(())
            })?;
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("no probe of kind {other:?}"),
    }
}

/// Tries until nobody wants to know.
fn attempt(mut once: impl FnMut() -> io::Result<()>) -> Result<()> {
    let (started, end) = (Instant::now(), end_of_input());
    let mut out = io::stdout();
    loop {
        let outcome = once();
        let at = started.elapsed().as_millis() as u64;
        let line = match outcome {
            Ok(()) => json!({"at": at}),
            Err(error) => json!({"at": at, "failure": error.to_string()}),
        };
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        match end.recv_timeout(PACE) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(()),
        }
    }
}

/// Closes when standard input does.
fn end_of_input() -> Receiver<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(sender);
    });
    receiver
}

fn open(to: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&to, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(BufReader::new(stream))
}

/// A question and its answer, over HTTP, which keeps connections.
fn ask(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    connection.get_mut().write_all(b"GET /hostname HTTP/1.1\r\nHost: pod\r\n\r\n")?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end closed the connection"));
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    connection.take(length).read_to_end(&mut body).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn one_connection_carries_many_questions_and_its_end_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            for _ in 0..2 {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                }
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        });
        let mut connection = open(to).unwrap();
        ask(&mut connection).unwrap();
        ask(&mut connection).unwrap();
        server.join().unwrap();
        assert!(ask(&mut connection).is_err());
    }
}
