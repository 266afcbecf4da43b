//! Samples on a page: a query, and beside each other what ρ and π make of it, with scores; what is copied is marked.

use super::Results;
use super::html::escape;
use super::tables::show;
use crate::metric::copying::{SPAN_WORDS, marked};
use crate::results::Sample;

/// Samples shown per run: the first ones of the file, not chosen.
const SHOWN: usize = 8;
/// Of these, the ones of the first screen.
const FIRST: usize = 3;
/// Runs beside ρ on a card.
const BESIDE: usize = 3;

/// The first queries with ρ's response and that of each run's π beside each other.
pub fn side_by_side(results: &Results) -> String {
    let runs: Vec<_> = results.runs.iter().filter(|run| !run.samples.is_empty()).collect();
    let Some(first) = runs.first() else { return String::new() };
    let mut cards = String::new();
    for (i, sample) in first.samples.iter().take(FIRST).enumerate() {
        // Runs of one seed answer the same queries, where their tasks are the same.
        let same = |s: &&Sample| s.query == sample.query && s.reference_response == sample.reference_response;
        let sides: Vec<(&str, &Sample)> = runs
            .iter()
            .filter_map(|run| Some((run.name.as_str(), run.samples.get(i).filter(same)?)))
            .take(BESIDE)
            .collect();
        let alone = runs.len() == 1;
        let policies: String = sides
            .iter()
            .map(|(run, s)| {
                policy_side(
                    &if alone {
                        crate::results::with_origin("π", results.origin_of(run).as_deref())
                    } else {
                        format!("π of {}", results.shown_name(run))
                    },
                    s,
                )
            })
            .collect();
        cards += &card(sample, &policies);
    }
    let others = if runs.len() > BESIDE { ", of the first runs" } else { "" };
    format!(
        "<h2>{}</h2>\n<p class=\"soft\">The first {} held-out queries, not chosen{others}. {}</p>\n{cards}",
        escape(&results.titled("What the models write")),
        first.samples.len().min(FIRST),
        legend(&cards)
    )
}

/// What the colours of cards mean, and the marks where there are any.
fn legend(cards: &str) -> String {
    let marks = match cards.contains("<mark>") {
        true => format!(" <mark>Marked</mark>: runs of {SPAN_WORDS} words or more that the query has too."),
        false => String::new(),
    };
    format!("Green: positive score, red: negative.{marks}")
}

/// All samples that a page has, run by run, folded up.
pub fn all(results: &Results) -> String {
    let mut out = String::new();
    for run in results.runs.iter().filter(|run| run.samples.len() > FIRST) {
        let count = run.samples.len().min(SHOWN);
        let cards: String = run.samples.iter().take(SHOWN).map(sample).collect();
        out += &format!(
            "<h2>Samples: {}</h2>\n<details><summary>The first {count} of {}, not chosen</summary>\n<p class=\"soft\">{}</p>\n\
             {cards}</details>\n",
            escape(&results.titled(&run.name)),
            run.samples.len(),
            legend(&cards)
        );
    }
    out
}

/// A sample of one run.
pub(crate) fn sample(s: &Sample) -> String {
    card(s, &policy_side("π", s))
}

/// The query, ρ's response, and what stands beside it.
fn card(s: &Sample, policies: &str) -> String {
    format!(
        "<div class=\"sample\"><div class=\"text\">{}</div><div class=\"pair\">{}{policies}</div></div>\n",
        // Tokens bring their own leading space.
        escape(s.query.trim()),
        side("ρ", &highlighted(&s.query, &s.reference_response), s.reference_mock_score, s.reference_score, ""),
    )
}

fn policy_side(who: &str, s: &Sample) -> String {
    let kl = s.kl.map_or_else(String::new, |kl| format!(", KL {}", show(Some(kl))));
    side(&escape(who), &highlighted(&s.query, &s.response), s.mock_score, s.score, &kl)
}

/// A response as HTML, what it copies from the query marked.
fn highlighted(query: &str, response: &str) -> String {
    let piece = |(text, copied): (&str, bool)| match copied {
        true => format!("<mark>{}</mark>", escape(text)),
        false => escape(text),
    };
    marked(query, response.trim()).into_iter().map(piece).collect()
}

/// One response with its scores; `html` is its text, escaped.
fn side(who: &str, html: &str, mock: Option<f64>, score: Option<f64>, more: &str) -> String {
    let class = match mock.or(score) {
        Some(v) if v > 0.0 => "good",
        Some(v) if v < 0.0 => "bad",
        _ => "unknown",
    };
    let mock = mock.map(|v| format!("mock score <b>{v:+.2}</b>"));
    let score = score.map(|v| format!("score under the reward <b>{v:+.2}</b>"));
    let scores: Vec<String> = mock.into_iter().chain(score).collect();
    let scores = if scores.is_empty() { "no score".to_owned() } else { scores.join(", ") };
    format!(
        "<div class=\"{class}\"><div class=\"soft\">{who}: {scores}{more}</div>\
         <div class=\"text\">{html}</div></div>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentiment_decides_the_colour() {
        assert!(side("π", "x", Some(2.0), None, "").contains("class=\"good\""));
        assert!(side("π", "x", Some(-2.0), None, "").contains("class=\"bad\""));
        assert!(side("π", "x", None, None, "").contains("class=\"unknown\""));
    }

    #[test]
    fn runs_stand_beside_each_other_where_their_queries_are_the_same() {
        let of = |query: &str, response: &str| Sample {
            query: query.into(),
            response: response.into(),
            ..Sample::default()
        };
        let run = |name: &str, samples| crate::results::Run { name: name.into(), samples, ..Default::default() };
        let runs =
            vec![run("a", vec![of(" One", " x"), of("Two", "y")]), run("b", vec![of(" One", "z"), of("Three", "w")])];
        let page = side_by_side(&Results { runs, ..Results::default() });
        assert!(page.contains("π of a") && page.contains("<div class=\"text\">One</div>"), "{page}");
        assert_eq!((page.matches("π of b").count(), page.contains(">w<")), (1, false), "{page}");
    }
}
