//! π: PPO or RLOO by src/rl, with checkpoints from which the same command continues to the same bytes on the CPU; in rounds,
//! one segment of updates after another.

use crate::context::{CHECKPOINTS, Context, Kept, StageError};
use crate::labeler::rounds::{Round, updates};
use crate::labeler::{Comparison, Tally, request};
use crate::model::checkpoint::{self, LoopState};
use crate::model::faults;
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::model::optimizer::Adam;
use crate::model::weights::save_scalar;
use crate::ranks;
use crate::results::{MetricsLine, file, read_jsonl};
use crate::rl::log::{Log, cut};
use crate::rl::rollout::Inputs;
use crate::rl::{Algorithm, Ppo, Rewards, Rloo, Settings, Trainer, guards};
use crate::rlhf::advantages::token_rewards;
use crate::spec::keyed::{PolicyKey, RoundsKey};
use crate::spec::{AlgorithmKind, Spec};
use crate::store::cache::{Key, publish};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

const VERSION: u32 = 3;
/// Of training in rounds.
const ROUNDS: u32 = 2;

/// The updates of one round, between two trainings of r; without rounds, all of them.
#[derive(Default)]
pub struct Segment<'a> {
    pub from: usize,
    pub to: usize,
    /// Where the segment before left π, Adam, β and metrics.
    pub previous: Option<&'a Path>,
    /// What is known about labels, logged with every update.
    pub labels: Option<LabelsSoFar>,
    /// Online: samples of π are asked about while it is trained, and go to requests.jsonl.
    pub asks: bool,
    /// Online with people: gets all requests of the segment so far before each update, and says whether training waits.
    pub people: Option<&'a Waits<'a>>,
}

/// Labels behind the present r.
#[derive(Debug, Clone, Copy)]
pub struct LabelsSoFar {
    /// Trainings of r.
    pub round: usize,
    pub collected: usize,
    pub validation: Tally,
}

impl LabelsSoFar {
    fn add_to(self, line: &mut MetricsLine) {
        let Tally { wins, n } = self.validation;
        line.labels_round = Some(self.round as f64);
        line.labels_collected = Some(self.collected as f64);
        line.win_rate = (n > 0).then(|| wins as f64 / n as f64);
        line.win_rate_n = (n > 0).then_some(n as f64);
    }
}

/// What learns, and from which rewards; tests of the guards have others.
#[derive(Clone, Copy)]
pub struct Learner<'a> {
    pub algorithm: &'a dyn Algorithm,
    pub rewards: Rewards,
}

/// Writes requests for people; an error where too many are unanswered.
pub type Waits<'a> = dyn Fn(&[Comparison]) -> Result<(), StageError> + 'a;

impl Segment<'_> {
    /// All updates of a spec at once.
    pub fn whole(spec: &Spec) -> Self {
        Self { to: updates(spec), ..Self::default() }
    }
}

/// What π depends on; `upstream`: ρ, r_s and the scorer.
pub fn key(spec: &Spec, upstream: &[String]) -> Result<Key, StageError> {
    Ok(Key::new("policy", VERSION, &(PolicyKey::of(spec), spec.seed, upstream))?)
}

/// The same in rounds. `previous`: π of the round before.
pub fn round_key(spec: &Spec, round: &Round, upstream: &[String], previous: Option<&Key>) -> Result<Key, StageError> {
    // What is asked while π is trained is part of what this stage makes.
    let online = spec.collect.schedule.is_online().then(|| (RoundsKey::of(&spec.collect), spec.labeler.kind));
    let (previous, segment) = (previous.map(Key::to_string), (round.from, round.to));
    let inputs = ("rounds", ROUNDS, segment, online, PolicyKey::of(spec), spec.seed, upstream, previous);
    Ok(Key::new("policy", VERSION, &inputs)?)
}

/// π's directory after a segment: metrics.jsonl of all updates so far; after the last one the policy with its value
/// head, after others a checkpoint to go on from ([`resume`]); with online collection requests.jsonl of the segment.
pub fn run(
    context: &Context,
    run: &str,
    spec: &Spec,
    key: &Key,
    inputs: &Inputs<'_>,
    segment: &Segment<'_>,
) -> Result<PathBuf, StageError> {
    let (ppo, rloo) = (Ppo::of(&spec.policy), Rloo::of(&spec.policy, spec.task.response_length));
    let algorithm: &dyn Algorithm = match spec.policy.algorithm {
        AlgorithmKind::Rloo => &rloo,
        AlgorithmKind::Ppo => &ppo,
        AlgorithmKind::Dpo => return Err(StageError::Input("policy.algorithm: DPO has no episodes".into())),
    };
    let learner = Learner { algorithm, rewards: token_rewards };
    context.artifact(Some(run), key, |work| train((context, run), spec, (inputs, learner), segment, &work.dir))
}

/// π with its value head as a segment left it, its Adam, and the loop's numbers.
pub fn resume(
    context: &Context,
    spec: &Spec,
    reference: &Gpt2,
    dir: &Path,
) -> Result<(LoopState, ScalarModel, Adam), StageError> {
    let head = ScalarHead::init(reference.dimensions().width, 0.0, 0, &context.device);
    let blank = ScalarModel { trunk: reference.clone(), head };
    let found = checkpoint::load(dir, &blank, spec.policy.adam, &context.device)?;
    found.ok_or_else(|| StageError::Input(format!("{}: there is no policy to go on from", dir.display())))
}

/// A segment in progress.
struct Loop<'a> {
    context: &'a Context,
    spec: &'a Spec,
    segment: &'a Segment<'a>,
    dir: &'a Path,
    trainer: Trainer<'a>,
    log: Log,
    requests: Requests,
}

/// Trains π for the segment's updates, from where an earlier try left it, and writes what it leaves.
pub fn train(
    (context, run): (&Context, &str),
    spec: &Spec,
    (inputs, learner): (&Inputs<'_>, Learner<'_>),
    segment: &Segment<'_>,
    dir: &Path,
) -> Result<(), StageError> {
    let mut trainer = Trainer::new(Settings::of(spec), learner.algorithm, *inputs);
    trainer.rewards = learner.rewards;
    let mut requests = Requests::new(segment.asks, dir);
    let (trainer, first) = continued(context, run, trainer, segment, dir, &mut requests)?;
    let log = Log::open(dir, &context.out, run)?;
    guards::known_rewards(learner.rewards)?;
    let mut this = Loop { context, spec, segment, dir, trainer, log, requests };
    this = this.updates(run, first)?;
    if segment.to < updates(spec) {
        // Beside the metrics, not in the checkpoints' directory: the next round goes on from it.
        let state = LoopState { requests_bytes: 0, ..this.state(segment.to)? };
        return Ok(checkpoint::save(dir, &state, &this.trainer.model, &this.trainer.adam, &[file::METRICS])?);
    }
    Ok(save_scalar(dir, &this.trainer.model, inputs.end_of_text)?)
}

/// The trainer as the newest checkpoint or the segment before left it, and its next update.
fn continued<'a>(
    context: &Context,
    run: &str,
    mut trainer: Trainer<'a>,
    segment: &Segment<'_>,
    dir: &Path,
    requests: &mut Requests,
) -> Result<(Trainer<'a>, usize), StageError> {
    let adam = trainer.settings.policy.adam;
    let metrics = dir.join(file::METRICS);
    let put = |trainer: &mut Trainer<'a>, (state, model, adam): (LoopState, ScalarModel, Adam)| {
        (trainer.kl_coef, trainer.entropy_coef) = (state.kl_coef, state.entropy_coef);
        (trainer.model, trainer.adam) = (model, adam);
    };
    let found = checkpoint::load(&dir.join(CHECKPOINTS), &trainer.model, adam, &context.device)?;
    if let Some(found) = found {
        let LoopState { updates, metrics_bytes, requests_bytes, .. } = found.0;
        tracing::info!("{run}: continuing after update {updates}");
        cut(&metrics, metrics_bytes).map_err(StageError::io(&metrics))?;
        requests.cut(requests_bytes)?;
        put(&mut trainer, found);
        return Ok((trainer, updates));
    }
    match segment.previous {
        Some(previous) => {
            let found = checkpoint::load(previous, &trainer.model, adam, &context.device)?;
            let none = || StageError::Input(format!("{}: there is no policy to go on from", previous.display()));
            put(&mut trainer, found.ok_or_else(none)?);
            publish(&previous.join(file::METRICS), &metrics).map_err(StageError::io(&metrics))?;
        }
        None => cut(&metrics, 0).map_err(StageError::io(&metrics))?,
    }
    requests.cut(0)?;
    Ok((trainer, segment.from))
}

impl Loop<'_> {
    /// From `first` to the segment's end; between two updates it can be stopped, and goes on from there.
    fn updates(mut self, run: &str, first: usize) -> Result<Self, StageError> {
        let (segment, batch) = (self.segment, self.spec.policy.batch_size);
        // Time goes on from round to round.
        let before = if segment.from > 0 { self.log.last_time()? } else { 0.0 };
        let episodes = |updates: usize| (updates - segment.from) * batch;
        let bar = self.context.bar(&format!("policy {run}"), episodes(first), episodes(segment.to));
        let started = Instant::now();
        for update in first..segment.to {
            self.may_go_on(update)?;
            ranks::panic_on_request(update);
            if segment.asks {
                let inputs = self.trainer.inputs;
                let policy = &self.trainer.model.trunk;
                let asked = request(self.spec, inputs.task, inputs.queries, inputs.reference, policy, update)?;
                self.requests.add(asked)?;
            }
            let (trainer, mut done) = self.trainer.update(update)?;
            // Before its line of metrics: Adam's step is still at work on the device.
            faults::confirm()?;
            self.trainer = trainer;
            segment.labels.into_iter().for_each(|labels| labels.add_to(&mut done.metrics));
            let time = started.elapsed().as_secs_f64();
            let line = MetricsLine {
                updates: (update + 1) as f64,
                episodes: ((update + 1) * batch) as f64,
                fps: ((update + 1 - first) * batch) as f64 / time,
                time: before + time,
                ..done.metrics
            };
            self.log.add(&line)?;
            bar.add(batch, &format!("score {:.2} KL {:.1}", done.score, line.kl));
            let (score, kl, kl_coef) = (done.score, line.kl, line.kl_coef);
            tracing::debug!("{run} update {}: score {score:.3} kl {kl:.3} β {kl_coef:.4}", update + 1);
            done.guarded?;
            if (update + 1).is_multiple_of(self.spec.policy.checkpoint_every) && update + 1 < segment.to {
                self.save(update + 1)?;
            }
        }
        bar.finish();
        Ok(self)
    }

    /// Err: somebody stops the run, or people's answers are missing; all is saved.
    fn may_go_on(&self, update: usize) -> Result<(), StageError> {
        if let Some(by) = self.context.stop_requested()? {
            self.save(update)?;
            return Err(StageError::Stopped { by, update, kept: Kept::Everything });
        }
        match self.segment.people.map_or(Ok(()), |people| ranks::by_first(|| people(&self.requests.all))) {
            Ok(()) => Ok(()),
            Err(waiting) => self.save(update).and(Err(waiting)),
        }
    }

    fn state(&self, updates: usize) -> Result<LoopState, StageError> {
        let (kl_coef, entropy_coef) = (self.trainer.kl_coef, self.trainer.entropy_coef);
        let (metrics_bytes, requests_bytes) = (self.log.bytes()?, self.requests.bytes);
        Ok(LoopState { updates, kl_coef, entropy_coef, metrics_bytes, requests_bytes })
    }

    fn save(&self, updates: usize) -> Result<(), StageError> {
        // What a checkpoint counts on, besides itself.
        let logs = ["../metrics.jsonl", "../requests.jsonl"];
        let logs = if self.segment.asks { &logs[..] } else { &logs[..1] };
        let (at, state) = (self.dir.join(CHECKPOINTS), self.state(updates)?);
        Ok(checkpoint::save(&at, &state, &self.trainer.model, &self.trainer.adam, logs)?)
    }
}

/// requests.jsonl while it is written.
struct Requests {
    /// None where nothing is asked.
    path: Option<PathBuf>,
    all: Vec<Comparison>,
    bytes: u64,
}

impl Requests {
    fn new(asks: bool, dir: &Path) -> Self {
        Self { path: asks.then(|| dir.join("requests.jsonl")), all: Vec::new(), bytes: 0 }
    }

    /// Back to the first `bytes` of the file.
    fn cut(&mut self, bytes: u64) -> Result<(), StageError> {
        let Some(path) = &self.path else { return Ok(()) };
        self.all = ranks::from_first(|| {
            cut(path, bytes).map_err(StageError::io(path))?;
            Ok::<_, StageError>(read_jsonl(path)?)
        })?;
        self.bytes = bytes;
        Ok(())
    }

    fn add(&mut self, new: Vec<Comparison>) -> Result<(), StageError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut lines = String::new();
        for comparison in &new {
            lines.push_str(&serde_json::to_string(comparison)?);
            lines.push('\n');
        }
        if ranks::is_first() {
            let file = fs::File::options().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(StageError::io(path))?;
        }
        self.bytes += lines.len() as u64;
        self.all.extend(new);
        Ok(())
    }
}
