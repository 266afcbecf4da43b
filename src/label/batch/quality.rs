//! Quality of people's answers (paper sections 3.2 and 4.1 ask for it; table 9): who agrees with whom, with the authors
//! and with themselves, and signs of answers given without reading. Pure functions of items and answers.

use super::outline::Outline;
use super::{Answer, LabelerAction, LabelerEvent};
use crate::metric::agreement::agreement;
use crate::metric::interval::{ratio_interval, wilson};
use crate::spec::QualitySpec;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// More seconds between question and answer are no time of work.
const LONGEST: f64 = 24.0 * 3600.0;
/// An answer that took this many times the labeler's median is counted as slow.
const SLOW: f64 = 10.0;
/// Seconds in which nobody reads, where the spec does not say.
const FAST: f64 = 1.0;
/// Answers with a time before a labeler's median time says anything.
const TIMED: usize = 10;
/// Items above which an interval is computed from the variance of a ratio, and not by resampling.
const RESAMPLED: usize = 2000;
/// A run of one place that chance makes as long less often than this is suspicious.
const SUSPICIOUS: f64 = 1e-3;

/// An answer that counts, by indices: the item's and the labeler's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reply {
    pub item: u32,
    pub labeler: u32,
    /// `None`: skipped.
    pub best: Option<u8>,
    /// From question to answer.
    pub seconds: Option<f32>,
    /// When it was given, in seconds since 1970.
    pub at: Option<i64>,
}

/// Answers of all labelers, by index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replies {
    pub labelers: Vec<String>,
    pub replies: Vec<Reply>,
}

/// Seconds between two RFC 3339 times; `None` where that is no time of work (a clock was set, a page stayed open).
pub fn seconds_between(shown: Option<&str>, answered: Option<&str>) -> Option<f32> {
    let at = |text: Option<&str>| text?.parse::<Timestamp>().ok();
    let seconds = (at(answered)? - at(shown)?).total(jiff::Unit::Second).ok()?;
    (0.0..=LONGEST).contains(&seconds).then_some(seconds as f32)
}

/// Seconds since 1970 of an RFC 3339 time.
pub fn unix(text: Option<&str>) -> Option<i64> {
    text?.parse::<Timestamp>().ok().map(|t| t.as_second())
}

impl Replies {
    /// Adds answers to `items`, the first of which has index `first`.
    pub fn add<'a>(&mut self, first: usize, items: &[Outline], answers: impl IntoIterator<Item = &'a Answer>) {
        let places: HashMap<&str, usize> = items.iter().enumerate().map(|(i, item)| (&*item.id, i)).collect();
        let mut names: HashMap<String, u32> =
            self.labelers.iter().enumerate().map(|(i, n)| (n.clone(), i as u32)).collect();
        for answer in answers {
            let Some(place) = places.get(answer.item.as_str()) else { continue };
            let labeler = *names.entry(answer.labeler.clone()).or_insert_with(|| {
                self.labelers.push(answer.labeler.clone());
                self.labelers.len() as u32 - 1
            });
            self.replies.push(Reply {
                item: (first + place) as u32,
                labeler,
                best: answer.best.and_then(|b| u8::try_from(b).ok()),
                seconds: seconds_between(answer.shown_at.as_deref(), answer.answered_at.as_deref()),
                at: unix(answer.answered_at.as_deref()),
            });
        }
    }
}

/// A share with its 95% interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Share")]
pub struct ShareInterval {
    pub count: u64,
    pub n: u64,
    /// Percent of `n`; absent where `n` is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Wilson's bounds, in percent.
    pub low: f64,
    pub high: f64,
}

impl ShareInterval {
    pub fn of(count: u64, n: u64) -> Self {
        let (low, high) = wilson(count, n);
        let percent = (n > 0).then(|| 100.0 * count as f64 / n as f64);
        Self { count, n, percent, low: 100.0 * low, high: 100.0 * high }
    }

    fn among(hits: impl Iterator<Item = bool>) -> Self {
        let (count, n) = hits.fold((0, 0), |(count, n), hit| (count + u64::from(hit), n + 1));
        Self::of(count, n)
    }
}

/// How often pairs of choices are equal (paper table 9).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairAgreement {
    /// Percent of pairs that are equal.
    pub percent: f64,
    /// 95%, from the spread over items: pairs of one item are not independent. Absent below two items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    pub pairs: u64,
    pub items: u64,
    /// Fleiss' kappa: agreement beyond that of the choices' own frequencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
    /// Percent that guessing would give.
    pub chance: f64,
}

/// One labeler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelerQuality {
    pub labeler: String,
    /// Answers do not count.
    pub dropped: bool,
    /// Choices, without skips.
    pub answers: u64,
    pub skips: u64,
    /// Choices of gold items that are the authors'.
    pub gold: ShareInterval,
    /// Repeated items answered as the first time.
    pub repeats: ShareInterval,
    /// Pairs with other labelers' choices of the same questions that are equal.
    pub others: ShareInterval,
    /// Choices of what was shown first.
    pub first_place: ShareInterval,
    /// Percent of first places that no bias would give.
    pub first_place_chance: f64,
    /// Median seconds per answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Answers with a time.
    pub timed: u64,
    /// Answers faster than `labeler.human.quality.min_seconds` (1 where that is off), and those that took more than 10
    /// medians.
    pub fast: u64,
    pub slow: u64,
    /// Longest run of choices of the same place.
    pub longest_run: u64,
    /// A run longer than this comes by chance once in a thousand labelers.
    pub chance_run: u64,
    /// What to look at.
    pub remarks: Vec<String>,
}

/// What `runner labels agreement --format json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Quality")]
pub struct BatchQuality {
    /// Different labelers on the same question; `None` where no question has two choices.
    pub labeler_labeler: Option<PairAgreement>,
    /// "questions", or "gold" where only gold items have two choices.
    pub labeler_labeler_on: String,
    /// Labelers and the authors' choices of gold items.
    pub author_labeler: Option<PairAgreement>,
    /// The same labeler, asked again.
    pub self_agreement: Option<PairAgreement>,
    /// Choices by the place they were shown at, from the first.
    pub places: Vec<ShareInterval>,
    pub labelers: Vec<LabelerQuality>,
}

/// Everything about answers to `items`; dropped labelers are in the table only.
pub fn quality(items: &[Outline], all: &Replies, dropped: &BTreeSet<String>, spec: &QualitySpec) -> BatchQuality {
    let is_dropped: Vec<bool> = all.labelers.iter().map(|name| dropped.contains(name)).collect();
    let chosen: Vec<(Reply, u8)> =
        all.replies.iter().filter(|r| (r.item as usize) < items.len()).filter_map(|r| Some((*r, r.best?))).collect();
    let counted: Vec<(Reply, u8)> = chosen.iter().filter(|(r, _)| !is_dropped[r.labeler as usize]).copied().collect();
    let originals = originals(items);
    let mut on = "questions";
    let mut between = between(items, &counted, |item| !item.is_check());
    if between.is_none() {
        between = self::between(items, &counted, |item| item.gold.is_some() && item.repeat_of.is_none());
        on = if between.is_some() { "gold" } else { on };
    }
    let gold = counted.iter().filter_map(|(r, best)| Some((r.item, *best, items[r.item as usize].gold?)));
    let again = repeated(&counted, &originals);
    BatchQuality {
        labeler_labeler: between,
        labeler_labeler_on: on.into(),
        author_labeler: with_one(items, gold),
        self_agreement: with_one(items, again.iter().map(|(_, item, a, b)| (*item, *a, *b))),
        places: places(items, &counted),
        labelers: labelers(items, all, &chosen, &is_dropped, &originals, spec),
    }
}

/// Index of the first asking of each repeat.
fn originals(items: &[Outline]) -> HashMap<u32, u32> {
    let places: HashMap<&str, u32> = items.iter().enumerate().map(|(i, item)| (&*item.id, i as u32)).collect();
    let repeats = items.iter().enumerate().filter_map(|(i, item)| Some((i as u32, item.repeat_of.as_deref()?)));
    repeats.filter_map(|(i, first)| Some((i, *places.get(first)?))).collect()
}

/// (labeler, item, choice, first choice) of items that a labeler answered twice.
fn repeated(chosen: &[(Reply, u8)], originals: &HashMap<u32, u32>) -> Vec<(u32, u32, u8, u8)> {
    if originals.is_empty() {
        return Vec::new();
    }
    let first: HashMap<(u32, u32), u8> = chosen.iter().map(|(r, best)| ((r.item, r.labeler), *best)).collect();
    let pair = |(r, best): &(Reply, u8)| {
        let original = originals.get(&r.item)?;
        Some((r.labeler, r.item, *best, *first.get(&(*original, r.labeler))?))
    };
    chosen.iter().filter_map(pair).collect()
}

/// Agreement of different labelers on items of one kind.
fn between(items: &[Outline], chosen: &[(Reply, u8)], wanted: impl Fn(&Outline) -> bool) -> Option<PairAgreement> {
    let mut by_item: BTreeMap<u32, Vec<Option<u8>>> = BTreeMap::new();
    for (reply, best) in chosen.iter().filter(|(r, _)| wanted(&items[r.item as usize])) {
        by_item.entry(reply.item).or_default().push(Some(*best));
    }
    pairs(items, by_item)
}

/// Agreement of pairs (item, choice, other choice).
fn with_one(items: &[Outline], found: impl Iterator<Item = (u32, u8, u8)>) -> Option<PairAgreement> {
    let all: Vec<(u32, u8, u8)> = found.collect();
    let rows: Vec<Vec<Option<u8>>> = all.iter().map(|(_, a, b)| vec![Some(*a), Some(*b)]).collect();
    let kappa = agreement(&rows)?.kappa;
    let mut equal: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (item, a, b) in &all {
        let (hits, n) = equal.entry(*item).or_default();
        *hits += f64::from(u8::from(a == b));
        *n += 1.0;
    }
    Some(summary(items, &equal, kappa))
}

fn pairs(items: &[Outline], by_item: BTreeMap<u32, Vec<Option<u8>>>) -> Option<PairAgreement> {
    let mut equal: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (item, choices) in by_item.iter().filter(|(_, choices)| choices.len() > 1) {
        let mut counts = [0u64; 256];
        choices.iter().flatten().for_each(|c| counts[usize::from(*c)] += 1);
        let pairs = |n: u64| (n * n.saturating_sub(1) / 2) as f64;
        equal.insert(*item, (counts.iter().map(|n| pairs(*n)).sum(), pairs(choices.len() as u64)));
    }
    let rows: Vec<Vec<Option<u8>>> = by_item.into_values().collect();
    let kappa = agreement(&rows)?.kappa;
    Some(summary(items, &equal, kappa))
}

/// From (equal, all) pairs of each item.
fn summary(items: &[Outline], equal: &BTreeMap<u32, (f64, f64)>, kappa: Option<f64>) -> PairAgreement {
    let (hits, all): (Vec<f64>, Vec<f64>) = equal.values().copied().unzip();
    let (ratio, low, high) = match hits.len() {
        n if n > RESAMPLED => ratio_by_variance(&hits, &all),
        _ => ratio_interval(&hits, &all, 1),
    };
    let chance: f64 = equal.iter().map(|(i, (_, n))| n / items[*i as usize].candidates() as f64).sum();
    let bound = |v: f64| v.is_finite().then_some((100.0 * v).clamp(0.0, 100.0));
    let pairs: f64 = all.iter().sum();
    PairAgreement {
        percent: 100.0 * ratio,
        low: bound(low),
        high: bound(high),
        pairs: pairs as u64,
        items: equal.len() as u64,
        kappa,
        chance: 100.0 * chance / pairs,
    }
}

/// (ratio, low, high) of Σa/Σb by the linearised variance (Cochran, "Sampling Techniques", 3rd edition 1977, section
/// 6.4).
fn ratio_by_variance(a: &[f64], b: &[f64]) -> (f64, f64, f64) {
    let (top, bottom) = (a.iter().sum::<f64>(), b.iter().sum::<f64>());
    let (ratio, n) = (top / bottom, a.len() as f64);
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - ratio * b).powi(2)).sum();
    let half = 1.96 * (squares * n / (n - 1.0)).sqrt() / bottom;
    (ratio, ratio - half, ratio + half)
}

fn places(items: &[Outline], chosen: &[(Reply, u8)]) -> Vec<ShareInterval> {
    let mut counts: Vec<u64> = Vec::new();
    for (reply, best) in chosen {
        if let Some(place) = items[reply.item as usize].place_of(*best) {
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            counts[place] += 1;
        }
    }
    let n = counts.iter().sum();
    counts.into_iter().map(|count| ShareInterval::of(count, n)).collect()
}

/// The table's rows, in the order of names.
fn labelers(
    items: &[Outline],
    all: &Replies,
    chosen: &[(Reply, u8)],
    is_dropped: &[bool],
    originals: &HashMap<u32, u32>,
    spec: &QualitySpec,
) -> Vec<LabelerQuality> {
    let mut own: Vec<Vec<(Reply, u8)>> = vec![Vec::new(); all.labelers.len()];
    chosen.iter().for_each(|pair| own[pair.0.labeler as usize].push(*pair));
    let mut skips = vec![0; all.labelers.len()];
    all.replies.iter().filter(|r| r.best.is_none()).for_each(|r| skips[r.labeler as usize] += 1);
    let others = with_others(items, chosen, is_dropped);
    let mut rows: Vec<LabelerQuality> = own
        .iter_mut()
        .enumerate()
        .map(|(i, own)| {
            // As they were given; without times, as they stand in the file.
            own.sort_by_key(|(r, _)| (r.at.unwrap_or(0), r.item));
            let mut row = labeler(items, own, originals, spec);
            row.labeler.clone_from(&all.labelers[i]);
            (row.dropped, row.skips) = (is_dropped[i], skips[i]);
            row.others =
                others.get(&(i as u32)).map_or(ShareInterval::of(0, 0), |(hits, n)| ShareInterval::of(*hits, *n));
            row.remarks = remarks(&row);
            row
        })
        .collect();
    rows.sort_by(|a, b| a.labeler.cmp(&b.labeler));
    rows
}

/// Of each labeler: equal pairs and all pairs with those whose answers count, on questions.
fn with_others(items: &[Outline], chosen: &[(Reply, u8)], is_dropped: &[bool]) -> HashMap<u32, (u64, u64)> {
    let mut by_item: HashMap<u32, Vec<(u32, u8)>> = HashMap::new();
    for (reply, best) in chosen.iter().filter(|(r, _)| !items[r.item as usize].is_check()) {
        by_item.entry(reply.item).or_default().push((reply.labeler, *best));
    }
    let mut found: HashMap<u32, (u64, u64)> = HashMap::new();
    for choices in by_item.values().filter(|choices| choices.len() > 1) {
        for (i, (labeler, best)) in choices.iter().enumerate() {
            for (j, (other, theirs)) in choices.iter().enumerate() {
                if i != j && !is_dropped[*other as usize] {
                    let (hits, n) = found.entry(*labeler).or_default();
                    *hits += u64::from(best == theirs);
                    *n += 1;
                }
            }
        }
    }
    found
}

/// What one labeler's choices, in order, say by themselves.
fn labeler(
    items: &[Outline],
    own: &[(Reply, u8)],
    originals: &HashMap<u32, u32>,
    spec: &QualitySpec,
) -> LabelerQuality {
    let item = |r: &Reply| &items[r.item as usize];
    let shown: Vec<usize> = own.iter().filter_map(|(r, best)| item(r).place_of(*best)).collect();
    let mut seconds: Vec<f64> = own.iter().filter_map(|(r, _)| r.seconds.map(f64::from)).collect();
    seconds.sort_by(f64::total_cmp);
    let median = median(&seconds);
    let fast = if spec.min_seconds > 0.0 { spec.min_seconds } else { FAST };
    let chance = own.iter().map(|(r, _)| 1.0 / item(r).candidates() as f64).sum::<f64>() / own.len().max(1) as f64;
    LabelerQuality {
        labeler: String::new(),
        dropped: false,
        answers: own.len() as u64,
        skips: 0,
        gold: ShareInterval::among(own.iter().filter_map(|(r, best)| Some(item(r).gold? == *best))),
        repeats: ShareInterval::among(repeated(own, originals).into_iter().map(|(_, _, a, b)| a == b)),
        others: ShareInterval::of(0, 0),
        first_place: ShareInterval::among(shown.iter().map(|place| *place == 0)),
        first_place_chance: 100.0 * chance,
        seconds: median,
        timed: seconds.len() as u64,
        fast: seconds.iter().filter(|s| **s < fast).count() as u64,
        slow: seconds.iter().filter(|s| median.is_some_and(|m| **s > SLOW * m)).count() as u64,
        longest_run: longest_run(&shown),
        chance_run: chance_run(shown.len(), chance),
        remarks: Vec::new(),
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    match n {
        0 => None,
        _ => Some((sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0),
    }
}

fn longest_run(places: &[usize]) -> u64 {
    let (mut longest, mut run, mut last) = (0, 0, None);
    for place in places {
        run = if last == Some(place) { run + 1 } else { 1 };
        last = Some(place);
        longest = longest.max(run);
    }
    longest
}

/// The length L beyond which n random choices have a run with probability below [`SUSPICIOUS`]: about n (1 - p) p^(L-1)
/// runs of one place, for each place, are expected, hence n p^(L-1) (1 - p) of any.
fn chance_run(n: usize, p: f64) -> u64 {
    if n == 0 || !(0.0..1.0).contains(&p) || p == 0.0 {
        return n as u64;
    }
    let length = 1.0 + (SUSPICIOUS / (n as f64 * (1.0 - p))).ln() / p.ln();
    length.ceil().max(1.0) as u64
}

fn remarks(row: &LabelerQuality) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut say = |condition: bool, text: String| condition.then(|| remarks.push(text));
    say(row.longest_run > row.chance_run, format!("chose one place {} times in a row", row.longest_run));
    let first = row.first_place_chance;
    say(row.first_place.n >= 20 && row.first_place.low > first + 5.0, "prefers what is shown first".into());
    say(row.first_place.n >= 20 && row.first_place.high < first - 5.0, "avoids what is shown first".into());
    say(row.gold.n >= 5 && row.gold.high < 50.0, "misses most gold items".into());
    say(row.repeats.n >= 5 && row.repeats.high < 60.0, "answers repeats otherwise".into());
    say(row.fast > 0 && row.fast * 2 > row.timed, "answers faster than one can read".into());
    remarks
}

/// Who should be dropped by the spec's thresholds, and is not yet. A labeler whom a person restored is left alone.
/// `now` is RFC 3339.
///
/// Gold: the upper end of the 95% interval of accuracy must be below `min_gold_accuracy`, so that a few misses drop
/// nobody. Time: the median of ten answers or more must be below `min_seconds`.
pub fn automatic_drops(
    spec: &QualitySpec,
    found: &BatchQuality,
    events: &[LabelerEvent],
    now: &str,
) -> Vec<LabelerEvent> {
    let untouched = |name: &str| !events.iter().any(|e| e.labeler == name && e.by != GUARD);
    let reason = |row: &LabelerQuality| {
        if row.gold.n > 0 && row.gold.high < 100.0 * spec.min_gold_accuracy {
            let (count, n) = (row.gold.count, row.gold.n);
            return Some(format!(
                "{count} of {n} gold items right; quality.min_gold_accuracy is {}",
                spec.min_gold_accuracy
            ));
        }
        if spec.max_straight_line > 0 && row.longest_run > spec.max_straight_line as u64 {
            let (run, most) = (row.longest_run, spec.max_straight_line);
            return Some(format!("one place {run} times in a row; quality.max_straight_line is {most}"));
        }
        let seconds = row.seconds.filter(|s| row.timed >= TIMED as u64 && *s < spec.min_seconds)?;
        Some(format!("median of {seconds:.1} s per answer; quality.min_seconds is {}", spec.min_seconds))
    };
    let rows = found.labelers.iter().filter(|row| !row.dropped && untouched(&row.labeler));
    rows.filter_map(|row| {
        Some(LabelerEvent {
            labeler: row.labeler.clone(),
            action: LabelerAction::Drop,
            by: GUARD.into(),
            reason: reason(row)?,
            at: now.into(),
        })
    })
    .collect()
}

/// `by` of events that no person decided.
pub const GUARD: &str = "guard";
