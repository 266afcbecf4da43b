//! report.html of a suite: one file without outside references, in the style of a single run's.

use super::draw::notes;
use super::files::{MemberState, SuiteManifest};
use super::headline::headline;
use super::plots::FinishedPlot;
use super::results::{MemberResults, SuiteResults};
use super::types::Makes;
use crate::report::cards::sample;
use crate::report::html::{escape, head, html_table, missing, scrolling};
use crate::results::Table;

/// Samples shown of each member.
const SHOWN: usize = 3;

/// The whole page.
pub fn page(results: &SuiteResults, tables: &[Table], plots: &[FinishedPlot]) -> String {
    let mut out = head(&results.suite.name);
    out += &format!("<p>{}</p>\n", escape(&results.suite.description));
    out += &format!("<p class=\"result\">{}</p>\n", escape(&headline(results.manifest.as_ref(), tables)));
    out += &missing(&results.missing);
    out += &results.caveat().map_or_else(String::new, |words| format!("<p class=\"missing\">{}</p>\n", escape(&words)));
    for (i, table) in tables.iter().enumerate() {
        out += &html_table(table);
        for note in notes(results, &table.id) {
            out += &format!("<p class=\"soft\">{}</p>\n", escape(&note));
        }
        if i == 0 {
            out.extend(plots.iter().map(figure));
        }
    }
    if results.suite.makes == Makes::Table10NoKl || results.suite.makes.compares() || plots.len() > 1 {
        out += &samples(results);
    }
    if let Some(manifest) = &results.manifest {
        out += &members(manifest);
        out += &environment(manifest);
    }
    out += &format!(
        "<h2>Suite</h2>\n<details><summary>suite.toml, fully resolved</summary><pre>{}</pre></details>\n",
        escape(&results.text)
    );
    out + "</body></html>\n"
}

fn figure(plot: &FinishedPlot) -> String {
    format!(
        "<figure role=\"img\" aria-label=\"{}\">{}<figcaption>{}</figcaption></figure>\n",
        escape(&plot.title),
        plot.svg,
        escape(plot.caption)
    )
}

fn samples(results: &SuiteResults) -> String {
    let first = results.suite.seeds.first();
    let mut out = String::new();
    for member in results.members.iter().filter(|m| Some(&m.seed) == first) {
        let samples = member.the_run().map(|run| run.samples.as_slice()).unwrap_or_default();
        if samples.is_empty() {
            continue;
        }
        out += &format!(
            "<h2>Samples: {}</h2>\n<p class=\"soft\">The first {} of {}, not chosen; {}</p>\n",
            escape(&results.titled(&results.label(&member.name))),
            samples.len().min(SHOWN),
            samples.len(),
            link(member)
        );
        out.extend(samples.iter().take(SHOWN).map(sample));
    }
    out
}

/// To the member's own report, beside this one.
fn link(member: &MemberResults) -> String {
    let dir = super::load::member_folder(&member.name, member.seed);
    format!("<a href=\"members/{0}/report.html\">{0}</a>", escape(&dir))
}

fn members(manifest: &SuiteManifest) -> String {
    let mut rows = String::new();
    for m in &manifest.members {
        let link = match m.state {
            MemberState::Done => format!("<a href=\"{0}/report.html\">{1}</a>", escape(&m.dir), escape(&m.member)),
            _ => escape(&m.member),
        };
        let seconds = m.seconds.map_or_else(|| "–".into(), |s| format!("{s:.0} s"));
        rows += &format!(
            "<tr><td>{link}</td><td>{}</td><td>{}</td><td class=\"n\">{seconds}</td><td>{}</td></tr>\n",
            m.seed,
            m.state.word(),
            escape(m.error.as_deref().unwrap_or_default())
        );
    }
    for q in &manifest.questions {
        let seed = q.seed.map_or_else(String::new, |seed| seed.to_string());
        rows += &format!(
            "<tr><td>{}</td><td>{seed}</td><td>{}</td><td class=\"n\">–</td><td>{}</td></tr>\n",
            escape(&q.id),
            q.state.word(),
            escape(q.message.as_deref().unwrap_or_default())
        );
    }
    let head = "<tr><th>member</th><th>seed</th><th>state</th><th class=\"n\">time</th><th>what went wrong, or is missing</th></tr>";
    format!("<h2>Members and questions</h2>\n{}", scrolling("Members and questions", head, &rows))
}

fn environment(m: &SuiteManifest) -> String {
    let unknown = || "not recorded".to_owned();
    let seeds: Vec<String> = m.seeds.iter().map(u64::to_string).collect();
    let pairs = [
        ("makes", m.makes.clone()),
        ("state", m.state.word().to_owned()),
        ("profile", m.profile.clone().unwrap_or_else(|| "none".into())),
        ("device", m.device.clone()),
        ("driver", m.driver.clone().unwrap_or_else(unknown)),
        ("program", m.program_version.clone()),
        ("git commit", m.git_commit.clone().unwrap_or_else(unknown)),
        ("seeds", seeds.join(", ")),
        ("started", m.started_at.clone()),
        ("finished", m.finished_at.clone().unwrap_or_else(unknown)),
        ("time", m.seconds.map_or_else(unknown, |s| format!("{s:.0} s"))),
    ];
    let rows: String = pairs.iter().map(|(k, v)| format!("<dt>{k}</dt><dd>{}</dd>", escape(v))).collect();
    format!("<h2>Environment</h2>\n<dl>{rows}</dl>\n")
}
