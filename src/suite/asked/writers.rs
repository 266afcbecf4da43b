//! The texts that readers compare: of a member's policy, of ρ, lead-3 and the reference summaries, for the same
//! held-out queries. Models' texts are sampled once and cached by what they depend on.

use super::input;
use crate::context::{Context, StageError};
use crate::data::read_report::ReadReport;
use crate::label::batch::{Candidate, Text};
use crate::labeler::sample_all;
use crate::metric::text::lead3;
use crate::model::gpt2::Gpt2;
use crate::model::tokenizer::Tokenizer;
use crate::random;
use crate::rlhf::reward::Normalization;
use crate::spec::{CollectSchedule, RewardSpec, Spec, SupervisedOn};
use crate::stage::keys::Keys;
use crate::stage::{classifier, pretrain, sources};
use crate::store::atomic::{hash_file, write_atomic};
use crate::store::cache::Key;
use crate::suite::types::Baseline;
use crate::task::scoring::{ROWS, Scorer};
use crate::task::{Example, Query, Task, examples};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// One member at one seed, ready to give texts.
pub struct ReadyMember<'a> {
    context: &'a Context,
    /// The member's name.
    pub member: String,
    pub spec: Spec,
    keys: Keys,
    /// The member's results directory.
    dir: PathBuf,
    run: String,
    pub tokenizer: Tokenizer,
    task: Task,
    examples: Vec<Example>,
    /// The queries as a reader sees them, without prefix and suffix.
    pub sources: Vec<String>,
}

/// A member's reward model, and how it reads texts.
pub struct RewardJudge {
    pub member: String,
    scorer: Scorer,
    hash: String,
    task: Task,
}

/// Whose texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextSource {
    /// The member's own policy.
    Policy,
    Baseline(Baseline),
}

impl<'a> ReadyMember<'a> {
    /// `dir`: the member's results; `contexts` held-out queries are picked by the seed.
    pub fn open(
        context: &'a Context,
        member: &str,
        dir: &Path,
        (run, spec): &(String, Spec),
        contexts: usize,
    ) -> Result<Self, StageError> {
        let spec = sources::cached(spec)?;
        let keys = Keys::new(&spec, run, &context.device_kind)?;
        let tokenizer = Tokenizer::load(&dir.join("models/reference"))?;
        let task = Task::new(&spec.task, spec.reward.formatted_queries, &tokenizer)?;
        let mut report = ReadReport::new(format!("{member}: task"), "held-out documents");
        let held_out = examples(&pretrain::corpus(&spec)?.held_out, &tokenizer, &spec.task, &mut report)?;
        context.has_read(report);
        if held_out.len() < contexts {
            return Err(input(format!(
                "preference.contexts: {contexts} held-out queries are asked for, and the data of {member} have {}",
                held_out.len()
            )));
        }
        let picked = random::shuffled(spec.seed, "preference queries", held_out.len(), 0, contexts);
        let examples: Vec<Example> = picked.into_iter().map(|i| held_out[i].clone()).collect();
        let sources = examples.iter().map(|e| Ok(tokenizer.decode(&task.bare(&e.query))?));
        let sources = sources.collect::<Result<Vec<String>, StageError>>()?;
        let (member, dir, run) = (member.to_string(), dir.to_path_buf(), run.clone());
        Ok(Self { context, member, spec, keys, dir, run, tokenizer, task, examples, sources })
    }

    /// The queries as models read them.
    pub fn queries(&self) -> Vec<Query> {
        self.examples.iter().map(|e| e.query.clone()).collect()
    }

    /// How the member's task cuts and scores responses.
    pub fn task_rules(&self) -> &Task {
        &self.task
    }

    /// Directory of ρ: books were read before the stylistic tasks' was frozen (paper section 3.1).
    pub fn reference_dir(&self) -> PathBuf {
        let tuned = self.spec.supervised.on == SupervisedOn::Text;
        self.dir.join(if tuned { "models/supervised" } else { "models/reference" })
    }

    /// The query's text with its ids.
    pub fn query(&self, i: usize) -> Text {
        Text { text: self.sources[i].clone(), ids: self.task.bare(&self.examples[i].query) }
    }

    pub fn summary(&self, i: usize) -> Option<&str> {
        self.examples[i].summary.as_deref()
    }

    /// The task's word in the paper's tables.
    pub fn task(&self) -> String {
        task_word(&self.spec)
    }

    /// `k` texts of a writer per query, each called `source`: `[queries][k]`.
    pub fn texts(&self, writer: TextSource, source: &str, k: usize) -> Result<Vec<Vec<Candidate>>, StageError> {
        match writer {
            TextSource::Baseline(Baseline::Lead3) => {
                self.sources.iter().map(|text| self.fixed(&lead3(text), source, k)).collect()
            }
            TextSource::Baseline(Baseline::Summaries) => (0..self.examples.len())
                .map(|i| {
                    let summary = self.summary(i).ok_or_else(|| {
                        input(format!("the data of {} have no reference summary for every query", self.member))
                    })?;
                    self.fixed(summary, source, k)
                })
                .collect(),
            TextSource::Policy | TextSource::Baseline(Baseline::ZeroShot | Baseline::BestOf(_)) => {
                let responses = self.responses(writer, k)?;
                let one = |response: &Vec<u32>| {
                    let cut = self.task.cut(response);
                    let ids = response[..cut.unwrap_or(response.len())].to_vec();
                    let text = self.tokenizer.decode(&ids)?;
                    let response = Text { text, ids };
                    Ok(Candidate { response, source: source.into(), logprob: None, valid: cut.is_some() })
                };
                let all = responses.iter().map(one).collect::<Result<Vec<_>, StageError>>()?;
                Ok(all.chunks(k).map(<[Candidate]>::to_vec).collect())
            }
        }
    }

    fn fixed(&self, text: &str, source: &str, k: usize) -> Result<Vec<Candidate>, StageError> {
        let response = Text { text: text.into(), ids: self.tokenizer.encode(text)? };
        Ok(vec![Candidate { response, source: source.into(), logprob: None, valid: true }; k])
    }

    /// What texts and scores depend on beside weights.
    fn device_kind(&self) -> String {
        self.spec.model.precision.on(&self.context.device_kind)
    }

    /// Sampled responses `[queries x k]`, from the cache where they have been sampled before.
    fn responses(&self, writer: TextSource, k: usize) -> Result<Vec<Vec<u32>>, StageError> {
        if let TextSource::Baseline(Baseline::BestOf(n)) = writer {
            return self.best_of(n, k);
        }
        let (dir, purpose) = match writer {
            TextSource::Policy => (self.run_dir().join("models/policy"), format!("preference {}", self.member)),
            TextSource::Baseline(_) => (self.reference_dir(), "preference zero-shot".into()),
        };
        let weights = dir.join("model.safetensors");
        let weights = hash_file(&weights).map_err(StageError::io(weights))?;
        let queries = self.queries();
        let inputs =
            (weights, &purpose, self.spec.task.without_place(), self.spec.seed, &queries, k, self.device_kind());
        let key = Key::new("responses", VERSION, &inputs)?;
        self.kept(&key, "responses.json", || {
            let model: Gpt2 = self.context.gpt2(&dir, self.spec.model.precision)?;
            sample_all(&model, &self.spec, &queries, k, &purpose)
        })
    }

    /// Best-of-n `[queries x k]`: of every n samples of ρ the one that RL's reward likes best, as RL sees it: what the task
    /// does not cut has the fixed score. Of equal scores, the earlier sample counts as the larger.
    fn best_of(&self, n: usize, k: usize) -> Result<Vec<Vec<u32>>, StageError> {
        let hash = |dir: PathBuf| {
            let weights = dir.join("model.safetensors");
            hash_file(&weights).map_err(StageError::io(weights))
        };
        let judge = self.reward_model()?;
        let direct = judge.is_none() && self.spec.collect.schedule == CollectSchedule::Direct;
        let (queries, purpose) = (self.queries(), format!("preference best of {n}"));
        let chosen_by = (
            judge.as_ref().map(|judge| &judge.hash),
            self.keys.classifier.as_ref().filter(|_| direct).map(ToString::to_string),
        );
        let rule = (self.spec.task.without_place(), self.spec.task.missing_score, self.spec.seed);
        let models = (hash(self.reference_dir())?, chosen_by, self.device_kind());
        let key = Key::new("best_of_responses", VERSION, &(models, &purpose, rule, &queries, k))?;
        self.kept(&key, "responses.json", || {
            let scorer = match judge {
                Some(judge) => Some(judge.scorer),
                None if direct => self.classifier()?,
                None => None,
            };
            let mut scorer = scorer.ok_or_else(|| {
                let member = &self.member;
                input(format!("best-of-{n}: {member} has no reward model to choose by; compare with a member that has"))
            })?;
            let model: Gpt2 = self.context.gpt2(&self.reference_dir(), self.spec.model.precision)?;
            let all = in_passes(n * k, queries.len(), |pass, k| {
                sample_all(&model, &self.spec, &queries, k, &format!("{purpose} {pass}"))
            })?;
            let each: Vec<Query> = queries.iter().flat_map(|query| vec![query.clone(); n * k]).collect();
            let raw = scorer.raw(&self.task, &each, &all)?;
            if direct {
                let RewardSpec { target_mean, target_std, .. } = self.spec.reward;
                scorer.normalization = Normalization::fit(&raw, target_mean, target_std);
            }
            let scores = scorer.of_raw(&self.task, raw, &all);
            let best = |(samples, scores): (&[Vec<u32>], &[f32])| {
                let largest = (0..scores.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0);
                samples[largest].clone()
            };
            Ok(all.chunks(n).zip(scores.chunks(n)).map(best).collect())
        })
    }

    /// The directory of the member's run.
    fn run_dir(&self) -> PathBuf {
        self.dir.join("runs").join(&self.run)
    }

    /// An artifact of one file: read from the cache, or made.
    fn kept<T: Serialize + DeserializeOwned>(
        &self,
        key: &Key,
        file: &str,
        make: impl FnOnce() -> Result<T, StageError>,
    ) -> Result<T, StageError> {
        let made = self.context.artifact(Some(&self.member), key, |work| {
            let path = work.dir.join(file);
            write_atomic(&path, serde_json::to_string(&make()?)?.as_bytes()).map_err(StageError::io(path))
        })?;
        let path = made.join(file);
        let text = std::fs::read_to_string(&path).map_err(StageError::io(path))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// r_s, if the member has a mock labeler or simulated ones that care for it.
    pub fn classifier(&self) -> Result<Option<Scorer>, StageError> {
        let Some(key) = &self.keys.classifier else { return Ok(None) };
        let pretrained = pretrain::run(self.context, &self.spec, &self.keys.pretrained)?;
        let dir = classifier::run(self.context, &self.spec, key, &pretrained)?;
        let normalization = Normalization { gain: 1.0, bias: 0.0 };
        Ok(Some(Scorer { source: self.context.scalar(&dir, self.spec.model.precision)?.into(), normalization }))
    }

    /// Every candidate as a scorer with this rule reads it: as many tokens as it was made for.
    fn rows(&self, candidates: &[Vec<Candidate>], task: &Task) -> Vec<Query> {
        let length = self.spec.task.response_length;
        let of = |(example, row): (&Example, &Vec<Candidate>)| {
            let query = task.scored_query(&self.task.bare(&example.query));
            let row = row.iter().map(|candidate| {
                let ids = (0..length).map(|i| candidate.response.ids.get(i).copied());
                query.iter().copied().chain(ids).collect()
            });
            row.collect::<Vec<Query>>()
        };
        self.examples.iter().zip(candidates).flat_map(of).collect()
    }

    /// The member's reward model, learned or given; none where its results have none.
    pub fn reward_model(&self) -> Result<Option<RewardJudge>, StageError> {
        let dir = self.run_dir().join("models/reward");
        if !dir.join("config.json").is_file() {
            return Ok(None);
        }
        let scorer = crate::stage::given::load_reward(self.context, &dir, self.spec.model.precision)?;
        let weights = dir.join("model.safetensors");
        let hash = hash_file(&weights).map_err(StageError::io(weights))?;
        Ok(Some(RewardJudge { member: self.member.clone(), scorer, hash, task: self.task.clone() }))
    }

    /// Normalised scores of one text per query under a reward model, without the missing-token rule; cached.
    pub fn scored(&self, writer: TextSource, source: &str, judge: &RewardJudge) -> Result<Vec<f32>, StageError> {
        let rows = self.rows(&self.texts(writer, source, 1)?, &judge.task);
        let normalization = judge.scorer.normalization;
        let key = Key::new("cross_scores", VERSION, &(&judge.hash, normalization, &rows, self.device_kind()))?;
        self.kept(&key, "scores.json", || {
            let raw = crate::task::scoring::raw_scores(model_of(&judge.scorer)?, &rows)?;
            Ok(raw.into_iter().map(|score| normalization.apply(score)).collect())
        })
    }

    /// r_s of every candidate, `[queries][candidates]`; zeros where nobody asks for it.
    pub fn scores(&self, candidates: &[Vec<Candidate>], wanted: bool) -> Result<Vec<Vec<f32>>, StageError> {
        if !wanted {
            return Ok(candidates.iter().map(|row| vec![0.0; row.len()]).collect());
        }
        let scorer = self.classifier()?.ok_or_else(|| {
            input(format!(
                "preference.simulated.weight_score: member {} has no r_s (its labeler.kind is {:?}); set it to 0",
                self.member,
                self.spec.labeler.kind.word()
            ))
        })?;
        let all = crate::task::scoring::raw_scores(model_of(&scorer)?, &self.rows(candidates, &self.task))?;
        let mut rest = all.into_iter();
        Ok(candidates.iter().map(|row| rest.by_ref().take(row.len()).collect()).collect())
    }

    /// Whether programs answered the member's own comparisons.
    pub fn simulated(&self) -> bool {
        self.spec.labeler.is().simulated
    }
}

/// `k` samples to each query, `[queries x k]`, drawn in passes of at most [`ROWS`] to each: a query's samples share a cache
/// of keys and values, which grows with their number. `sample(pass, k)` gives `[queries x k]`.
fn in_passes(
    k: usize,
    queries: usize,
    mut sample: impl FnMut(usize, usize) -> Result<Vec<Vec<u32>>, StageError>,
) -> Result<Vec<Vec<u32>>, StageError> {
    let mut of = vec![Vec::with_capacity(k); queries];
    for pass in 0..k.div_ceil(ROWS) {
        let some = ROWS.min(k - pass * ROWS);
        let found = sample(pass, some)?;
        of.iter_mut().zip(found.chunks(some)).for_each(|(all, found)| all.extend_from_slice(found));
    }
    Ok(of.concat())
}

fn model_of(scorer: &Scorer) -> Result<&crate::model::gpt2::ScalarModel, StageError> {
    scorer.model().ok_or_else(|| input("there is no reward model, whose scores are asked for"))
}

/// The task's word in the paper's tables: its preset.
pub fn task_word(spec: &Spec) -> String {
    serde_json::to_value(spec.task.preset).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_several_passes_stay_with_their_queries() {
        let sample = |pass: usize, k: usize| {
            let of = |query: usize| (0..k).map(move |i| vec![query as u32, (pass * ROWS + i) as u32]);
            Ok((0..3).flat_map(of).collect())
        };
        let all = in_passes(150, 3, sample).unwrap();
        let wanted = (0..3).flat_map(|query| (0..150).map(move |i| vec![query, i]));
        assert!(all == wanted.collect::<Vec<_>>());
    }
}
