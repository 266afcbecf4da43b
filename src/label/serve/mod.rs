//! `runner labels serve`: a page on which several people answer batches at once, and a dashboard for whoever leads
//! them. The files of the directory are the only state; what the page shows follows from them.

mod access;
mod api;
mod board;
mod lead;
mod patience;

use super::LabelError;
use super::batch::append::{Appender, repair};
use super::batch::read;
use crate::spec::QualitySpec;
use access::Tokens;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use board::{Board, ReadBatch};
use patience::Patient;
use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Largest body of a request in bytes.
const LARGEST_BODY: usize = 64 << 10;
/// Time between two looks for new batches, other tools' answers and dropped labelers.
const REFRESH: Duration = Duration::from_secs(2);
/// How long the end of the server waits for requests that have begun.
const GRACE: Duration = Duration::from_secs(3);
/// The shortest token that is accepted from the command line.
const SHORTEST_TOKEN: usize = 16;

/// What to serve, and to whom.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The directory of batches.
    pub dir: PathBuf,
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// The run that the dashboard shows and STOP stops.
    pub results: Option<PathBuf>,
    /// The lead's token; without one, addresses beyond this machine get a random one.
    pub token: Option<String>,
    /// How long an item is one labeler's.
    pub lease: Duration,
    pub quality: QualitySpec,
}

/// What all requests share.
pub struct Shared {
    dir: PathBuf,
    results: Option<PathBuf>,
    board: Mutex<Board>,
    appender: Appender,
    /// One answer of a labeler at a time.
    turns: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>,
    tokens: Option<Tokens>,
    port: u16,
    quality: QualitySpec,
    /// The dashboard's numbers, of a version of the board.
    overview: Mutex<Option<(u64, Instant, serde_json::Value)>>,
}

impl Shared {
    /// A panic while it was held leaves whole items and answers behind; serving goes on.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, labeler: u32) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(labeler).or_default())
    }

    /// What is new on disk.
    fn refresh(&self) -> Result<(), LabelError> {
        for batch in read::batches(&self.dir)? {
            if self.board().has(&batch.id) {
                continue;
            }
            repair(&self.dir, &batch.id)?;
            let fetched = ReadBatch::read(&self.dir, batch)?;
            self.board().add(fetched)?;
        }
        self.board().refresh()
    }
}

/// A server that has its address and its batches.
pub struct Server {
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    address: SocketAddr,
}

/// What a server found in its directory.
#[derive(Debug)]
pub struct Found {
    pub questions: usize,
    /// Items that are there to check labelers: gold items and repeats.
    pub checks: usize,
    pub batches: usize,
    /// Of the answers that are there.
    pub problems: Vec<String>,
}

impl Server {
    /// Takes the directory's lock, repairs and reads it, and binds the address.
    pub fn open(options: ServeOptions) -> Result<Self, LabelError> {
        if !options.dir.is_dir() {
            return Err(LabelError::file(
                &options.dir,
                "there is no such directory; labeler.batches of a spec names one",
            ));
        }
        if let Some(token) = &options.token
            && (token.len() < SHORTEST_TOKEN || !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
        {
            let message =
                format!("--token or RUNNER_LABELS_TOKEN: {SHORTEST_TOKEN} or more letters, digits, - and _ are needed");
            return Err(LabelError::Unusable(message));
        }
        let appender = Appender::open(&options.dir)?;
        for batch in read::batches(&options.dir)? {
            repair(&options.dir, &batch.id)?;
        }
        let board = Board::load(&options.dir, options.lease)?;
        let bound = |e: std::io::Error| {
            LabelError::Unusable(format!("{}: {e}; choose another address with --listen", options.listen))
        };
        let listener = std::net::TcpListener::bind(options.listen).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let tokens = match options.token {
            Some(token) => Some(Tokens::new(token)),
            None if address.ip().is_loopback() => None,
            None => Some(Tokens::random().map_err(LabelError::Unusable)?),
        };
        let shared = Arc::new(Shared {
            dir: options.dir,
            results: options.results,
            board: Mutex::new(board),
            appender,
            turns: Mutex::default(),
            tokens,
            port: address.port(),
            quality: options.quality,
            overview: Mutex::default(),
        });
        Ok(Self { shared, listener, address })
    }

    /// The addresses of the labelers' page and of the dashboard.
    pub fn addresses(&self) -> (String, String) {
        // Nobody can open 0.0.0.0; other machines know this one by its name.
        let name = self.address.ip().is_unspecified().then(host_name).flatten();
        let base = match name {
            Some(name) => format!("http://{name}:{}", self.address.port()),
            None => format!("http://{}", self.address),
        };
        match &self.shared.tokens {
            None => (format!("{base}/"), format!("{base}/dashboard")),
            Some(tokens) => {
                (format!("{base}/?token={}", tokens.labeler), format!("{base}/dashboard?token={}", tokens.lead))
            }
        }
    }

    /// What there is to serve.
    pub fn found(&self) -> Found {
        let board = self.shared.board();
        let (questions, checks) = board.counts();
        Found { questions, checks, batches: board.progress().len(), problems: board.problems().0.to_vec() }
    }

    /// Serves until `stop` is ready and the last answers are written; requests that are not whole by then get
    /// `GRACE`.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let listener = Patient(tokio::net::TcpListener::from_std(self.listener)?);
        let refresher = tokio::spawn(refresh(Arc::clone(&self.shared)));
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let stop = async move {
            stop.await;
            let _ = stopping.send(());
        };
        let deadline = async move {
            let _ = stopped.await;
            tokio::time::sleep(GRACE).await;
        };
        let served = tokio::select! {
            served = axum::serve(listener, router(self.shared)).with_graceful_shutdown(stop).into_future() => served,
            () = deadline => Ok(()),
        };
        refresher.abort();
        served
    }
}

/// The name of this machine, where the system says it.
fn host_name() -> Option<String> {
    let text =
        ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let name = text.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok())?;
    let name = name.trim().to_owned();
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))).then_some(name)
}

/// Looks for what is new, and says what is wrong with it once.
async fn refresh(shared: Arc<Shared>) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(REFRESH).await;
        let this = Arc::clone(&shared);
        let result = tokio::task::spawn_blocking(move || this.refresh()).await;
        let message = match result {
            Ok(Ok(())) => String::new(),
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        if message != said && !message.is_empty() {
            tracing::error!("{message}; what was there before is served");
        }
        said = message;
    }
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone {
    ([(CONTENT_TYPE, kind)], text)
}

fn router(shared: Arc<Shared>) -> Router {
    const HTML: &str = "text/html; charset=utf-8";
    const JS: &str = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", get(|| async { asset(HTML, include_str!("assets/page.html")) }))
        .route("/dashboard", get(|| async { asset(HTML, include_str!("assets/dashboard.html")) }))
        .route("/page.js", get(|| async { asset(JS, include_str!("assets/page.js")) }))
        .route("/dashboard.js", get(|| async { asset(JS, include_str!("assets/dashboard.js")) }))
        .route("/common.js", get(|| async { asset(JS, include_str!("assets/common.js")) }))
        .route("/style.css", get(|| async { asset("text/css; charset=utf-8", include_str!("assets/style.css")) }))
        .route("/favicon.svg", get(|| async { asset("image/svg+xml", include_str!("assets/favicon.svg")) }))
        .route("/api/enter", post(api::enter))
        .route("/api/next", get(api::next))
        .route("/api/previous", get(api::previous))
        .route("/api/answer", post(api::answer))
        .route("/api/instructions", get(api::instructions))
        .route("/api/stop", get(lead::stopped).post(lead::stop))
        .route("/api/lead/overview", get(lead::overview))
        .route("/api/lead/labeler", post(lead::labeler))
        .route("/api/lead/run", get(lead::run))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(Arc::clone(&shared), access::guard))
        .with_state(shared)
}
