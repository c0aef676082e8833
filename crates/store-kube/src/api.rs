//! Calls to the API server: who we are, how often, how long, and what to try again.

use crate::config::{KubeConfig, Source};
use crate::connect::{Http, http};
use crate::failure::Failure;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Response};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tortie_causes::chain;

/// How often files with secrets are looked at.
const REFRESH: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    /// Path with its query.
    path: String,
    body: Option<(&'static str, Bytes)>,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    pub(crate) fn post(path: impl Into<String>, object: &serde_json::Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(json(object)) }
    }

    pub(crate) fn put(path: impl Into<String>, object: &serde_json::Value) -> Self {
        Self { method: Method::PUT, path: path.into(), body: Some(json(object)) }
    }

    pub(crate) fn patch(path: impl Into<String>, patch: &serde_json::Value) -> Self {
        let body = Some(("application/merge-patch+json", json(patch).1));
        Self { method: Method::PATCH, path: path.into(), body }
    }

    /// A patch that knows which lists are sets by a key, as Kubernetes' own kinds have them.
    pub(crate) fn strategic_patch(path: impl Into<String>, patch: &serde_json::Value) -> Self {
        let body = Some(("application/strategic-merge-patch+json", json(patch).1));
        Self { method: Method::PATCH, path: path.into(), body }
    }

    pub(crate) fn delete(path: impl Into<String>, options: &serde_json::Value) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: Some(json(options)) }
    }
}

fn json(value: &serde_json::Value) -> (&'static str, Bytes) {
    ("application/json", value.to_string().into())
}

/// The API server.
pub(crate) struct Api {
    config: Arc<KubeConfig>,
    state: Mutex<State>,
    bucket: Mutex<Bucket>,
}

struct State {
    http: Http,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    authorization: Option<HeaderValue>,
    looked: Option<Instant>,
}

impl Api {
    pub(crate) fn new(config: KubeConfig) -> Self {
        let config = Arc::new(config);
        let bucket = Bucket { tokens: f64::from(config.burst), filled: Instant::now() };
        let state = State { http: http(config.clone()), identity: None, authorization: None, looked: None };
        Self { config, state: Mutex::new(state), bucket: Mutex::new(bucket) }
    }

    pub(crate) fn config(&self) -> &KubeConfig {
        &self.config
    }

    /// Where it is, for messages.
    pub(crate) fn endpoint(&self) -> &str {
        &self.config.server
    }

    /// Sends a request, again where that is harmless, and answers the body.
    pub(crate) async fn call(&self, request: &Request) -> Result<Bytes, Failure> {
        let mut effort = Effort::new();
        loop {
            self.admit().await;
            let limit = effort.limit(&self.config);
            let answer = async {
                let body = self.once(request).await?.into_body().collect().await;
                Ok(body.map_err(|error| Failure::Away(chain(&error)))?.to_bytes())
            };
            match tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(silent(limit))) {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.again(&mut effort, request, failure).await?,
            }
        }
    }

    /// As [`Api::call`], but answers as soon as the body begins.
    pub(crate) async fn stream(&self, request: &Request) -> Result<Incoming, Failure> {
        let mut effort = Effort::new();
        loop {
            self.admit().await;
            let limit = effort.limit(&self.config);
            let answer = tokio::time::timeout(limit, self.once(request)).await;
            match answer.unwrap_or_else(|_| Err(silent(limit))) {
                Ok(response) => return Ok(response.into_body()),
                Err(failure) => self.again(&mut effort, request, failure).await?,
            }
        }
    }

    /// Waits until the request may be sent again, or gives up.
    async fn again(&self, effort: &mut Effort, request: &Request, failure: Failure) -> Result<(), Failure> {
        let wait = effort.wait(&self.config, request, &failure).ok_or_else(|| failure.clone())?;
        if let Failure::Unknown(_) = failure {
            self.state().looked = None;
        }
        tracing::debug!(path = request.path, ?failure, wait_ms = wait.as_millis() as u64, "called again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn once(&self, request: &Request) -> Result<Response<Incoming>, Failure> {
        let (http, authorization) = self.ready()?;
        let uri = format!("{}{}", self.config.server.trim_end_matches('/'), request.path);
        let mut builder = hyper::Request::builder()
            .method(request.method.clone())
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("tortie/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let body = match &request.body {
            None => Bytes::new(),
            Some((kind, body)) => {
                builder = builder.header(CONTENT_TYPE, *kind);
                body.clone()
            }
        };
        let built = builder.body(Full::new(body)).map_err(|error| Failure::Invalid(error.to_string()))?;
        let response = http.request(built).await.map_err(|error| {
            let text = chain(&error);
            if error.is_connect() { Failure::NotSent(text) } else { Failure::Away(text) }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Failure::Away(chain(&error)))?.to_bytes();
        Err(Failure::of(head.status, &head.headers, &body))
    }

    /// The connections and the credentials to use now.
    fn ready(&self) -> Result<(Http, Option<HeaderValue>), Failure> {
        let mut state = self.state();
        if state.looked.is_none_or(|at| at.elapsed() >= REFRESH) {
            let credentials = &self.config.credentials;
            let identity = match &credentials.identity {
                Some((Source::File(_), _) | (_, Source::File(_))) => {
                    let (certificate, key) = credentials.identity.as_ref().expect("it was matched");
                    let read = |source: &Source, what| source.read(what).map_err(|e| Failure::config(&e));
                    Some((read(certificate, "client certificate")?, read(key, "client key")?))
                }
                _ => None,
            };
            if identity != state.identity {
                if state.identity.is_some() {
                    tracing::info!("the client certificate for the API server has changed, connecting anew");
                }
                state.http = http(self.config.clone());
                state.identity = identity;
            }
            state.authorization = self.authorization()?;
            state.looked = Some(Instant::now());
        }
        Ok((state.http.clone(), state.authorization.clone()))
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        use base64::Engine as _;
        let credentials = &self.config.credentials;
        let text = match (&credentials.token, &credentials.basic) {
            (Some(token), _) => {
                let bytes = token.read("token").map_err(|e| Failure::config(&e))?;
                format!("Bearer {}", String::from_utf8_lossy(&bytes).trim())
            }
            (None, Some((user, password))) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                format!("Basic {encoded}")
            }
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| Failure::Unknown("the token holds characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Waits until another request is within the limits.
    async fn admit(&self) {
        if self.config.qps <= 0.0 {
            return;
        }
        let wait = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(Instant::now(), self.config.qps, f64::from(self.config.burst.max(1)))
        };
        if wait > Duration::ZERO {
            tokio::time::sleep(wait).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silent(limit: Duration) -> Failure {
    Failure::Away(format!("there is no answer within {limit:.0?}"))
}

/// How much has been tried for one call.
struct Effort {
    start: Instant,
    pause: Duration,
    known_again: bool,
}

impl Effort {
    fn new() -> Self {
        Self { start: Instant::now(), pause: FIRST_PAUSE, known_again: false }
    }

    /// Of the next attempt.
    fn limit(&self, config: &KubeConfig) -> Duration {
        config.timeout.saturating_sub(self.start.elapsed()).min(config.attempt_timeout)
    }

    /// How long to wait before another attempt; nothing if there is no use in one.
    fn wait(&mut self, config: &KubeConfig, request: &Request, failure: &Failure) -> Option<Duration> {
        let patient = self.start.elapsed() < config.patience;
        let wait = match failure {
            // A token that has just been exchanged.
            Failure::Unknown(_) if !self.known_again => {
                self.known_again = true;
                Duration::ZERO
            }
            Failure::Busy { after, .. } => *after,
            Failure::NotSent(_) if patient => self.pause,
            Failure::Away(_) if patient && request.method == Method::GET => self.pause,
            _ => return None,
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        (self.start.elapsed() + wait < config.timeout).then_some(wait)
    }
}

/// Requests that may be sent: so many at once, then so many a second.
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Takes a token, of the future if need be; answers how far away that is.
    fn take(&mut self, now: Instant, qps: f64, burst: f64) -> Duration {
        let filled = now.saturating_duration_since(self.filled).as_secs_f64() * qps;
        self.tokens = (self.tokens + filled).min(burst) - 1.0;
        self.filled = now;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / qps) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_in_bursts_and_then_at_their_rate() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: 3.0, filled: start };
        let mut take = |ms| bucket.take(start + Duration::from_millis(ms), 10.0, 3.0).as_millis();
        assert_eq!([take(0), take(0), take(0), take(0), take(0)], [0, 0, 0, 100, 200]);
        assert_eq!(take(300), 0);
        assert_eq!([take(10_000), take(10_000), take(10_000), take(10_000)], [0, 0, 0, 100]);
    }
}
