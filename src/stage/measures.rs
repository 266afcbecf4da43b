//! What the texts of an evaluation are like: for ρ and π, and where there are reference summaries for those and for
//! lead-3, the measures of src/metric with their intervals (docs/metrics.md).

use crate::context::StageError;
use crate::metric::copying::{Copying, copies_start, copying, has_preamble};
use crate::metric::interval::bootstrap_interval;
use crate::metric::repetition::{REPEATED, distinct, repeated};
use crate::metric::rouge::{Rouge, rouge};
use crate::metric::text::{Novelty, lead3, novelty, words};
use crate::model::tokenizer::Tokenizer;
use crate::results::{CopyingMeans, Estimate, NoveltyMeans, RougeMeans, Share, Texts, Writer};
use crate::spec::TaskSpec;
use crate::task;

/// Parts of a source in the counts of copied positions.
const PARTS: usize = 20;

/// What responses are held against, per query.
pub struct Held<'a> {
    pub task: &'a TaskSpec,
    /// The query's text, without prefix and suffix.
    pub sources: Vec<String>,
    /// The reference summary.
    pub summaries: Vec<Option<String>>,
}

impl Held<'_> {
    /// Measures of both models' texts, `[(ρ), (π)]`, each with its lengths in tokens; of lead-3 and the summaries, too,
    /// where every query has a summary.
    pub fn measure(
        &self,
        models: [(&[String], Vec<usize>); 2],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Texts>, StageError> {
        let mut all = Vec::new();
        let summaries: Option<Vec<String>> = self.summaries.iter().cloned().collect();
        if let Some(summaries) = summaries {
            let leads: Vec<String> = self.sources.iter().map(|source| lead3(source)).collect();
            for (writer, texts) in [(Writer::Lead3, leads), (Writer::Summary, summaries)] {
                let encoded = texts.iter().map(|text| Ok(tokenizer.encode(text)?.len()));
                let lengths = encoded.collect::<Result<Vec<usize>, StageError>>()?;
                all.push(self.texts(writer, &texts, &lengths));
            }
        }
        for (writer, (texts, lengths)) in [Writer::Reference, Writer::Policy].into_iter().zip(models) {
            all.push(self.texts(writer, texts, &lengths));
        }
        Ok(all)
    }

    /// Novelty and copying say something where the response is a summary of the query.
    fn summarizes(&self) -> bool {
        task::summarizes(self.task) || self.summaries.iter().any(Option::is_some)
    }

    fn texts(&self, writer: Writer, texts: &[String], lengths: &[usize]) -> Texts {
        let count = |n: usize| n as f64;
        let pairs = || self.sources.iter().zip(texts);
        let summarizes = self.summarizes();
        Texts {
            writer,
            n: texts.len() as u64,
            tokens: estimate(lengths.iter().map(|n| Some(count(*n)))),
            words: estimate(texts.iter().map(|text| Some(count(words(text).len())))),
            distinct1: distinct(texts, 1),
            distinct2: distinct(texts, 2),
            distinct3: distinct(texts, 3),
            repeated4: estimate(texts.iter().map(|text| repeated(text, REPEATED))),
            rouge: if writer == Writer::Summary { None } else { self.rouge(texts) },
            novelty: summarizes.then(|| novelty_means(&pairs().map(|(s, t)| novelty(s, t)).collect::<Vec<_>>())),
            copying: summarizes.then(|| self.copying(texts)),
        }
    }

    fn rouge(&self, texts: &[String]) -> Option<RougeMeans> {
        let pairs = texts.iter().zip(&self.summaries);
        let all: Vec<Rouge> = pairs.filter_map(|(t, s)| Some(rouge(t, s.as_deref()?, true))).collect();
        let of = |f: fn(&Rouge) -> f64| estimate(all.iter().map(|r| Some(f(r))));
        Some(RougeMeans {
            rouge1: of(|r| r.rouge1.f1)?,
            rouge2: of(|r| r.rouge2.f1)?,
            rouge_l: of(|r| r.rouge_l.f1)?,
            mean: of(|r| r.mean_f1())?,
        })
    }

    fn copying(&self, texts: &[String]) -> CopyingMeans {
        let all: Vec<Copying> = self.sources.iter().zip(texts).map(|(s, t)| copying(s, t)).collect();
        let (mut start, mut start_after_preamble) = (Share::default(), Share::default());
        for (source, text) in self.sources.iter().zip(texts) {
            let Some(copied) = copies_start(source, text) else { continue };
            start.add(copied);
            if has_preamble(source, task::preamble(self.task)) {
                start_after_preamble.add(copied);
            }
        }
        let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        CopyingMeans {
            copied: estimate(all.iter().map(|c| c.copied)),
            span_positions: histogram(all.iter().flat_map(|c| &c.positions)),
            sentence_positions: histogram(all.iter().flat_map(|c| &c.sentences)),
            span_position: estimate(all.iter().map(|c| mean(&c.positions))),
            start,
            start_after_preamble,
        }
    }
}

/// The mean of what is defined; none where nothing is.
fn estimate(values: impl Iterator<Item = Option<f64>>) -> Option<Estimate> {
    let values: Vec<f64> = values.flatten().collect();
    if values.is_empty() {
        return None;
    }
    let (mean, low, high) = bootstrap_interval(&values, 0);
    let known = |v: f64| v.is_finite().then_some(v);
    Some(Estimate { mean, low: known(low), high: known(high), n: values.len() as u64 })
}

fn novelty_means(all: &[Novelty]) -> NoveltyMeans {
    let of = |f: fn(&Novelty) -> Option<f64>| estimate(all.iter().map(f));
    NoveltyMeans {
        ngram1: of(|n| n.ngram1),
        ngram2: of(|n| n.ngram2),
        ngram3: of(|n| n.ngram3),
        ngram4: of(|n| n.ngram4),
        sentence: of(|n| n.sentence),
    }
}

/// Counts of positions (0 to below 1) in equal parts.
fn histogram<'p>(positions: impl Iterator<Item = &'p f64>) -> Vec<u64> {
    let mut counts = vec![0; PARTS];
    positions.for_each(|p| counts[((p * PARTS as f64) as usize).min(PARTS - 1)] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_is_measured_against_the_sources() {
        let source = "My brother broke my car. I paid for it. We do not talk. What now?".to_string();
        let tokenizer = Tokenizer::train([source.as_str()].into_iter(), 300).unwrap();
        let task = TaskSpec { preset: crate::spec::TaskPreset::Tldr, ..TaskSpec::default() };
        let held = Held {
            task: &task,
            sources: vec![source.clone(), format!("Hi all. {source}")],
            summaries: vec![Some("My brother broke my car.".into()), Some("Car trouble.".into())],
        };
        let copies = ["My brother broke my car.".to_string(), "Hi all. My brother broke my car.".to_string()];
        let new = ["no no no no no".to_string(), "...".to_string()];
        let all = held.measure([(&new, vec![5, 3]), (&copies, vec![6, 9])], &tokenizer).unwrap();
        let writers: Vec<Writer> = all.iter().map(|t| t.writer).collect();
        assert_eq!(writers, [Writer::Lead3, Writer::Summary, Writer::Reference, Writer::Policy]);
        let (lead, summary, rho, pi) = (&all[0], &all[1], &all[2], &all[3]);
        assert!(summary.rouge.is_none() && lead.rouge.unwrap().rouge1.mean > rho.rouge.unwrap().rouge1.mean);
        assert_eq!(pi.tokens.unwrap().mean, 7.5);
        assert_eq!(pi.novelty.unwrap().sentence.unwrap().mean, 0.0);
        let copying = pi.copying.as_ref().unwrap();
        assert_eq!(copying.copied.unwrap().mean, 1.0);
        assert_eq!((copying.start, copying.start_after_preamble), (Share { count: 2, n: 2 }, Share { count: 1, n: 1 }));
        assert_eq!((copying.span_positions[0], copying.sentence_positions.iter().sum::<u64>()), (2, 3));
        // "..." has no words and no 4-grams.
        let repeated = rho.repeated4.unwrap();
        assert_eq!((repeated.mean, repeated.n, repeated.low, rho.words.unwrap().n), (0.5, 1, None, 2));
    }

    #[test]
    fn continuations_have_no_novelty() {
        let tokenizer = Tokenizer::train(["a b c"].into_iter(), 300).unwrap();
        let task = TaskSpec::default();
        let held = Held { task: &task, sources: vec!["a".into()], summaries: vec![None] };
        let text = ["b c".to_string()];
        let all = held.measure([(&text, vec![2]), (&text, vec![2])], &tokenizer).unwrap();
        assert!(
            all.len() == 2 && all.iter().all(|t| t.novelty.is_none() && t.rouge.is_none() && t.distinct1 == Some(1.0))
        );
    }
}
