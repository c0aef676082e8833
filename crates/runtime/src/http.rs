//! A small HTTP/1 server for probes, metrics and the admin endpoint.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// An answer: status and body; JSON if the body starts with `{` or `[`.
pub type Answer = (u16, String);

/// What is served: path to answer; `None` is 404.
pub type Handler = Arc<dyn Fn(&str) -> Option<Answer> + Send + Sync>;

/// The port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose} (is another agent running on this host?)")]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    source: std::io::Error,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct Server {
    /// The address that it was bound to.
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds and serves in a task of its own.
pub async fn spawn(
    address: SocketAddr,
    purpose: &'static str,
    handler: Handler,
) -> Result<Server, ListenError> {
    let error = |source| ListenError { address, purpose, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok(Server { address: bound, task: tokio::spawn(accept(listener, purpose, handler)) })
}

async fn accept(listener: TcpListener, purpose: &'static str, handler: Handler) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(purpose, %error, "accept failed");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(handler.clone(), request));
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(purpose, %error, "connection ended");
            }
        });
    }
}

async fn answer(handler: Handler, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = handler(request.uri().path()).unwrap_or_else(|| (404, "not found\n".to_owned()));
    let json = body.starts_with(['{', '[']);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if json { "application/json" } else { "text/plain; version=0.0.4; charset=utf-8" };
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}
