//! Just enough of a client for what a lab does to its own API server: JSON over one TLS connection at a time.

use anyhow::{Context as _, anyhow, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client of one API server.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    authorization: String,
    tls: TlsConnector,
    connection: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with a bearer token that trusts one authority. Does not connect yet.
    pub(crate) fn new(address: SocketAddr, token: &str, authority: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            authorization: format!("Bearer {token}"),
            tls: TlsConnector::from(Arc::new(config)),
            connection: Arc::default(),
        })
    }

    /// The object at a path; `None` if there is none.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.send(Method::GET, path, "", None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            answer => Ok(Some(success("GET", path, answer)?)),
        }
    }

    /// True if the server says that it is ready.
    pub(crate) async fn is_ready(&self) -> anyhow::Result<bool> {
        Ok(self.send(Method::GET, "/readyz", "", None).await?.0.is_success())
    }

    /// Creates an object; it may exist already.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        match self.send(Method::POST, path, "application/json", Some(object)).await? {
            (StatusCode::CONFLICT, body) => Ok(body),
            answer => success("POST", path, answer),
        }
    }

    /// Replaces an object.
    pub(crate) async fn put(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        success("PUT", path, self.send(Method::PUT, path, "application/json", Some(object)).await?)
    }

    /// Changes an object by a merge patch (RFC 7386).
    pub(crate) async fn patch(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let kind = "application/merge-patch+json";
        success("PATCH", path, self.send(Method::PATCH, path, kind, Some(object)).await?)
    }

    /// Removes an object now, without waiting for whoever holds it; it may be gone already.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let options = serde_json::json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        self.remove(path, &options).await
    }

    /// Asks for an object's end in its own time; it may be gone already.
    pub(crate) async fn delete_gracefully(&self, path: &str) -> anyhow::Result<()> {
        self.remove(path, &serde_json::json!({"propagationPolicy": "Background"})).await
    }

    /// The list at a path, and what becomes of it, told on a connection of its own.
    pub(crate) async fn watch(&self, path: &str) -> anyhow::Result<(Value, Events)> {
        let list = self.get(path).await?.with_context(|| format!("the API server knows no {path}"))?;
        let revision = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let work = async {
            let mut sender = self.connect().await?;
            let request = Request::builder()
                .uri(format!("{path}?watch=true&resourceVersion={revision}"))
                .header(HOST, self.address.to_string())
                .header(AUTHORIZATION, &self.authorization);
            let answer = sender.send_request(request.body(Full::default())?).await?;
            if !answer.status().is_success() {
                bail!("{}", answer.status());
            }
            Ok(Events { body: answer.into_body(), read: BytesMut::new(), _sender: sender })
        };
        let events = timeout(PATIENCE, work)
            .await
            .map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()))
            .and_then(|outcome| outcome)
            .with_context(|| format!("cannot follow {path} on the API server"))?;
        Ok((list, events))
    }

    async fn remove(&self, path: &str, options: &Value) -> anyhow::Result<()> {
        match self.send(Method::DELETE, path, "application/json", Some(options)).await? {
            (StatusCode::NOT_FOUND, _) => Ok(()),
            answer => success("DELETE", path, answer).map(|_| ()),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let bytes = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let work = async {
            let mut held = self.connection.lock().await;
            // A connection that the server has closed meanwhile shows it here.
            let mut usable = held.take();
            if let Some(sender) = &mut usable
                && sender.ready().await.is_err()
            {
                usable = None;
            }
            let mut sender = match usable {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            let mut request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(HOST, self.address.to_string())
                .header(AUTHORIZATION, &self.authorization);
            if body.is_some() {
                request = request.header(CONTENT_TYPE, content);
            }
            let answer = sender.send_request(request.body(Full::new(bytes))?).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            *held = Some(sender);
            // Health checks answer in plain text.
            let value = serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
            anyhow::Ok((status, value))
        };
        timeout(PATIENCE, work)
            .await
            .map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()))
            .and_then(|outcome| outcome)
            .with_context(|| format!("{method} {path} on the API server"))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.context("it does not listen")?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its error is the sender's too.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: Incoming,
    /// What has come and not been told.
    read: BytesMut,
    /// Keeps the connection.
    _sender: SendRequest<Full<Bytes>>,
}

impl Events {
    /// The next event, as soon as it comes; `None` at the end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let event: Value = serde_json::from_slice(&self.read.split_to(end + 1))?;
                if event.get("type").is_some_and(|kind| kind == "ERROR") {
                    bail!("{}", event.pointer("/object/message").unwrap_or(&event));
                }
                return Ok(Some(event));
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => self.read.extend(frame.into_data().unwrap_or_default()),
                None => return Ok(None),
            }
        }
    }
}

/// The body of a good answer; what the server says of a bad one.
fn success(verb: &str, path: &str, (status, body): (StatusCode, Value)) -> anyhow::Result<Value> {
    if status.is_success() {
        return Ok(body);
    }
    let said = body.get("message").and_then(Value::as_str).map_or_else(|| body.to_string(), str::to_owned);
    bail!("{verb} {path}: {status}: {said}")
}
