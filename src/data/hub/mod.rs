//! The Hugging Face hub: models and data sets by `owner/name`, fetched into the hub's own cache, checked and resumable.
//!
//! Names, addresses and the layout of the cache are hf-hub's, so that the Python tools find what we fetch and the other
//! way round. The transfer itself is in `transfer.rs`, over the HTTP client that hf-hub uses: hf-hub's own appends a whole
//! file to a part of it where a server ignores `Range`, stops the program on a redirect without an address, and takes
//! what it gets without comparing check sums.

mod http;
mod plain;
mod store;
mod transfer;

use self::http::{Client, Failure};
pub use self::plain::sha256_of;
use self::store::{Listing, Repository, is_commit};
pub use self::store::{is_repository, is_revision, safe_name};
use super::error::{DataError, instead, list};
use hf_hub::RepoType;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// File names in a message.
const MOST_NAMES: usize = 20;
/// What a model directory can have beside its weights.
const MODEL_FILES: [&str; 5] = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What a repository of the hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    fn repo_type(self) -> RepoType {
        match self {
            Self::Model => RepoType::Model,
            Self::Dataset => RepoType::Dataset,
        }
    }
}

impl std::fmt::Display for Kind {
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
    /// HF_HUB_OFFLINE is set.
    Offline,
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
    /// The hub as HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE say.
    pub fn from_env() -> Result<Self, DataError> {
        Self::from_variables(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, DataError> {
        let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
            Some(caches.or_else(|| Some(std::env::home_dir()?.join(".cache")))?.join("huggingface"))
        });
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| {
            DataError::Other("there is no home directory for the hub's cache; set HF_HOME to a folder".into())
        })?;
        let file = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
        let token = variable("HF_TOKEN")
            .or_else(|| variable("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| std::fs::read_to_string(file?).ok())
            .and_then(|text| Token::new(&text));
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_ascii_lowercase().as_str()));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            // Links in the cache are relative, and the program may change its folder.
            cache: std::path::absolute(&cache).unwrap_or(cache),
            token,
            access: if offline { Access::Offline } else { Access::Network },
            progress: true,
            backoff: Duration::from_millis(500),
            stop: None,
        })
    }

    /// The same, but nothing is fetched.
    pub fn cache_only(self) -> Self {
        Self { access: Access::CacheOnly, ..self }
    }

    /// The commit that a revision means, and the files there. A commit whose files are known needs no request; a branch
    /// or tag is asked for once, and without the network it is what it was when last asked for.
    pub fn snapshot(&self, repo: &str, kind: Kind, revision: Option<&str>) -> Result<Snapshot, DataError> {
        let revision = revision.unwrap_or("main");
        let repository = Repository::new(&self.cache, repo, kind, revision)?;
        if is_commit(revision)
            && let Some(names) = repository.listing(revision)
        {
            return Ok(Snapshot { commit: revision.into(), names, repository });
        }
        if self.access != Access::Network {
            return self.cached(repository);
        }
        match self.listed(&repository) {
            Ok(listing) => {
                repository.save(&listing)?;
                Ok(Snapshot { commit: listing.commit, names: listing.names, repository })
            }
            Err(Failure::Unreachable(why)) => {
                let found = self.cached(repository.clone());
                let found = found.map_err(|_| self.explain(Failure::Unreachable(why.clone()), &repository, None))?;
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
            return Err(repository.error(self.not_cached("it")));
        };
        let names = repository.listing(&commit).unwrap_or_else(|| repository.cached_names(&commit));
        if names.is_empty() {
            return Err(repository.error(self.not_cached("it")));
        }
        Ok(Snapshot { commit, names, repository })
    }

    fn not_cached(&self, what: &str) -> String {
        let cache = self.cache.display();
        match self.access {
            Access::CacheOnly => format!("{what} is not in the cache {cache} yet; a run fetches it"),
            _ => format!("{what} is not in the cache {cache}, and HF_HUB_OFFLINE is set; unset it to fetch it"),
        }
    }

    /// Asks the hub for the commit and the files of a revision.
    fn listed(&self, repository: &Repository) -> Result<Listing, Failure> {
        let client = Client::new(self)?;
        let text = self.retrying(|| client.text(&repository.api_url(&self.endpoint)))?;
        let listing = Listing::parse(&text).map_err(Failure::Broken)?;
        match is_commit(&repository.revision) && listing.commit != repository.revision {
            true => Err(Failure::Broken(format!("the hub answered for commit {}", listing.commit))),
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
            if self.access != Access::Network {
                return Err(snapshot.error(self.not_cached(&list(&missing, MOST_NAMES))));
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
        let snapshot = self.snapshot(repo, Kind::Model, revision)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        Hub::from_variables(&find).unwrap()
    }

    #[test]
    fn variables_say_where_the_hub_and_its_cache_are() {
        let plain = hub(&[("XDG_CACHE_HOME", "/c")]);
        assert_eq!(plain.cache, PathBuf::from("/c/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), plain.access), ("https://huggingface.co", Access::Network));
        assert_eq!(hub(&[("HF_HOME", "/h")]).cache, PathBuf::from("/h/hub"));
        assert_eq!(hub(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/k")]).cache, PathBuf::from("/k"));
        let other = hub(&[("HF_ENDPOINT", "http://localhost:1/"), ("HF_HUB_OFFLINE", "1"), ("HF_TOKEN", " secret\n")]);
        assert_eq!((other.endpoint.as_str(), other.access), ("http://localhost:1", Access::Offline));
        assert!(other.token.as_ref().is_some_and(|t| t.0 == "secret"));
        assert!(!format!("{other:?}").contains("secret"), "a token is never printed");
    }

    #[test]
    fn the_token_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from-a-file\n").unwrap();
        let found = hub(&[("HF_HOME", &dir.path().to_string_lossy())]);
        assert!(found.token.is_some_and(|t| t.0 == "from-a-file"));
    }
}
