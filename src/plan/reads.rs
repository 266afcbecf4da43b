//! What becomes of the records of a run's files: the counts that its log and its manifest will have (docs/data.md),
//! before it is run. Files are read as the run reads them; too large ones are named and left to it.

use super::units::bytes;
use crate::context::StageError;
use crate::data::files;
use crate::data::formats::Want;
use crate::data::hub::Hub;
use crate::data::read_report::ReadReport;
use crate::data::source::labelled_reviews;
use crate::label::recorded;
use crate::labeler;
use crate::model::tokenizer::Tokenizer;
use crate::spec::{DataSpec, Spec};
use crate::stage::experiment::{HELD_OUT, TRAINING, check_queries, queries};
use crate::stage::keys::Keys;
use crate::stage::{pretrain, sources};
use crate::store::cache::Cache;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A plan reads so much of all sources together; who plans does not want to wait.
const MOST_BYTES: u64 = 64 << 20;

/// What is read of one source, or why that is not known yet.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Read {
    /// The part of the spec that names it.
    pub source: String,
    pub report: Option<ReadReport>,
    pub unknown: Option<String>,
}

impl std::fmt::Display for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.report, &self.unknown) {
            (Some(report), _) => report.fmt(f),
            (None, why) => write!(f, "{}: {}", self.source, why.as_deref().unwrap_or("not counted")),
        }
    }
}

/// The counts of a plan, each source once.
pub struct Reads {
    pub all: Vec<Read>,
    /// What a run would be refused for.
    pub problems: Vec<String>,
    seen: HashSet<String>,
    /// Bytes that may still be read.
    left: u64,
}

impl Default for Reads {
    fn default() -> Self {
        Self { all: Vec::new(), problems: Vec::new(), seen: HashSet::new(), left: MOST_BYTES }
    }
}

impl Reads {
    /// Adds what a run reads from files that are here. Where some are not, that is said elsewhere.
    pub fn add(&mut self, spec: &Spec, keys: &Keys, cache: &Cache) {
        let Ok(spec) = &sources::cached(spec).or_else(|_| sources::cached(&sources::without_labels(spec))) else {
            return;
        };
        let tokenizer = std::cell::OnceCell::new();
        let tokenizer = || tokenizer.get_or_init(|| pretrain::tokenizer(spec, &cache.path(&keys.pretrained))).as_ref();
        self.documents(spec, &tokenizer);
        if spec.labeler.has_classifier() && self.is_new(&("reviews", &spec.labeler.reviews)) {
            let data = &spec.labeler.reviews;
            if let Some(paths) = self.files(data, Want::Reviews)
                && self.affords(Want::Reviews.key(), &paths)
            {
                let found = labelled_reviews(data, 0, 0).map(|reviews| reviews.report);
                self.take(found.map_err(StageError::from));
            }
        }
        self.labels(spec, &tokenizer);
    }

    fn documents<'a>(&mut self, spec: &Spec, tokenizer: &dyn Fn() -> Option<&'a Tokenizer>) {
        let task = (&spec.task, &spec.model.weights, spec.policy.batch_size, spec.evaluate.queries);
        if !self.is_new(&("documents", task)) {
            return;
        }
        let Some(paths) = self.files(&spec.task.data, Want::Documents) else { return };
        if !self.affords(Want::Documents.key(), &paths) {
            return;
        }
        let corpus = match pretrain::corpus(spec) {
            Ok(corpus) => corpus,
            Err(e) => return self.take(Err(e)),
        };
        self.take(Ok(corpus.report.clone()));
        let Some(tokenizer) = tokenizer() else { return };
        let both = queries(spec, &corpus.train, TRAINING, tokenizer)
            .and_then(|train| Ok((train, queries(spec, &corpus.held_out, HELD_OUT, tokenizer)?)));
        match both {
            Ok(((train, of_train), (held_out, of_held_out))) => {
                [of_train, of_held_out].into_iter().for_each(|report| self.take(Ok(report)));
                self.problems.extend(check_queries(spec, &train, &held_out).err().map(|e| e.to_string()));
            }
            Err(e) => self.take(Err(e)),
        }
    }

    fn labels<'a>(&mut self, spec: &Spec, tokenizer: &dyn Fn() -> Option<&'a Tokenizer>) {
        let l = &spec.labeler;
        let Some(path) = l.path.as_deref().filter(|path| l.is().recorded && !path.is_empty()) else {
            return;
        };
        let lengths = (spec.task.query_length, spec.task.response_length, &spec.task.query_prefix);
        if !self.is_new(&("labels", path, &l.split, lengths, spec.collect.labels, spec.collect.held_out)) {
            return;
        }
        // What is wrong with a path is a stage's to say.
        let Ok(paths) = recorded::files(Path::new(path)) else { return };
        if !self.affords("labeler.path", &paths) {
            return;
        }
        match tokenizer() {
            Some(tokenizer) => self.take(labeler::count_recorded(spec, tokenizer)),
            None => self.not_known("labeler.path", "counted once the model's tokenizer is here".into()),
        }
    }

    /// Whether nothing that is read in the same way was added before.
    fn is_new(&mut self, what: &impl Serialize) -> bool {
        serde_json::to_string(what).is_ok_and(|what| self.seen.insert(what))
    }

    /// Files of a source that are here; none of what is made up, and of what is missing.
    fn files(&self, data: &DataSpec, want: Want) -> Option<Vec<PathBuf>> {
        let found = files::resolve(data, want, || Ok(Hub::from_env()?.cache_only())).ok()??;
        Some(found.train.into_iter().chain(found.held_out.into_iter().flatten()).collect())
    }

    fn affords(&mut self, source: &str, paths: &[PathBuf]) -> bool {
        let size: u64 = paths.iter().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum();
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                let limit = bytes(MOST_BYTES as f64);
                let why = format!(
                    "{} in {} files; a run counts them, a plan reads at most {limit}",
                    bytes(size as f64),
                    paths.len()
                );
                self.not_known(source, why);
                false
            }
        }
    }

    fn not_known(&mut self, source: &str, why: String) {
        self.all.push(Read { source: source.into(), report: None, unknown: Some(why) });
    }

    fn take(&mut self, found: Result<ReadReport, StageError>) {
        match found {
            Ok(report) => {
                let read = Read { source: report.source.clone(), report: Some(report), unknown: None };
                if !self.all.contains(&read) {
                    self.all.push(read);
                }
            }
            Err(e) => self.problems.push(e.to_string()),
        }
    }
}
