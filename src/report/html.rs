//! report.html: one file without outside references, for phones and dark rooms too; all text is escaped.

use super::headline::{Headline, headline};
use super::plots::Plot;
use super::tables::{Shown, shown};
use super::wide::wide;
use super::{cards, guards};
use crate::results::{Manifest, Results, Table};

/// Plots on the first screen.
const FIRST: usize = 2;
/// What numbers are worth that are not of the paper's setting.
const MECHANISM: &str =
    "The figures have the form of the paper's; they show its mechanism and neither confirm nor contradict its numbers.";

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#5b6570;--line:#d8dee4;--card:#f6f8fa;--shade:#0003;
--good:#0b6b34;--bad:#b3261e;--warn:#fff4d6;--warnfg:#5c4400}
@media screen and (prefers-color-scheme:dark){:root{--bg:#11151a;--fg:#e6e9ed;--soft:#9aa5b1;--line:#323a44;--card:#1a2027;
--shade:#000b;--good:#5fd38d;--bad:#ff8f85;--warn:#3a2f10;--warnfg:#ffe2a0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{line-height:1.2;margin:.2rem 0 .6rem}h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}
p,li{max-width:75ch}
.result{font-size:1.35rem;line-height:1.4;max-width:60ch;margin:.6rem 0;text-wrap:balance}
.soft,figcaption{color:var(--soft)}figcaption,.basis{font-size:.9rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));gap:0 1.5rem}
figure{margin:1rem 0}figure svg{display:block;width:100%;height:auto;border-radius:6px}
.wide{overflow-x:auto;background:linear-gradient(90deg,var(--bg) 30%,transparent),
linear-gradient(270deg,var(--bg) 30%,transparent) 100% 0,linear-gradient(90deg,var(--shade),transparent),
linear-gradient(270deg,var(--shade),transparent) 100% 0;background-repeat:no-repeat;
background-size:3rem 100%,3rem 100%,1rem 100%,1rem 100%;background-attachment:local,local,scroll,scroll}
.more{display:none;color:var(--soft);font-size:.9rem;margin:0}
table{border-collapse:collapse;width:100%;font-size:.9rem;overflow-wrap:normal}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
.n{text-align:right}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:var(--soft)}dd{margin:0}
pre{background:var(--card);padding:.8rem;border-radius:6px;overflow-x:auto;font-size:.85rem}
summary{cursor:pointer}
.missing{background:var(--warn);color:var(--warnfg);padding:.6rem 1rem;border-radius:6px}
.sample{border:1px solid var(--line);border-radius:6px;padding:.8rem;margin:.8rem 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(15rem,100%),1fr));gap:.8rem;margin-top:.6rem}
.pair>div{background:var(--card);border-radius:6px;padding:.6rem;border-left:5px solid var(--line)}
.pair>.good{border-left-color:var(--good)}.pair>.bad{border-left-color:var(--bad)}
.good b{color:var(--good)}.bad b{color:var(--bad)}
.text{white-space:pre-wrap}
mark{background:var(--warn);color:var(--warnfg);border-radius:3px}
@media(max-width:38rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}
.wide table{min-width:46rem}.more{display:block}h2{font-size:1.2rem}.result{font-size:1.15rem}}
@media print{body{max-width:none;padding:0;font-size:10pt}.figures{grid-template-columns:1fr 1fr}
.pair{grid-template-columns:repeat(auto-fit,minmax(9rem,1fr))}
.sample,figure,tr,dl{break-inside:avoid}h2,summary,h2+p{break-after:avoid}thead{display:table-header-group}
.wide{overflow:visible;background:none}.more{display:none}.wide table{min-width:0}pre{white-space:pre-wrap}}
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

/// The beginning of a page, up to and with its title.
pub(crate) fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    )
}

/// The whole page: the result in words, its figures, some samples; then tables and all the rest.
pub fn page(results: &Results, tables: &[Table], plots: &[(Plot, String)]) -> String {
    let folder = results.dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut out = head(results.manifest.as_ref().map_or(&folder, |m| &m.name));
    let Headline { result, basis } = headline(results);
    out += &format!("<p class=\"result\">{}</p>\n", escape(&result));
    if !basis.is_empty() {
        out += &format!("<p class=\"soft basis\">{}</p>\n", escape(&basis));
    }
    if results.simulated() {
        out += "<p class=\"missing\">The labels come from simulated labelers: programs that prefer what the spec says, with \
                noise. These numbers say nothing about what people prefer.</p>\n";
    }
    for mark in results.labeler_marks().iter().filter(|mark| *mark != "simulated labelers") {
        let text = format!("The labels are no person's: {mark}. These numbers say nothing about what people prefer.");
        out += &format!("<p class=\"missing\">{}</p>\n", escape(&text));
    }
    out += &missing(&results.missing);
    let (first, rest) = plots.split_at(plots.len().min(FIRST));
    out += &figures(results, first);
    if let (false, Some(words)) = (plots.is_empty(), results.unlike_the_paper()) {
        out += &format!("<p class=\"soft basis\">Not the paper's setting: {}. {MECHANISM}</p>\n", escape(&words));
    }
    out += &cards::side_by_side(results);
    for table in tables {
        out += &html_table(table);
    }
    if !rest.is_empty() {
        out += &format!("<h2>More plots</h2>\n{}", figures(results, rest));
    }
    out += &guards::section(results);
    out += &cards::all(results);
    if let Some(manifest) = &results.manifest {
        out += &environment(manifest);
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

/// What should be there and is not.
pub(crate) fn missing(missing: &[String]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let items: String = missing.iter().map(|m| format!("<li>{}</li>", escape(m))).collect();
    format!("<div class=\"missing\"><strong>Missing from this report</strong><ul>{items}</ul></div>\n")
}

fn figures(results: &Results, plots: &[(Plot, String)]) -> String {
    if plots.is_empty() {
        return String::new();
    }
    let one = |(plot, svg): &(Plot, String)| {
        format!(
            "<figure role=\"img\" aria-label=\"{}\">{svg}<figcaption>{}</figcaption></figure>\n",
            escape(&results.titled(plot.title)),
            escape(plot.caption)
        )
    };
    format!("<div class=\"figures\">\n{}</div>\n", plots.iter().map(one).collect::<String>())
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
    // float32 is not said: older manifests have nothing else.
    let products = m.precision.map(|p| ("matrix products", format!("{} (model.precision)", p.word())));
    let rows: String =
        pairs.iter().chain(&products).map(|(k, v)| format!("<dt>{k}</dt><dd>{}</dd>", escape(v))).collect();
    format!("<h2>Environment</h2>\n<dl>{rows}</dl>\n")
}

/// How the run stands, what it is of, and why it is no further.
fn state(m: &Manifest) -> String {
    let profile = m.profile.as_ref().map(|name| format!(" (profile {name})")).unwrap_or_default();
    let why = m.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{profile}{why}", m.state.word())
}

pub(crate) fn html_table(table: &Table) -> String {
    let note = if table.rows.is_empty() { "<p class=\"soft\">No run has been evaluated yet.</p>\n" } else { "" };
    let long = cells(&table.title, &shown(table));
    let body = match wide(table) {
        Some(wide) => format!(
            "{}<details><summary>Each number with its interval, n, seeds and verdict</summary>{long}</details>\n",
            cells(&table.title, &wide)
        ),
        None => long,
    };
    format!("<h2>{}</h2>\n{body}{note}", escape(&table.title))
}

fn cells(title: &str, shown: &Shown) -> String {
    let class = |i: usize| if shown.numbers.get(i) == Some(&true) { " class=\"n\"" } else { "" };
    let line = |cells: &[String], tag: &str| {
        let cell = |(i, cell): (usize, &String)| format!("<{tag}{}>{}</{tag}>", class(i), escape(cell));
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let body: String = shown.rows.iter().map(|row| line(row, "td")).collect();
    scrolling(title, &line(&shown.columns, "th"), &body)
}

/// A table that scrolls sideways where the page is narrow, and says so; by keyboard too.
pub(crate) fn scrolling(name: &str, head: &str, body: &str) -> String {
    format!(
        "<p class=\"more\" aria-hidden=\"true\">The table scrolls sideways →</p>\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead>{head}</thead>\
         <tbody>{body}</tbody></table></div>\n",
        escape(name)
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
    let head = "<tr><th>stage</th><th>run</th><th class=\"n\">time</th><th>key</th></tr>";
    format!("<h2>Stages</h2>\n{}", scrolling("Stages", head, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href='x'>\"&\u{1}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{FFFD}");
    }
}
