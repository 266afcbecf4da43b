//! report.html: one file without outside references, for phones and dark rooms too; all text is escaped.

use super::files::{Sample, Table};
use super::plots::Plot;
use super::tables::{cells, show};
use super::{Manifest, Results, guards};
use crate::metric::copying::{SPAN_WORDS, marked};

/// Samples shown per run: the first ones of the file, not chosen.
const SHOWN: usize = 8;

pub(crate) const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#5b6570;--line:#d8dee4;--card:#f6f8fa;
--good:#0b6b34;--bad:#b3261e;--warn:#fff4d6;--warnfg:#5c4400}
@media(prefers-color-scheme:dark){:root{--bg:#11151a;--fg:#e6e9ed;--soft:#9aa5b1;--line:#323a44;--card:#1a2027;
--good:#5fd38d;--bad:#ff8f85;--warn:#3a2f10;--warnfg:#ffe2a0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{line-height:1.2}h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}
.soft,figcaption{color:var(--soft)}
figure{margin:1.2rem 0}figure svg{display:block;width:100%;height:auto;background:#fff;border-radius:6px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem;overflow-wrap:normal}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:var(--soft)}dd{margin:0}
pre{background:var(--card);padding:.8rem;border-radius:6px;overflow-x:auto;font-size:.85rem}
.missing{background:var(--warn);color:var(--warnfg);padding:.6rem 1rem;border-radius:6px}
.sample{border:1px solid var(--line);border-radius:6px;padding:.8rem;margin:.8rem 0}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.8rem;margin-top:.6rem}
.pair>div{background:var(--card);border-radius:6px;padding:.6rem;border-left:5px solid var(--line)}
.pair>.good{border-left-color:var(--good)}.pair>.bad{border-left-color:var(--bad)}
.good b{color:var(--good)}.bad b{color:var(--bad)}
.text{white-space:pre-wrap}
mark{background:var(--warn);color:var(--warnfg);border-radius:3px}
@media(max-width:38rem){.pair{grid-template-columns:1fr}dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
";

/// Text for element content and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // Control characters are not allowed in HTML; model output may hold them.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// The whole page.
pub fn page(results: &Results, tables: &[Table], plots: &[(Plot, String)]) -> String {
    let folder = results.dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let title = escape(results.manifest.as_ref().map_or(&folder, |m| &m.name));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    if !results.missing.is_empty() {
        let items: String = results.missing.iter().map(|m| format!("<li>{}</li>", escape(m))).collect();
        out += &format!("<div class=\"missing\"><strong>Missing from this report</strong><ul>{items}</ul></div>\n");
    }
    if results.simulated() {
        out += "<p class=\"missing\">The labels come from simulated labelers: programs that prefer what the spec says, with \
                noise. These numbers say nothing about what people prefer.</p>\n";
    }
    if let Some(manifest) = &results.manifest {
        out += &environment(manifest);
    }
    if !plots.is_empty() {
        out += "<h2>Plots</h2>\n";
    }
    for (plot, svg) in plots {
        out += &format!(
            "<figure role=\"img\" aria-label=\"{}\">{svg}<figcaption>{}</figcaption></figure>\n",
            escape(&results.titled(plot.title)),
            escape(plot.caption)
        );
    }
    for table in tables {
        out += &html_table(table);
    }
    out += &guards::section(results);
    out += &samples(results);
    if let Some(manifest) = &results.manifest {
        out += &stages(manifest);
    }
    if let Some(spec) = &results.spec {
        out += &format!(
            "<h2>Spec</h2>\n<details><summary>spec.toml, fully resolved</summary><pre>{}</pre></details>\n",
            escape(spec)
        );
    }
    out + "</body></html>\n"
}

fn environment(m: &Manifest) -> String {
    let unknown = || "not recorded".to_owned();
    let seeds: Vec<String> = m.seeds.iter().map(u64::to_string).collect();
    let memory = m.peak_memory_bytes.map_or_else(unknown, |b| format!("{:.0} MiB", b as f64 / f64::from(1 << 20)));
    let pairs = [
        ("state", state(m)),
        ("device", m.device.clone()),
        ("driver", m.driver.clone().unwrap_or_else(unknown)),
        ("program", m.program_version.clone()),
        ("git commit", m.git_commit.clone().unwrap_or_else(unknown)),
        ("seeds", seeds.join(", ")),
        ("started", m.started_at.clone()),
        ("finished", m.finished_at.clone().unwrap_or_else(unknown)),
        ("peak memory", memory),
    ];
    let rows: String = pairs.iter().map(|(k, v)| format!("<dt>{k}</dt><dd>{}</dd>", escape(v))).collect();
    format!("<h2>Environment</h2>\n<dl>{rows}</dl>\n")
}

/// How the run stands, what it is of, and why it is no further.
fn state(m: &Manifest) -> String {
    let profile = m.profile.as_ref().map(|name| format!(" (profile {name})")).unwrap_or_default();
    let why = m.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{profile}{why}", m.state.word())
}

pub(crate) fn html_table(table: &Table) -> String {
    let head: String = table.columns.iter().map(|c| format!("<th>{}</th>", escape(c))).collect();
    let mut body = String::new();
    for row in &table.rows {
        body += "<tr>";
        for (index, cell) in cells(row).iter().enumerate() {
            let class = if (2..5).contains(&index) { " class=\"n\"" } else { "" };
            body += &format!("<td{class}>{}</td>", escape(cell));
        }
        body += "</tr>\n";
    }
    let note = if table.rows.is_empty() { "<p class=\"soft\">No run has been evaluated yet.</p>" } else { "" };
    format!(
        "<h2>{}</h2>\n<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}\n",
        escape(&table.title)
    )
}

fn stages(manifest: &Manifest) -> String {
    if manifest.stages.is_empty() {
        return String::new();
    }
    let rows: String = manifest
        .stages
        .iter()
        .map(|s| {
            let short: String = s.key.chars().take(12).collect();
            let time = if s.cached { "cached".to_owned() } else { format!("{:.1} s", s.seconds) };
            let run = s.run.as_deref().unwrap_or("shared");
            format!(
                "<tr><td>{}</td><td>{}</td><td class=\"n\">{time}</td><td>{}</td></tr>",
                escape(&s.stage),
                escape(run),
                escape(&short)
            )
        })
        .collect();
    format!(
        "<h2>Stages</h2>\n<div class=\"wide\"><table><thead><tr><th>stage</th><th>run</th><th>time</th><th>key</th></tr>\
         </thead><tbody>{rows}</tbody></table></div>\n"
    )
}

fn samples(results: &Results) -> String {
    let mut out = String::new();
    for run in results.runs.iter().filter(|run| !run.samples.is_empty()) {
        let count = run.samples.len().min(SHOWN);
        out += &format!(
            "<h2>Samples: {}</h2>\n<p class=\"soft\">The first {count} of {}, not chosen. Green: positive score, \
             red: negative. <mark>Marked</mark>: runs of {SPAN_WORDS} words or more that the query has too.</p>\n",
            escape(&results.titled(&run.name)),
            run.samples.len()
        );
        out.extend(run.samples.iter().take(SHOWN).map(sample));
    }
    out
}

pub(crate) fn sample(s: &Sample) -> String {
    let kl = s.kl.map_or_else(String::new, |kl| format!(", KL {}", show(Some(kl))));
    format!(
        "<div class=\"sample\"><div class=\"text\">{}</div><div class=\"pair\">{}{}</div></div>\n",
        escape(&s.query),
        side("ρ", &highlighted(&s.query, &s.reference_response), s.reference_mock_score, s.reference_score, ""),
        side("π", &highlighted(&s.query, &s.response), s.mock_score, s.score, &kl),
    )
}

/// A response as HTML, what it copies from the query marked.
fn highlighted(query: &str, response: &str) -> String {
    let piece = |(text, copied): (&str, bool)| match copied {
        true => format!("<mark>{}</mark>", escape(text)),
        false => escape(text),
    };
    marked(query, response).into_iter().map(piece).collect()
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
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href='x'>\"&\u{1}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{FFFD}");
    }

    #[test]
    fn sentiment_decides_the_colour() {
        assert!(side("π", "x", Some(2.0), None, "").contains("class=\"good\""));
        assert!(side("π", "x", Some(-2.0), None, "").contains("class=\"bad\""));
        assert!(side("π", "x", None, None, "").contains("class=\"unknown\""));
    }
}
