//! Reports of a results directory: tables, plots, the HTML page, comparison of two directories.

pub(crate) mod cards;
pub mod compare;
pub mod formats;
pub mod guards;
pub mod headline;
pub mod html;
pub(crate) mod optimum;
mod outside;
pub mod overoptimisation;
#[cfg(test)]
mod plot_tests;
pub mod plots;
mod round_tables;
pub mod tables;
pub(crate) mod text_plots;
mod text_tables;
pub(crate) mod theme;
pub mod wide;

use crate::results::{Results, ResultsError, Table, file, write_atomic};
use formats::Format;
use std::fs;
use std::path::Path;

/// tables/ID.json, .md, .tex and .csv.
pub fn write_table(dir: &Path, table: &Table) -> Result<(), ResultsError> {
    let kinds = [("json", Format::Json), ("md", Format::Markdown), ("tex", Format::Latex), ("csv", Format::Csv)];
    kinds.iter().try_for_each(|(ending, format)| {
        let path = dir.join(format!("tables/{}.{ending}", table.id));
        write_atomic(&path, formats::write(table, *format).as_bytes())
    })
}

/// (Re)writes tables/, plots/ and report.html of a results directory from what it holds.
pub fn draw(dir: &Path) -> Result<(), ResultsError> {
    let mut results = Results::load(dir)?;
    let tables = tables::build(&results);
    tables.iter().try_for_each(|table| write_table(dir, table))?;
    let mut drawn = Vec::new();
    for plot in plots::ALL {
        let path = dir.join(format!("plots/{}.svg", plot.id));
        match (plot.draw)(&results)? {
            Some(svg) => {
                let svg = theme::themed(&svg);
                write_atomic(&path, svg.as_bytes())?;
                drawn.push((plot, svg));
            }
            None => {
                if results.is_done() && results.specs().any(|spec| (plot.due)(&spec)) {
                    results.missing.push(format!("plots/{}.svg: no data for it", plot.id));
                }
                // A plot of data that are gone would be a lie.
                if path.exists() {
                    fs::remove_file(&path).map_err(|source| ResultsError::Write { path, source })?;
                }
            }
        }
    }
    let page = html::page(&results, &tables, &drawn);
    write_atomic(&dir.join(file::REPORT), page.as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::results::State;
    use serde_json::{Value, json};

    /// A results directory with two invented runs; `shift` moves the direct policy's scores.
    pub(crate) fn fake(dir: &Path, shift: f64) {
        let put = |name: &str, text: String| write_atomic(&dir.join(name), text.as_bytes()).unwrap();
        put(
            file::SPEC,
            "spec_version = 1\nname = \"fake\"\nseed = 1\n\n[task]\npreset = \"sentiment\"\n\n[policy]\nlr = 1e-4\n"
                .into(),
        );
        put(file::MANIFEST, json!({"name": "fake <b>", "state": "done", "program_version": "0.1.0", "git_commit": "abc",
            "device": "cpu (flex)", "seeds": [1], "runs": ["direct", "offline_512"], "started_at": "2026-01-01T00:00:00Z",
            "stages": [{"run": null, "stage": "pretrain", "key": "0123456789abcdef", "seconds": 61.5, "cached": false}],
            "peak_memory_bytes": 734003200}).to_string());
        for (run, top) in [("direct", 4.0 + shift), ("offline_512", 3.2)] {
            let mut rng = crate::random::SplitMix64::new(top.to_bits());
            let mut noise = || (0..12).map(|_| rng.below(1000) as f64 / 1000.0).sum::<f64>() - 6.0;
            let mut lines = String::new();
            for update in 1..=100 {
                let done = 1.0 - (-f64::from(update) / 25.0).exp();
                lines += &format!(
                    "{}\n",
                    json!({"elapsed/updates": update, "elapsed/episodes": update * 64,
                    "objective/kl": 6.0 * done + 0.2 * noise(), "objective/kl_coef": 0.15 * (1.0 - 0.5 * done),
                    "objective/mock_score": top * done - 0.5 + 0.3 * noise(), "ppo/loss/policy": -0.01})
                );
            }
            put(&format!("runs/{run}/metrics.jsonl"), lines);
            let contexts: Vec<_> = (0..128)
                .map(|i| {
                    let r = f64::from(i * 37 % 128) / 64.0 - 1.5 + 0.2 * noise();
                    json!({"reference": r, "policy": 0.3 * r + top + 0.5 * noise(), "kl": 6.0 + noise()})
                })
                .collect();
            let frontier: Vec<_> = (0..12).map(|i| { let kl = f64::from(i);
                json!({"beta": 1.0 / (kl + 0.1), "kl": kl, "kl_se": 0.05 * kl, "reward": 1.9 * kl.sqrt() - 0.5, "reward_se": 0.03 * kl}) }).collect();
            put(&format!("runs/{run}/evaluation.json"), json!({"run": run, "schedule": &run[..run.find('_').unwrap_or(run.len())],
                "labels": if run == "direct" { None } else { Some(512) }, "episodes": 6400, "kl_target": 6.0, "n": 128,
                "reference": {"mean": -0.5, "std": 0.9}, "policy": {"mean": top - 0.2, "std": 0.5}, "contexts": contexts,
                "kl": {"mean": 6.1, "std": 1.0}, "score_policy_r": 1.2,
                "reward_accuracy": if run == "direct" { None } else { Some(json!({"correct": 180, "n": 256})) },
                "missing_truncation": 0.03, "frontier": frontier,
                "perplexity": {"model": 12.5, "unigram": 220.1, "uniform": 1024.0, "tokens": 40000}}).to_string());
            put(&format!("runs/{run}/samples.jsonl"), format!("{}\n", json!({"query": "The road was long & the <script>alert(1)</script> rain fell",
                "reference_response": "and nobody came to the door that grey evening.", "response": "and they laughed, warm and glad, all the way home.",
                "reference_score": -0.3, "score": 1.4, "kl": 5.9, "mock_score": 3.6, "reference_mock_score": -1.2})).repeat(4));
        }
    }

    /// Two invented summarization runs, `a` of simulated labelers.
    pub(crate) fn fake_summaries(dir: &Path) {
        let put = |name: &str, text: String| write_atomic(&dir.join(name), text.as_bytes()).unwrap();
        let mean = |m: f64| json!({"mean": m, "low": m - 0.05, "high": m + 0.05, "n": 50});
        let texts = |writer: &str, new: f64| {
            let rouge = json!({"rouge1": mean(0.4), "rouge2": mean(0.2), "rougeL": mean(0.3), "mean": mean(0.3)});
            let novelty = json!({"ngram1": mean(new / 4.0), "ngram2": mean(new / 2.0), "ngram3": mean(new / 1.5),
                "ngram4": mean(new), "sentence": mean(new)});
            let copying = json!({"copied": mean(1.0 - new), "span_positions": (0..20).map(|i| 40 / (i + 1)).collect::<Vec<u64>>(),
                "sentence_positions": vec![1; 20], "span_position": mean(0.2), "start": {"count": 25, "n": 50},
                "start_after_preamble": {"count": 1, "n": 10}});
            json!({"writer": writer, "n": 50, "tokens": mean(20.0), "words": mean(15.0), "distinct1": 0.2, "distinct2": 0.5,
                "distinct3": 0.7, "repeated4": mean(0.1), "rouge": if writer == "summary" { Value::Null } else { rouge },
                "novelty": novelty, "copying": copying})
        };
        for (run, new) in [("a", 0.1), ("b", 0.6)] {
            let simulated = json!({"labelers": 5, "comparisons": 100, "agreement": 41.0, "kappa": 0.2,
                "first_shown": {"count": 150, "n": 500}, "most_copied": {"count": 300, "n": 450}, "best": {"count": 250, "n": 500}});
            put(
                &format!("runs/{run}/evaluation.json"),
                json!({"run": run, "schedule": "offline", "episodes": 640, "n": 50,
                "judge": "reward", "reference": {"mean": 0.0, "std": 1.0}, "policy": {"mean": 1.5, "std": 0.5},
                "kl": {"mean": 9.0, "std": 1.0}, "missing_truncation": 0.0,
                "texts": [texts("lead3", 0.05), texts("summary", 0.9), texts("reference", 0.7), texts("policy", new)],
                "simulated": if run == "a" { simulated } else { Value::Null }})
                .to_string(),
            );
            put(
                &format!("runs/{run}/samples.jsonl"),
                format!(
                    "{}\n",
                    json!({"query": "Hi. My <brother> broke my car.",
                "reference_response": " car trouble", "response": " My <brother> broke my, well, bike"})
                ),
            );
        }
    }

    #[test]
    fn summaries_have_their_plots_and_their_copies_are_marked() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        fake_summaries(dir);
        draw(dir).unwrap();
        let page = fs::read_to_string(dir.join(file::REPORT)).unwrap();
        assert!(page.contains("><mark>My &lt;brother&gt; broke my</mark>, well, bike<"), "{page}");
        for plot in ["novelty", "copied_from"] {
            let svg = fs::read_to_string(dir.join(format!("plots/{plot}.svg"))).unwrap();
            assert!(svg.contains("(simulated labelers)") && svg.contains("reference summaries"), "{plot}");
            assert!(svg.contains("π, b") && svg.contains("lead-3") == (plot == "novelty"), "{plot}");
        }
        assert!(page.contains("<h2>Copying from the source (simulated labelers)</h2>"));
    }

    #[test]
    fn everything_is_drawn_and_escaped() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        fake(dir, 0.0);
        draw(dir).unwrap();
        let page = fs::read_to_string(dir.join(file::REPORT)).unwrap();
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;") && page.contains("fake &lt;b&gt;"));
        for plot in ["figure2", "figure3", "kl"] {
            let svg = fs::read_to_string(dir.join(format!("plots/{plot}.svg"))).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("offline_512"), "{plot}");
        }
        let table: Table = crate::results::read_json(&dir.join("tables/scores.json")).unwrap();
        assert!(table.rows.iter().all(|row| row.paper.is_none() && row.paper_note == crate::results::NOT_RECORDED));
        let before = page;
        draw(dir).unwrap();
        assert_eq!(before, fs::read_to_string(dir.join(file::REPORT)).unwrap());
    }

    #[test]
    fn missing_pieces_are_named_and_the_rest_is_shown() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        fake(dir, 0.0);
        fs::remove_file(dir.join(file::MANIFEST)).unwrap();
        fs::write(dir.join("runs/direct/metrics.jsonl"), "{}\nnonsense\n").unwrap();
        fs::remove_file(dir.join("runs/direct/evaluation.json")).unwrap();
        draw(dir).unwrap();
        let page = fs::read_to_string(dir.join(file::REPORT)).unwrap();
        assert!(page.contains("manifest.json is not there") && page.contains("metrics.jsonl:2"), "{page}");
        assert!(page.contains("offline_512"));
    }

    /// The evaluation of `offline_512` alone.
    fn fake_evaluation(dir: &Path) {
        let whole = tempfile::tempdir().unwrap();
        fake(whole.path(), 0.0);
        let file = "runs/offline_512/evaluation.json";
        fs::copy(whole.path().join(file), dir.join(file)).unwrap();
    }

    #[test]
    fn a_run_that_tables_leave_out_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        fake(dir, 0.0);
        assert_eq!(Results::load(dir).unwrap().damaged, [""; 0]);
        fs::write(dir.join("runs/direct/evaluation.json"), "{").unwrap();
        fs::remove_file(dir.join("runs/offline_512/evaluation.json")).unwrap();
        let damaged = Results::load(dir).unwrap().damaged;
        assert!(damaged.len() == 2 && damaged[0].contains("direct/evaluation.json:1"), "{damaged:?}");
        assert!(damaged[1].contains("offline_512/evaluation.json is not there"), "{damaged:?}");
        // Curves that are gone without a trace.
        fs::write(dir.join("runs/direct/metrics.jsonl"), "{\"objective/kl\": 1").unwrap();
        let damaged = Results::load(dir).unwrap().damaged;
        assert!(damaged.iter().any(|d| d.contains("direct/metrics.jsonl ends in the middle")), "{damaged:?}");
        let path = dir.join("runs/offline_512/metrics.jsonl");
        let first = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned() + "\n";
        fs::write(path, first).unwrap();
        fake_evaluation(dir);
        let damaged = Results::load(dir).unwrap().damaged;
        assert!(
            damaged.iter().any(|d| d.contains("offline_512/metrics.jsonl ends at episode 64 of 6400")),
            "{damaged:?}"
        );
    }

    #[test]
    fn a_killed_run_is_interrupted_and_not_running() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        fake(dir, 0.0);
        let text = fs::read_to_string(dir.join(file::MANIFEST)).unwrap();
        fs::write(dir.join(file::MANIFEST), text.replace("\"done\"", "\"running\"")).unwrap();
        let state = || Results::load(dir).unwrap().manifest.unwrap().state;
        assert_eq!(state(), State::Interrupted);
        let _lock = crate::store::lock::Lock::acquire(dir).unwrap().unwrap();
        assert_eq!(state(), State::Running);
    }

    #[test]
    fn an_empty_directory_has_a_page_and_no_directory_is_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        draw(temporary.path()).unwrap();
        assert!(temporary.path().join(file::REPORT).exists());
        assert!(draw(&temporary.path().join("nowhere")).is_err());
    }
}
