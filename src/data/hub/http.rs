//! Requests to the hub: redirects followed by hand, so that the token goes to the hub alone and the hub's own headers
//! are seen before a redirect leads away from it.

use super::{Hub, Token};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use ureq::http::header::HeaderMap;
use ureq::{Agent, Body};

const MOST_REDIRECTS: usize = 10;
/// Largest answer that is not a file: the list of a repository's files, some hundred thousand of them.
const MOST_TEXT: u64 = 64 << 20;
const CONNECT: Duration = Duration::from_secs(30);
/// A connection that is silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
const STATUS_TEXT: u64 = 4096;
/// Between two looks whether to stop while a server says nothing.
const STOP_POLL: Duration = Duration::from_millis(50);
/// Bytes handed over at once, and how many such pieces may wait.
const PIECE: usize = 1 << 18;
const PIECES: usize = 2;

/// Why a request brought nothing.
#[derive(Debug, Clone)]
pub enum RequestFailure {
    /// No connection, or one that broke.
    Unreachable(String),
    /// The hub says no.
    Status { code: u16, reason: Option<String>, message: Option<String>, wait: Option<Duration> },
    /// An answer that makes no sense.
    Broken(String),
    /// A variable of the environment that makes no sense.
    Setting(String),
    /// Stopped from outside.
    Stopped,
}

impl RequestFailure {
    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500..=599),
            Self::Broken(_) | Self::Setting(_) | Self::Stopped => false,
        }
    }
}

impl std::fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Broken(why) | Self::Setting(why) => f.write_str(why),
            Self::Status { code, message: Some(message), .. } => write!(f, "status {code}: {message}"),
            Self::Status { code, .. } => write!(f, "status {code}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// What a server that is not the hub says of a file.
#[derive(Debug, Clone)]
pub struct PlainMetadata {
    pub etag: Option<String>,
    pub size: Option<u64>,
}

/// What the hub says of a file.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub etag: String,
    pub size: Option<u64>,
}

/// The content of a file from some byte on.
pub struct Content {
    /// The byte it starts at: 0 where the server ignores that a range was asked for.
    pub start: u64,
    pub body: Box<dyn Read>,
}

/// An HTTP client for one hub.
pub struct Client {
    agent: Agent,
    origin: String,
    token: Option<Token>,
    stop: Option<Arc<AtomicBool>>,
}

type Response = ureq::http::Response<Body>;

impl Client {
    pub fn new(hub: &Hub) -> Result<Self, RequestFailure> {
        let origin = origin(&hub.endpoint).filter(|o| o.starts_with("http://") || o.starts_with("https://"));
        let origin = origin.ok_or_else(|| {
            RequestFailure::Setting(format!(
                "HF_ENDPOINT = {:?} is not an address; it starts with https://",
                hub.endpoint
            ))
        })?;
        if hub.token.as_ref().is_some_and(|t| !t.0.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(RequestFailure::Setting("the token (HF_TOKEN) holds characters that no token has".into()));
        }
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            // A range of a compressed body would be of no use.
            .accept_encoding("identity")
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self { agent: config.into(), origin, token: hub.token.clone(), stop: hub.stop.clone() })
    }

    /// Does what may block on a thread of its own, and leaves it there when a stop is asked for: a server that is
    /// silent holds a connection for [`SILENCE`], and one that drips for ever.
    fn interruptible<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RequestFailure> + Send + 'static,
    ) -> Result<T, RequestFailure> {
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || sender.send(work()));
        let gone = || RequestFailure::Broken("the request ended without a result".into());
        received(&receiver, self.stop.as_deref()).ok_or(RequestFailure::Stopped)?.unwrap_or_else(|| Err(gone()))
    }

    /// One request. The token goes to the hub's own address, not to where it redirects.
    fn request(&self, url: &str, range: Option<&str>) -> Result<Response, RequestFailure> {
        let mut request = self.agent.get(url);
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        if let Some(Token(token)) = &self.token
            && origin(url).as_ref() == Some(&self.origin)
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let url = url.to_string();
        self.interruptible(move || {
            request.call().map_err(|e| match e {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                    RequestFailure::Broken(format!("{url:?} is not an address: {e}"))
                }
                other => RequestFailure::Unreachable(other.to_string()),
            })
        })
    }

    /// Follows redirects until `enough` of them, or to the end.
    fn follow(
        &self,
        url: &str,
        range: Option<&str>,
        enough: &dyn Fn(&Response) -> bool,
    ) -> Result<Response, RequestFailure> {
        let mut url = url.to_string();
        for _ in 0..MOST_REDIRECTS {
            let response = self.request(&url, range)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) || enough(&response) {
                return Ok(response);
            }
            let location = header(response.headers(), "location");
            url = location
                .and_then(|to| join(&url, &to))
                .ok_or_else(|| RequestFailure::Broken(format!("{url} redirects to no address")))?;
        }
        Err(RequestFailure::Broken(format!("more than {MOST_REDIRECTS} redirects, the last to {url}")))
    }

    /// A small answer as text.
    pub fn text(&self, url: &str) -> Result<String, RequestFailure> {
        let response = self.refuse(self.follow(url, None, &|_| false)?)?;
        self.interruptible(move || {
            let mut text = String::new();
            match response.into_body().into_reader().take(MOST_TEXT + 1).read_to_string(&mut text) {
                Ok(_) if text.len() as u64 > MOST_TEXT => {
                    Err(RequestFailure::Broken(format!("its answer is longer than {} MiB", MOST_TEXT >> 20)))
                }
                Ok(_) => Ok(text),
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    Err(RequestFailure::Broken("its answer is no text".into()))
                }
                Err(e) => Err(RequestFailure::Unreachable(e.to_string())),
            }
        })
    }

    /// Check sum and size of a file, from the hub itself: a file in another store is told by `x-linked-etag`.
    pub fn metadata(&self, url: &str) -> Result<Metadata, RequestFailure> {
        let told = |r: &Response| {
            let headers = r.headers();
            headers.contains_key("x-linked-etag")
                || (headers.contains_key("x-repo-commit") && headers.contains_key("etag"))
        };
        let mut response = self.follow(url, Some("bytes=0-0"), &told)?;
        if response.status().as_u16() == 416 {
            // An empty file has no first byte.
            response = self.follow(url, None, &told)?;
        }
        let response = self.refuse(response)?;
        let headers = response.headers();
        let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
        let etag = etag.ok_or_else(|| RequestFailure::Broken("its answer has no etag".into()))?;
        let number = |name| header(headers, name).and_then(|n| n.parse().ok());
        let size = number("x-linked-size").or_else(|| size_of(&response));
        Ok(Metadata { etag, size })
    }

    /// Size and, where the server gives one, etag of a file at a plain address.
    pub fn plain_metadata(&self, url: &str) -> Result<PlainMetadata, RequestFailure> {
        let mut response = self.follow(url, Some("bytes=0-0"), &|_| false)?;
        if response.status().as_u16() == 416 {
            response = self.follow(url, None, &|_| false)?;
        }
        let response = self.refuse(response)?;
        let headers = response.headers();
        Ok(PlainMetadata { etag: header(headers, "etag"), size: size_of(&response) })
    }

    /// A file's content from byte `start` on.
    pub fn content(&self, url: &str, start: u64) -> Result<Content, RequestFailure> {
        let range = (start > 0).then(|| format!("bytes={start}-"));
        let response = self.refuse(self.follow(url, range.as_deref(), &|_| false)?)?;
        let start = match response.status().as_u16() {
            206 => range_start(response.headers()).filter(|s| *s == start || *s == 0).ok_or_else(|| {
                RequestFailure::Broken(format!("asked for the bytes from {start} on, the server sent others"))
            })?,
            _ => 0,
        };
        let body = Pieces::of(response.into_body().into_reader(), self.stop.clone());
        Ok(Content { start, body: Box::new(body) })
    }

    /// [`refuse`], which reads what a refusal says.
    fn refuse(&self, response: Response) -> Result<Response, RequestFailure> {
        self.interruptible(move || refuse(response))
    }
}

/// What a channel brings; `None` when `stop` is set first, `Some(None)` when its other end is gone.
fn received<T>(channel: &Receiver<T>, stop: Option<&AtomicBool>) -> Option<Option<T>> {
    loop {
        match channel.recv_timeout(STOP_POLL) {
            Ok(value) => return Some(Some(value)),
            Err(RecvTimeoutError::Disconnected) => return Some(None),
            Err(RecvTimeoutError::Timeout) if stop.is_some_and(|stop| stop.load(Ordering::SeqCst)) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A body that a thread of its own reads, so that waiting for it can be stopped.
struct Pieces {
    channel: Receiver<io::Result<Vec<u8>>>,
    stop: Option<Arc<AtomicBool>>,
    /// What came and has not been read, from `at` on.
    piece: Vec<u8>,
    at: usize,
}

impl Pieces {
    fn of(mut body: impl Read + Send + 'static, stop: Option<Arc<AtomicBool>>) -> Self {
        let (sender, channel) = sync_channel(PIECES);
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = body.read(&mut piece).map(|n| {
                    piece.truncate(n);
                    piece
                });
                let last = read.as_ref().map_or_else(|e| e.kind() != io::ErrorKind::Interrupted, Vec::is_empty);
                // Nobody listens any more once the transfer has ended.
                if sender.send(read).is_err() || last {
                    break;
                }
            }
        });
        Self { channel, stop, piece: Vec::new(), at: 0 }
    }
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let next = received(&self.channel, self.stop.as_deref()).ok_or_else(|| io::Error::other("stopped"))?;
            (self.piece, self.at) = (next.unwrap_or_else(|| Ok(Vec::new()))?, 0);
        }
        let n = to.len().min(self.piece.len() - self.at);
        to[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// The size of the whole file, of which an answer may hold a part.
fn size_of(response: &Response) -> Option<u64> {
    let headers = response.headers();
    match response.status().as_u16() {
        206 => header(headers, "content-range")?.rsplit_once('/')?.1.parse().ok(),
        200 => header(headers, "content-length")?.parse().ok(),
        _ => None,
    }
}

/// An answer that is none of success or redirect is a failure.
fn refuse(response: Response) -> Result<Response, RequestFailure> {
    let code = response.status().as_u16();
    if response.status().is_success() || response.status().is_redirection() {
        return Ok(response);
    }
    let headers = response.headers();
    let (reason, mut message) = (header(headers, "x-error-code"), header(headers, "x-error-message"));
    let wait = header(headers, "retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
    if message.is_none() {
        let mut text = Vec::new();
        let _ = response.into_body().into_reader().take(STATUS_TEXT).read_to_end(&mut text);
        let value: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        message = value.and_then(|v| Some(v["error"].as_str()?.to_string()));
    }
    Err(RequestFailure::Status { code, reason, message, wait })
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_string()).filter(|v| !v.is_empty())
}

/// The first byte of `Content-Range: bytes 10-19/20`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Scheme, host and port.
pub(super) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next().filter(|h| !h.is_empty() && !h.contains('@'))?;
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// Where a `Location` leads.
fn join(base: &str, location: &str) -> Option<String> {
    if ["http://", "https://"].iter().any(|scheme| location.starts_with(scheme)) {
        return Some(location.into());
    }
    let (scheme, _) = base.split_once("://")?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let origin = origin(base)?;
    if location.starts_with('/') {
        return Some(format!("{origin}{location}"));
    }
    let path = base.split(['?', '#']).next().unwrap_or(base);
    let folder = path.rsplit_once('/').map(|(folder, _)| folder).filter(|f| f.len() >= origin.len());
    Some(format!("{}/{location}", folder.unwrap_or(&origin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined() {
        let base = "https://hub.co/a/resolve/main/b?x=1";
        for (location, wanted) in [
            ("https://cdn.co/x", "https://cdn.co/x"),
            ("/y/z", "https://hub.co/y/z"),
            ("//cdn.co/x", "https://cdn.co/x"),
            ("c", "https://hub.co/a/resolve/main/c"),
            ("/y?to=http://x", "https://hub.co/y?to=http://x"),
        ] {
            assert_eq!(join(base, location).as_deref(), Some(wanted));
        }
        assert_eq!(join("https://hub.co", "c").as_deref(), Some("https://hub.co/c"));
        assert_eq!(origin("http://user@host/x"), None);
        assert_ne!(origin("https://a:1/x"), origin("https://a:2/x"));
    }
}
