//! Plots over the members and seeds of a suite: figure 2 with mean and range over seeds, figure 3 as a sweep beside the
//! closed-form optimum, figures 5 to 7 of each task, the win rates of tables 1 and 5 and of figure 4; the paper's
//! beside or behind ours wherever its numbers are recorded.

mod curves;
mod frontier;
mod learners;
mod summaries;
mod win_rates;

use super::results::{MemberResults, SuiteResults};
use super::types::Makes;
use crate::report::text_plots::{draw_novelty, draw_positions};
use crate::results::{Judge, ResultsError, Table};
use curves::figure2;
use frontier::figure3;
use summaries::series;
use win_rates::{by_number_of_labels, win_rates};

/// A finished plot.
pub struct FinishedPlot {
    /// File name without ending.
    pub id: String,
    pub title: String,
    pub caption: &'static str,
    pub svg: String,
}

/// All plots that there are data for.
pub fn draw(results: &SuiteResults, tables: &[Table]) -> Result<Vec<FinishedPlot>, ResultsError> {
    let mut drawn = Vec::new();
    let mut add = |id: &str, title: &str, caption, svg: Option<String>| {
        drawn.extend(svg.map(|svg| FinishedPlot { id: id.into(), title: title.into(), caption, svg }));
    };
    match results.suite.makes {
        Makes::Table1StylePreference | Makes::Table5SummaryPreference => {
            let title = results.titled("Win rates");
            add("win_rates", &title, WIN_RATES, win_rates(&title, tables)?);
        }
        Makes::Figure4WinRateByLabels => {
            for (task, table) in results.tasks().iter().flat_map(|task| tables.first().map(|table| (task, table))) {
                let title = results.titled(&format!("{task}: win rate by number of labels"));
                let id = format!("win_rate_by_labels_{task}");
                add(&id, &title, BY_LABELS, by_number_of_labels(results, &short(&title), table, task)?);
            }
        }
        Makes::Figure2MockCurves | Makes::Table10NoKl => {
            let title = results.titled("Mock score against episodes");
            add("figure2", &title, FIGURE2, figure2(results, &title)?);
        }
        Makes::Figure3Frontier => {
            let title = results.titled("Score against KL");
            add("figure3", &title, FIGURE3, figure3(results, &title)?);
        }
        Makes::Table4Rouge | Makes::Figure5Novelty | Makes::Figure6CopiedFrom => {
            for task in results.tasks() {
                let title = results.titled(&format!("{task}: what is new in summaries"));
                add(
                    &format!("novelty_{task}"),
                    &title,
                    NOVELTY,
                    draw_novelty(&short(&title), &series(results, &task))?,
                );
                let title = results.titled(&format!("{task}: where summaries copy from"));
                add(
                    &format!("copied_from_{task}"),
                    &title,
                    COPIED_FROM,
                    draw_positions(&short(&title), series(results, &task))?,
                );
            }
        }
        Makes::Learners => {
            let title = results.titled("Learners by KL and score");
            add("learners", &title, LEARNERS, learners::at_equal_kl(results, &title)?);
        }
        Makes::Overoptimisation => {
            let title = results.titled("Learned reward r and the mock score r_s");
            let drawn = learners::by_labels(results, &title)?;
            add("overoptimisation", &title, crate::report::overoptimisation::CAPTION, drawn);
        }
        Makes::Table7CopiedStart | Makes::Table8Accuracy | Makes::Table9Agreement | Makes::ReleasedModels => {}
    }
    Ok(drawn)
}

const WIN_RATES: &str = "Share of items that the first-named model wins, with its 95% interval; ring: the paper's value where \
                         it is recorded. Dashed: an even preference.";
const BY_LABELS: &str = "Share of items that a policy trained on so many offline labels wins against zero-shot, with its 95% \
                         interval. Rings: the paper's figure 4. Dashed: an even preference.";
const FIGURE2: &str = "Score of the policy's samples under r_s during training (running means): mean over seeds, and their \
                       range as a band. Dashed in the same colours: the paper's figure 2, mean and range of five seeds, or \
                       where it ended. Grey: mean score of ρ on held-out queries.";
const FIGURE3: &str = "Final policies on held-out queries: small dots are seeds, large ones their means; members of the same \
                       label are joined. Black: the best score possible at each KL, from samples of ρ and of all these \
                       policies at the first seed (multiple importance sampling), with its 95% interval over queries, drawn \
                       as far as the samples show it. Rings and thin lines in \
                       the same colours: the paper's figure 3, and its optimum (dashed).";
const LEARNERS: &str = "Held-out score by the square root of KL: final policies (dots), from ρ (grey) on, a line for each learner \
                        and seed; best-of-n (rings) at log n - (n-1)/n, an upper bound of its KL. The table reads each line at \
                        equal KL.";
const NOVELTY: &str = "Share of a summary's n-grams and sentences whose words do not occur in its source, with 95% intervals: \
                       over held-out queries at one seed, over seeds at several.";
const COPIED_FROM: &str = "Copied runs of 4 words or more, by the place in the source where they begin: how many per 100 summaries \
                       in each twentieth of it.";

/// A title that fits over a plot; the page has it in full.
fn short(title: &str) -> String {
    match title.split_once(" (") {
        Some((head, rest)) if rest.contains("simulated") => format!("{head} (simulated labelers)"),
        Some((head, rest)) if rest.contains("judged by") => {
            let by = rest.split(", ").find(|word| word.starts_with("judged by")).unwrap_or_default();
            let by = by.split(": not the paper's").next().unwrap_or(by);
            format!("{head} ({by})")
        }
        Some((head, _)) => format!("{head} (not the paper's setting)"),
        None => title.to_owned(),
    }
}

/// Whose scores: r's only where no member has r_s.
pub(super) fn judge(results: &SuiteResults) -> Judge {
    let mock = results.members.iter().filter_map(MemberResults::evaluation).any(|e| e.judge == Judge::Mock);
    if mock { Judge::Mock } else { Judge::Reward }
}
