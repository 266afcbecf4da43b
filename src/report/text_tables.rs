//! The tables about texts: rouge, novelty, copying, text (docs/metrics.md), and how simulated labelers behaved. A row
//! of lead-3, of the reference summaries or of ρ that two runs share stands there once, under the first of them.

use super::Results;
use super::tables::{row, table};
use crate::metric::interval::wilson;
use crate::results::{Estimate, JudgeReport, Row, Share, Table, Texts, Writer};

/// The tables that there is something to say in.
pub fn build(results: &Results, seeds: &[u64]) -> Vec<Table> {
    let mut known: Vec<&Texts> = Vec::new();
    let mut writers = Vec::new();
    for (run, evaluation) in results.evaluations() {
        for texts in &evaluation.texts {
            if texts.writer == Writer::Policy || !known.contains(&texts) {
                known.push(texts);
                writers.push(Rows { run, texts, seeds });
            }
        }
    }
    let all = |rows: fn(&Rows<'_>) -> Vec<Row>| writers.iter().flat_map(rows).collect::<Vec<Row>>();
    let labelers = results
        .evaluations()
        .flat_map(|(run, e)| e.simulated.iter().flat_map(move |s| labeler_rows(run, s, seeds)).collect::<Vec<_>>());
    let judges = results.runs.iter().flat_map(|run| run.judge.iter().flat_map(|j| judge_rows(&run.name, j, seeds)));
    [
        ("rouge", "ROUGE against the reference summaries", all(|r| r.rouge())),
        ("novelty", "Novelty: what of a text its source does not have", all(|r| r.novelty())),
        ("copying", "Copying from the source", all(|r| r.copying())),
        ("text", "Length and repetition of texts", all(|r| r.text())),
        ("labelers", "Labelers", labelers.chain(judges).collect()),
    ]
    .into_iter()
    .filter(|(_, _, rows)| !rows.is_empty())
    .map(|(id, title, rows)| table(id, title, rows))
    .collect()
}

/// The rows of one writer's texts.
struct Rows<'a> {
    run: &'a str,
    texts: &'a Texts,
    seeds: &'a [u64],
}

impl Rows<'_> {
    fn row(&self, name: &str, metric: &str, value: (f64, f64, f64), n: u64) -> Row {
        let writer = self.texts.writer;
        let name = format!("{}: {name}", writer.name());
        row(&name, self.run, &format!("{}_{metric}", writer.key()), value, n, self.seeds, "")
    }

    /// A mean times `factor`, where it is defined.
    fn mean(&self, name: &str, metric: &str, estimate: Option<Estimate>, factor: f64) -> Option<Row> {
        let e = estimate?;
        let bound = |b: Option<f64>| b.map_or(f64::NAN, |b| factor * b);
        Some(self.row(name, metric, (factor * e.mean, bound(e.low), bound(e.high)), e.n))
    }

    /// A percentage with Wilson's interval.
    fn share(&self, name: &str, metric: &str, share: Share) -> Option<Row> {
        (share.n > 0).then(|| self.row(name, metric, percentage(share), share.n))
    }

    fn rouge(&self) -> Vec<Row> {
        let Some(r) = &self.texts.rouge else { return Vec::new() };
        [
            ("ROUGE-1, F1 × 100, stemmed", "rouge1", r.rouge1),
            ("ROUGE-2", "rouge2", r.rouge2),
            ("ROUGE-L", "rougeL", r.rouge_l),
            ("mean of the three", "rouge_mean", r.mean),
        ]
        .into_iter()
        .filter_map(|(name, metric, estimate)| self.mean(name, metric, Some(estimate), 100.0))
        .collect()
    }

    fn novelty(&self) -> Vec<Row> {
        let Some(n) = &self.texts.novelty else { return Vec::new() };
        [
            ("new words, %", "novel_1grams", n.ngram1),
            ("new 2-grams, %", "novel_2grams", n.ngram2),
            ("new 3-grams, %", "novel_3grams", n.ngram3),
            ("new 4-grams, %", "novel_4grams", n.ngram4),
            ("new sentences, %", "novel_sentences", n.sentence),
        ]
        .into_iter()
        .filter_map(|(name, metric, estimate)| self.mean(name, metric, estimate, 100.0))
        .collect()
    }

    fn copying(&self) -> Vec<Row> {
        let Some(c) = &self.texts.copying else { return Vec::new() };
        [
            self.mean("words in copied spans of 4 or more, %", "copied_words", c.copied, 100.0),
            self.mean("where copied spans begin, % of the source", "copied_position", c.span_position, 100.0),
            self.share("begins with the source's first 3 words, %", "copied_start", c.start),
            self.share(
                "begins as the source does, sources with an uninformative preamble, %",
                "copied_start_preamble",
                c.start_after_preamble,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn text(&self) -> Vec<Row> {
        let t = self.texts;
        let distinct = |name: &str, metric: &str, value: Option<f64>| {
            Some(self.row(name, metric, (100.0 * value?, f64::NAN, f64::NAN), t.n))
        };
        [
            self.mean("length, tokens", "tokens", t.tokens, 1.0),
            self.mean("length, words", "words", t.words, 1.0),
            distinct("distinct-1, %", "distinct1", t.distinct1),
            distinct("distinct-2, %", "distinct2", t.distinct2),
            distinct("distinct-3, %", "distinct3", t.distinct3),
            self.mean("4-grams repeated within a text, %", "repeated4", t.repeated4, 100.0),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn percentage(share: Share) -> (f64, f64, f64) {
    let (low, high) = wilson(share.count, share.n);
    (100.0 * share.count as f64 / share.n.max(1) as f64, 100.0 * low, 100.0 * high)
}

/// How a language model judged.
fn judge_rows(run: &str, j: &JudgeReport, seeds: &[u64]) -> Vec<Row> {
    let who = format!("judged by {}", j.model);
    let one = |name: &str, metric: &str, share: Share, words: &str| {
        let verdict = if words.is_empty() { who.clone() } else { format!("{who}; {words}") };
        row(name, run, metric, percentage(share), share.n, seeds, &verdict)
    };
    let chance = format!("chance: {:.0}%", 100.0 * j.chance / j.choices.max(1) as f64);
    let placed: u64 = j.places.iter().sum();
    let of_place = |(place, count): (usize, &u64)| {
        let (name, metric) = (format!("choices of place {}, %", place + 1), format!("judge_place_{}", place + 1));
        one(&name, &metric, Share { count: *count, n: placed }, &chance)
    };
    let n = j.requests;
    [
        one("answers that are no choice, %", "judge_nonsense", Share { count: j.nonsense, n }, ""),
        one("refusals, %", "judge_refusals", Share { count: j.refusals, n }, ""),
        one("same choice in both orders, %", "judge_orders", j.orders, &chance),
        one("agreement with gold items, %", "judge_gold", j.gold, &chance),
        one("agreement with itself on repeats, %", "judge_repeats", j.repeats, &chance),
        one("agreement with people, %", "judge_people", j.people, &chance),
    ]
    .into_iter()
    .chain(j.places.iter().enumerate().map(of_place))
    .filter(|row| row.n > 0)
    .collect()
}

fn labeler_rows(run: &str, s: &crate::results::SimulatedReport, seeds: &[u64]) -> Vec<Row> {
    let one = |name: &str, metric: &str, value: (f64, f64, f64), n: u64| {
        let verdict = "simulated labelers, not people";
        row(name, run, metric, value, n, seeds, verdict)
    };
    let known = |v: Option<f64>| (v.unwrap_or(f64::NAN), f64::NAN, f64::NAN);
    [
        one("pairs of answers that agree, %", "simulated_agreement", known(s.agreement), s.comparisons),
        one("Fleiss' kappa", "simulated_kappa", known(s.kappa), s.comparisons),
        one("answers that take the first shown, %", "simulated_first", percentage(s.first_shown), s.first_shown.n),
        one(
            "answers that take the most copied, %",
            "simulated_most_copied",
            percentage(s.most_copied),
            s.most_copied.n,
        ),
    ]
    .into_iter()
    .filter(|row| row.value.is_some() && row.n > 0)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::fake_summaries;

    #[test]
    fn every_number_of_the_texts_is_in_a_table_once() {
        let dir = tempfile::tempdir().unwrap();
        fake_summaries(dir.path());
        let results = Results::load(dir.path()).unwrap();
        let tables = build(&results, &[1]);
        let ids: Vec<&str> = tables.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(ids, ["rouge", "novelty", "copying", "text", "labelers"]);
        let find = |id: &str, run: &str, metric: &str| {
            let rows = &tables.iter().find(|t| t.id == id).unwrap().rows;
            rows.iter().find(|r| r.run == run && r.metric == metric).cloned()
        };
        let rouge = find("rouge", "a", "policy_rouge1").unwrap();
        assert_eq!((rouge.value, rouge.low, rouge.n), (Some(40.0), Some(35.0), 50));
        // Both runs have the same ρ: it is there once; π is there twice.
        assert!(find("rouge", "b", "policy_rouge1").is_some() && find("rouge", "b", "reference_rouge1").is_none());
        assert!(
            find("rouge", "a", "summary_rouge1").is_none() && find("novelty", "a", "summary_novel_4grams").is_some()
        );
        assert_eq!(find("copying", "a", "policy_copied_start").unwrap().value, Some(50.0));
        assert_eq!(find("labelers", "a", "simulated_agreement").unwrap().value, Some(41.0));
        assert_eq!(find("labelers", "b", "simulated_agreement"), None);
    }

    #[test]
    fn whatever_shows_simulated_numbers_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fake_summaries(dir.path());
        let results = Results::load(dir.path()).unwrap();
        let tables = super::super::tables::build(&results);
        assert!(tables.len() == 6 && tables.iter().all(|t| t.title.ends_with("(simulated labelers)")));
    }
}
