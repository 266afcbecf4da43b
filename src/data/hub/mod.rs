//! The Hugging Face hub: models and data sets by `owner/name`, fetched into the hub's own cache, checked and resumable.
//!
//! Names, addresses and the layout of the cache are hf-hub's, so that the Python tools find what we fetch and the other
//! way round. The transfer itself is in `transfer.rs`, over the HTTP client that hf-hub uses: hf-hub's own appends a
//! whole file to a part of it where a server ignores `Range`, stops the program on a redirect without an address, and
//! takes what it gets without comparing check sums.

mod environment;
mod http;
mod plain;
mod store;
mod transfer;

use self::http::{Client, RequestFailure};
pub use self::plain::sha256_of;
use self::store::{Listing, Repository, is_commit};
use super::error::{DataError, instead, list};
use crate::spec::names::safe_name;
use hf_hub::RepoType;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// File names in a message.
const MOST_NAMES: usize = 20;
/// What a model directory can have beside its weights.
const MODEL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What a repository of the hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    Model,
    Dataset,
}

impl RepositoryKind {
    fn repo_type(self) -> RepoType {
        match self {
            Self::Model => RepoType::Model,
            Self::Dataset => RepoType::Dataset,
        }
    }
}

impl std::fmt::Display for RepositoryKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        })
    }
}

/// Whether the network may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Network,
    /// This variable is set.
    Offline(&'static str),
    /// Only looking: a run would fetch it.
    CacheOnly,
}

/// A key to the hub, never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The hub, and the cache in front of it.
#[derive(Debug, Clone)]
pub struct Hub {
    /// `https://huggingface.co`, without a slash at the end.
    pub endpoint: String,
    /// The folder that holds `models--OWNER--NAME` and the like.
    pub cache: PathBuf,
    pub token: Option<Token>,
    pub access: Access,
    /// Whether the network may not be used for data sets, whatever `access` says.
    pub datasets_offline: bool,
    /// Bars on standard error.
    pub progress: bool,
    /// Wait before the first repetition of a request that failed; every further one waits twice as long.
    pub backoff: Duration,
    /// Set to stop a transfer; what came is kept.
    pub stop: Option<Arc<AtomicBool>>,
}

/// A repository at one commit.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub commit: String,
    /// Its files; without the network perhaps only those in the cache.
    pub names: Vec<String>,
    repository: Repository,
}

impl Snapshot {
    /// Where its files are.
    pub fn dir(&self) -> PathBuf {
        self.repository.snapshot(&self.commit)
    }

    fn error(&self, message: String) -> DataError {
        self.repository.error(message)
    }
}

impl Hub {
    /// The same, but nothing is fetched.
    pub fn cache_only(self) -> Self {
        Self { access: Access::CacheOnly, ..self }
    }

    /// The commit that a revision means, and the files there. A commit whose files are known needs no request; a branch
    /// or tag is asked for once, and without the network it is what it was when last asked for.
    pub fn snapshot(&self, repo: &str, kind: RepositoryKind, revision: Option<&str>) -> Result<Snapshot, DataError> {
        let revision = revision.unwrap_or("main");
        let repository = Repository::new(&self.cache, repo, kind, revision)?;
        if is_commit(revision)
            && let Some(names) = repository.listing(revision)
        {
            return Ok(Snapshot { commit: revision.into(), names, repository });
        }
        if self.access_to(kind) != Access::Network {
            return self.cached(repository);
        }
        match self.listed(&repository) {
            Ok(listing) => {
                repository.save(&listing)?;
                Ok(Snapshot { commit: listing.commit, names: listing.names, repository })
            }
            Err(RequestFailure::Unreachable(why)) => {
                let found = self.cached(repository.clone());
                let found =
                    found.map_err(|_| self.explain(RequestFailure::Unreachable(why.clone()), &repository, None))?;
                let commit = &found.commit;
                tracing::warn!("the hub cannot be reached ({why}); {repository} is used as cached, at commit {commit}");
                Ok(found)
            }
            Err(failure) => Err(self.explain(failure, &repository, None)),
        }
    }

    /// The snapshot as far as the cache knows it.
    fn cached(&self, repository: Repository) -> Result<Snapshot, DataError> {
        let Some(commit) = repository.cached_commit() else {
            return Err(repository.error(self.not_cached(repository.kind, "it")));
        };
        let names = repository.listing(&commit).unwrap_or_else(|| repository.cached_names(&commit));
        if names.is_empty() {
            return Err(repository.error(self.not_cached(repository.kind, "it")));
        }
        Ok(Snapshot { commit, names, repository })
    }

    fn not_cached(&self, kind: RepositoryKind, what: &str) -> String {
        let cache = self.cache.display();
        match self.access_to(kind) {
            Access::Offline(variable) => {
                format!("{what} is not in the cache {cache}, and {variable} is set; unset it to fetch it")
            }
            _ => format!("{what} is not in the cache {cache} yet; a run fetches it"),
        }
    }

    /// Asks the hub for the commit and the files of a revision.
    fn listed(&self, repository: &Repository) -> Result<Listing, RequestFailure> {
        let client = Client::new(self)?;
        let text = self.retrying(|| client.text(&repository.api_url(&self.endpoint)))?;
        let listing = Listing::parse(&text).map_err(RequestFailure::Broken)?;
        match is_commit(&repository.revision) && listing.commit != repository.revision {
            true => Err(RequestFailure::Broken(format!("the hub answered for commit {}", listing.commit))),
            false => Ok(listing),
        }
    }

    /// Paths of the named files of a snapshot, each fetched unless it is in the cache.
    pub fn get(&self, snapshot: &Snapshot, names: &[String]) -> Result<Vec<PathBuf>, DataError> {
        if let Some(name) = names.iter().find(|n| !safe_name(n) || !snapshot.names.contains(n)) {
            return Err(snapshot.error(format!(
                "there is no file {name:?} at commit {}; {}",
                snapshot.commit,
                instead(name, &snapshot.names, MOST_NAMES)
            )));
        }
        let missing: Vec<&String> = names.iter().filter(|n| !snapshot.dir().join(n).is_file()).collect();
        if !missing.is_empty() {
            let kind = snapshot.repository.kind;
            if self.access_to(kind) != Access::Network {
                return Err(snapshot.error(self.not_cached(kind, &list(&missing, MOST_NAMES))));
            }
            let client = Client::new(self).map_err(|f| self.explain(f, &snapshot.repository, None))?;
            tracing::info!("{}: fetching {}", snapshot.repository, list(&missing, MOST_NAMES));
            for name in missing {
                self.download(&client, snapshot, name)?;
            }
        }
        Ok(names.iter().map(|n| snapshot.dir().join(n)).collect())
    }

    /// A model's folder (config.json, safetensors weights, the tokenizer files that it has) and its commit.
    pub fn model(&self, repo: &str, revision: Option<&str>) -> Result<(PathBuf, String), DataError> {
        let snapshot = self.snapshot(repo, RepositoryKind::Model, revision)?;
        let has = |name: &str| snapshot.names.iter().any(|n| n == name);
        if !has("config.json") {
            let message = format!("has no config.json; it has {}", list(&snapshot.names, MOST_NAMES));
            return Err(snapshot.error(message));
        }
        let mut names: Vec<String> = MODEL_FILES.iter().filter(|n| has(n)).map(|n| n.to_string()).collect();
        if has(WEIGHTS) {
            names.push(WEIGHTS.into());
        } else if has(INDEX) {
            self.get(&snapshot, &[INDEX.into()])?;
            names.push(INDEX.into());
            names.extend(self.shards(&snapshot)?);
        } else if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") {
            return Err(snapshot.error(
                "has its weights only as pytorch_model.bin, which is not read here; load it in transformers, save it with save_pretrained(DIR), and use model.weights.path = \"DIR\"".into(),
            ));
        } else {
            let message = format!("has no {WEIGHTS}; it has {}", list(&snapshot.names, MOST_NAMES));
            return Err(snapshot.error(message));
        }
        self.get(&snapshot, &names)?;
        Ok((snapshot.dir(), snapshot.commit))
    }

    /// The files that an index of shards names.
    fn shards(&self, snapshot: &Snapshot) -> Result<Vec<String>, DataError> {
        let path = snapshot.dir().join(INDEX);
        let files = crate::model::tensor_file::weight_files(&snapshot.dir());
        let files = files.map_err(|e| DataError::File { path, message: e.to_string() })?;
        let names = files.iter().filter_map(|f| Some(f.file_name()?.to_str()?.to_string()));
        Ok(names.filter(|n| n != INDEX).collect())
    }
}
