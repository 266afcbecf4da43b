//! How far a run is: one line on a terminal, a log line now and then elsewhere, and progress.json in the results
//! directory for `runner ls`. The time left is that of the whole run: work still to do by the speed at which such work
//! was done so far.

use super::Context;
use crate::ranks;
use crate::results::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Least time between two writings of progress.json.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// Time between two lines where nobody sees a bar.
const SAY_EVERY: Duration = Duration::from_secs(300);
/// Below this share, a stage says nothing about its own speed.
const TOO_EARLY: f64 = 0.02;

/// A stage that a run will need.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Of its artifact.
    pub key: String,
    pub stage: &'static str,
    /// Floating-point operations; NaN where they are not known.
    pub work: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    ToDo,
    Running(Instant),
    /// With the seconds that it took, where it was not found done.
    Done(Option<f64>),
}

/// The stages of a run and where they stand; with no plan it says nothing about time.
#[derive(Debug, Default)]
pub struct Timeline {
    steps: Vec<(Planned, Step)>,
    /// What the time left is of: "run", where nothing else is said.
    whole: Option<&'static str>,
}

impl Timeline {
    /// Stages in the order in which they are made; runs share some, which count once.
    pub fn new(planned: impl IntoIterator<Item = Planned>) -> Self {
        let mut steps: Vec<(Planned, Step)> = Vec::new();
        for planned in planned {
            if !steps.iter().any(|(known, _)| known.key == planned.key) {
                steps.push((planned, Step::ToDo));
            }
        }
        Self { steps, whole: None }
    }

    /// Runs one after the other; `whole` names what the time left is of.
    pub fn of_all(runs: &[Self], whole: &'static str) -> Self {
        let planned = runs.iter().flat_map(|run| run.steps.iter().map(|(planned, _)| planned.clone()));
        Self { whole: Some(whole), ..Self::new(planned) }
    }

    /// A run that failed or waits does no more: its time so far says nothing, and nothing of it is left to do now. A
    /// stage that a later run shares counts again when that one begins it.
    pub fn give_up(&mut self, run: &Self) {
        for (planned, step) in &mut self.steps {
            let is_open = !matches!(step, Step::Done(_));
            if is_open && run.steps.iter().any(|(of_run, _)| of_run.key == planned.key) {
                *step = Step::Done(None);
            }
        }
    }

    fn set(&mut self, key: &str, step: Step) {
        self.steps.iter_mut().filter(|(planned, _)| planned.key == key).for_each(|(_, state)| *state = step);
    }

    pub fn begin(&mut self, key: &str) {
        self.set(key, Step::Running(Instant::now()));
    }

    /// `seconds`: none where it was done before.
    pub fn done(&mut self, key: &str, seconds: Option<f64>) {
        self.set(key, Step::Done(seconds));
    }

    /// Work and seconds of what was done here, of one kind of stage or of all; `share`: of the stage that runs.
    fn speed(&self, stage: Option<&str>, share: f64) -> Option<f64> {
        let mut sums = (0.0, 0.0);
        for (planned, step) in &self.steps {
            let (part, seconds) = match step {
                Step::Done(Some(seconds)) => (1.0, *seconds),
                Step::Running(since) if share >= TOO_EARLY => (share, since.elapsed().as_secs_f64()),
                _ => continue,
            };
            if planned.work.is_finite() && stage.is_none_or(|stage| stage == planned.stage) {
                sums = (sums.0 + part * planned.work, sums.1 + seconds);
            }
        }
        (sums.0 > 0.0 && sums.1 > 0.1).then(|| sums.0 / sums.1)
    }

    /// Seconds that the rest of the run takes, where `share` of the stage that runs is done. None where nothing is
    /// known yet.
    pub fn left(&self, share: f64) -> Option<f64> {
        let mut sum = None;
        for (planned, step) in &self.steps {
            let rest = match step {
                Step::Done(_) => continue,
                Step::Running(_) => 1.0 - share,
                Step::ToDo => 1.0,
            };
            if planned.work.is_finite() {
                let speed = self.speed(Some(planned.stage), share).or_else(|| self.speed(None, share))?;
                sum = Some(sum.unwrap_or(0.0) + rest * planned.work / speed);
            }
        }
        sum
    }
}

/// A stage that counts its steps.
pub struct Bar<'a> {
    context: &'a Context,
    bar: ProgressBar,
    name: String,
    /// Where it began: a stage that goes on from a checkpoint has not done that part now.
    first: u64,
    started: Instant,
    wrote: Mutex<Instant>,
    said: Mutex<Instant>,
}

impl<'a> Bar<'a> {
    /// `first` of `total` are done already.
    pub fn new(context: &'a Context, name: &str, first: usize, total: usize) -> Self {
        let visible = context.progress && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        // `wide_msg` is cut where the line ends: nothing wraps.
        let style = ProgressStyle::with_template("{prefix:20!} {bar:12} {percent:>3}% {wide_msg}");
        let bar = ProgressBar::with_draw_target(Some(total as u64), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(name.to_string());
        bar.set_position(first as u64);
        let now = Instant::now();
        context.say(name, Some(share(first as u64, total as u64)));
        Self {
            context,
            bar,
            name: name.to_string(),
            first: first as u64,
            started: now,
            wrote: Mutex::new(now),
            said: Mutex::new(now),
        }
    }

    /// `more` steps are done; `message`: numbers of the last one.
    pub fn add(&self, more: usize, message: &str) {
        self.bar.inc(more as u64);
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let share = share(done, total);
        let time = self.time(done, total, share);
        self.bar.set_message(if message.is_empty() { time.clone() } else { format!("{time}, {message}") });
        if due(&self.wrote, WRITE_EVERY) {
            self.context.say(&self.name, Some(share));
        }
        if self.bar.is_hidden() && due(&self.said, SAY_EVERY) {
            tracing::info!("{}: {:.0}%, {time}", self.name, 100.0 * share);
        }
    }

    /// "2m 10s left, run 4m, 8.2/s", or the suite's time in place of the run's.
    fn time(&self, done: u64, total: u64, share: f64) -> String {
        let here = done.saturating_sub(self.first) as f64;
        let speed = here / self.started.elapsed().as_secs_f64().max(1e-9);
        if here == 0.0 {
            return String::new();
        }
        let left = short(total.saturating_sub(done) as f64 / speed);
        let whole = self.context.timeline.lock().ok().and_then(|timeline| timeline.whole).unwrap_or("run");
        let run = self.context.left(share).map_or_else(String::new, |left| format!(", {whole} {}", short(left)));
        format!("{left} left{run}, {}", rate(speed))
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn share(done: u64, total: u64) -> f64 {
    done as f64 / total.max(1) as f64
}

/// Whether `every` has passed since the last time that this said so.
fn due(last: &Mutex<Instant>, every: Duration) -> bool {
    let Ok(mut last) = last.lock() else { return false };
    let due = last.elapsed() >= every;
    if due {
        *last = Instant::now();
    }
    due
}

/// Seconds in the two largest units that say something.
pub fn short(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86_400, s / 3600 % 24),
    }
}

/// Steps per second, or seconds per step where one takes longer.
fn rate(speed: f64) -> String {
    match speed {
        s if s >= 10.0 => format!("{s:.0}/s"),
        s if s >= 1.0 => format!("{s:.1}/s"),
        s => format!("{} each", if s > 0.1 { format!("{:.1}s", 1.0 / s) } else { short(1.0 / s) }),
    }
}

impl Context {
    /// Seconds that the rest of the run takes, as far as can be told.
    pub fn left(&self, share: f64) -> Option<f64> {
        self.timeline.lock().ok()?.left(share)
    }

    /// Leaves word for `runner ls`.
    pub fn say(&self, stage: &str, share: Option<f64>) {
        let now = jiff::Timestamp::now();
        let left = self.left(share.unwrap_or(0.0));
        let done_by = left.and_then(|s| now.checked_add(jiff::SignedDuration::try_from_secs_f64(s).ok()?).ok());
        let whole = |time: jiff::Timestamp| time.round(jiff::Unit::Second).unwrap_or(time).to_string();
        let progress = Progress { stage: stage.into(), share, updated_at: whole(now), done_by: done_by.map(whole) };
        if ranks::is_first() && self.out.is_dir() {
            progress.write(&self.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn planned(key: &str, stage: &'static str, work: f64) -> Planned {
        Planned { key: key.into(), stage, work }
    }

    #[test]
    fn what_is_left_goes_by_the_speed_of_the_same_stage() {
        let steps = [
            planned("c", "classifier", 10.0),
            planned("p1", "policy", 100.0),
            planned("c", "classifier", 10.0),
            planned("p2", "policy", 50.0),
            planned("e", "evaluate", 11.0),
            planned("s", "supervised", f64::NAN),
        ];
        let mut timeline = Timeline::new(steps);
        assert_eq!((timeline.steps.len(), timeline.left(0.0)), (5, None));
        timeline.done("c", Some(10.0));
        timeline.done("p1", Some(10.0));
        // 50 at 10 per second, and 11 at the 5.5 per second of all.
        assert_eq!(timeline.left(0.0), Some(7.0));
        timeline.done("p2", None);
        timeline.done("e", None);
        assert_eq!(timeline.left(0.0), None);
    }

    #[test]
    fn a_stage_that_runs_counts_by_its_share() {
        let mut timeline = Timeline::new([planned("a", "policy", 100.0), planned("b", "policy", 100.0)]);
        timeline.steps[0].1 = Step::Running(Instant::now().checked_sub(Duration::from_secs(10)).unwrap());
        assert_eq!(timeline.left(0.0), None, "too early to tell");
        let left = timeline.left(0.5).unwrap();
        assert!((29.9..30.1).contains(&left), "{left}");
    }

    #[test]
    fn what_a_failed_member_left_is_not_waited_for() {
        let failed = Timeline::new([planned("a", "policy", 100.0), planned("c", "evaluate", 100.0)]);
        let mut timeline = Timeline::of_all(&[failed, Timeline::new([planned("b", "policy", 100.0)])], "suite");
        timeline.steps[0].1 = Step::Running(Instant::now());
        timeline.give_up(&Timeline::new([planned("a", "policy", 100.0), planned("c", "evaluate", 100.0)]));
        timeline.done("b", Some(10.0));
        assert_eq!(timeline.left(0.0), None);
    }

    #[test]
    fn times_and_speeds_are_short() {
        let times = [0.4, 59.0, 130.0, 7500.0, 200_000.0].map(short);
        assert_eq!(times, ["0s", "59s", "2m 10s", "2h 05m", "2d 7h"]);
        let rates = [104.4432, 8.21, 0.5, 0.01].map(rate);
        assert_eq!(rates, ["104/s", "8.2/s", "2.0s each", "1m 40s each"]);
    }

    #[test]
    fn a_run_says_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = Context::for_tests(dir.path());
        std::fs::create_dir_all(&context.out).unwrap();
        context.timeline = Arc::new(Mutex::new(Timeline::new([planned("a", "policy", 1.0)])));
        context.timeline.lock().unwrap().done("a", Some(1.0));
        let bar = Bar::new(&context, "policy direct", 2, 8);
        bar.add(2, "score 1.00");
        let found = Progress::read(&context.out).unwrap();
        assert_eq!((found.stage.as_str(), found.share), ("policy direct", Some(0.25)));
    }
}
