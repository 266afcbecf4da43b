//! Tables for pasting: GitHub Markdown, LaTeX (booktabs), CSV (RFC 4180), and plain text in columns.

use super::tables::shown;
use super::wide::wide;
use crate::metric::interval::mean;
use crate::printed::spreadsheet_cell;
use crate::results::{Row, Table};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Markdown,
    Latex,
    Csv,
}

impl Format {
    /// The words of `--format`.
    pub const WORDS: [&'static str; 5] = ["text", "json", "markdown", "latex", "csv"];

    /// The format that a word names.
    pub fn of(word: &str) -> Option<Self> {
        let all = [Self::Text, Self::Json, Self::Markdown, Self::Latex, Self::Csv];
        Self::WORDS.iter().position(|w| *w == word).and_then(|i| all.get(i).copied())
    }
}

/// The table, with a line break at its end.
pub fn write(table: &Table, format: Format) -> String {
    match format {
        Format::Text => text(table),
        Format::Json => json(table),
        Format::Markdown => markdown(table),
        Format::Latex => latex(table),
        Format::Csv => csv_text(table),
    }
}

/// What the numbers of a table do not cover, if there is something.
fn note(table: &Table) -> Option<&'static str> {
    let seeds: Vec<f64> = table.rows.iter().map(|r| r.seeds.len() as f64).collect();
    if table.rows.is_empty() {
        Some("No run has been evaluated yet.")
    } else if mean(&seeds) <= 1.0 {
        Some("Intervals are over held-out queries at one seed; they do not cover the spread between seeds.")
    } else {
        None
    }
}

fn json(table: &Table) -> String {
    serde_json::to_string_pretty(table).unwrap_or_default() + "\n"
}

/// Columns of equal width.
fn text(table: &Table) -> String {
    let shown = shown(table);
    let rows: Vec<Vec<String>> = std::iter::once(shown.columns).chain(shown.rows).collect();
    format!("{}\n\n{}", table.title, in_columns(&rows))
}

/// The table on a screen of `width` characters: a run is named once, and what all rows share is said below.
pub fn on_screen(table: &Table, width: usize) -> String {
    if let Some(wide) = wide(table) {
        let rows: Vec<Vec<String>> = std::iter::once(wide.columns).chain(wide.rows).collect();
        return format!("{}\n\n{}", table.title, fitted(&rows, width));
    }
    let shown = shown(table);
    let same = |i: usize| shown.rows.len() > 1 && shown.rows.windows(2).all(|pair| pair[0].get(i) == pair[1].get(i));
    // Run and name say what a row is.
    let dropped: Vec<usize> = (2..shown.columns.len()).filter(|i| same(*i)).collect();
    let kept = |cells: &[String]| -> Vec<String> {
        cells.iter().enumerate().filter(|(i, _)| !dropped.contains(i)).map(|(_, cell)| cell.clone()).collect()
    };
    let mut rows = vec![kept(&shown.columns)];
    for (i, row) in shown.rows.iter().enumerate() {
        let mut cells = kept(row);
        if i > 0 && shown.rows[i - 1].first() == row.first() {
            cells[0].clear();
        }
        rows.push(cells);
    }
    let shared = |i: &usize| match shown.rows[0][*i].as_str() {
        "" => None,
        cell => Some(format!("{} {cell}", shown.columns[*i])),
    };
    let shared: Vec<String> = dropped.iter().filter_map(shared).collect();
    let below = if shared.is_empty() { String::new() } else { format!("All rows: {}.\n", shared.join(", ")) };
    format!("{}\n\n{}{below}", table.title, fitted(&rows, width))
}

/// Rows of cells, padded to columns.
pub fn in_columns(rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let line: String = row.iter().enumerate().map(|(i, cell)| format!("{cell:<0$}  ", width(i))).collect();
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// The narrowest that a column is made to fit a page.
const NARROWEST: usize = 12;

/// [`in_columns`] on a page of `width` characters: the widest columns are narrowed, and their cells go over several
/// lines.
pub fn fitted(rows: &[Vec<String>], width: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count).map(widest).collect();
    let gaps = 2 * count.saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        match widths.iter_mut().max() {
            Some(most) if *most > NARROWEST => *most -= 1,
            _ => break,
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(|(cell, width)| wrapped(cell, *width)).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let of = |(cell, width): (&Vec<String>, &usize)| {
                format!("{:<width$}  ", cell.get(line).map_or("", String::as_str))
            };
            out += cells.iter().zip(&widths).map(of).collect::<String>().trim_end();
            out.push('\n');
        }
    }
    out
}

/// Text in lines of at most `width` characters, broken between words, and within one only where it is longer than a
/// line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().map_or(0, |line| line.chars().count());
            let room = width.saturating_sub(if line == 0 { 0 } else { line + 1 });
            if word.len() <= room {
                if let Some(last) = lines.last_mut() {
                    last.extend((line > 0).then_some(' ').into_iter().chain(word));
                }
                break;
            }
            if line == 0 {
                lines.last_mut().into_iter().for_each(|last| last.extend(word.drain(..width)));
            }
            lines.push(String::new());
        }
    }
    lines
}

/// A Markdown table row.
pub fn markdown_line(cells: &[String]) -> String {
    let safe: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |\n", safe.join(" | "))
}

/// The table as GitHub Markdown.
pub fn markdown(table: &Table) -> String {
    let shown = shown(table);
    let mut out = format!("# {}\n\n{}", table.title, markdown_line(&shown.columns));
    out += &format!("|{}\n", " --- |".repeat(shown.columns.len()));
    out.extend(shown.rows.iter().map(|row| markdown_line(row)));
    out + &note(table).map_or_else(String::new, |note| format!("\n{note}\n"))
}

/// A `table` float with a booktabs `tabular`, models by measures where the table has both. Needs
/// `\usepackage{booktabs}` and a Unicode engine or `inputenc` for ρ and π.
fn latex(table: &Table) -> String {
    let shown = wide(table).unwrap_or_else(|| shown(table));
    let columns: String = shown.numbers.iter().map(|number| if *number { 'r' } else { 'l' }).collect();
    let line = |cells: &[String]| cells.iter().map(|c| latex_text(c)).collect::<Vec<_>>().join(" & ") + " \\\\\n";
    let body: String = shown.rows.iter().map(|row| line(row)).collect();
    let caption = match note(table) {
        Some(note) => format!("{}. {note}", table.title),
        None => table.title.clone(),
    };
    format!(
        "\\begin{{table}}\n\\caption{{{}}}\n\\label{{tab:{}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n",
        latex_text(&caption),
        table.id,
        line(&shown.columns),
    )
}

/// Text with LaTeX's own characters escaped, and Greek letters and signs as commands.
fn latex_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            'ρ' => out += "$\\rho$",
            'π' => out += "$\\pi$",
            'β' => out += "$\\beta$",
            'κ' => out += "$\\kappa$",
            '×' => out += "$\\times$",
            '–' => out += "--",
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Numbers in full, one line per row; the columns of schemas/table.schema.json.
fn csv_text(table: &Table) -> String {
    let mut out = "table,run,name,metric,value,low,high,n,seeds,paper,paper_note,verdict\r\n".to_owned();
    for row in &table.rows {
        out += &csv_line(&csv_cells(table, row));
    }
    out
}

fn csv_cells(table: &Table, row: &Row) -> Vec<String> {
    let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
    // Names are a suite's, or people's.
    let text = |text: &str| spreadsheet_cell(text).into_owned();
    let seeds: Vec<String> = row.seeds.iter().map(u64::to_string).collect();
    vec![
        table.id.clone(),
        text(&row.run),
        text(&row.name),
        text(&row.metric),
        number(row.value),
        number(row.low),
        number(row.high),
        row.n.to_string(),
        seeds.join(" "),
        number(row.paper),
        text(&row.paper_note),
        text(&row.verdict),
    ]
}

/// A CSV line; cells with a separator, a quote or a line break are quoted.
pub fn csv_line(cells: &[String]) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing into memory does not fail, and text stays text.
    let written = writer.write_record(cells).ok().and_then(|()| writer.into_inner().ok());
    written.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tables::{row, table};

    fn example() -> Table {
        let mut line = row("a|b, \"50%\" of ρ_x", "run", "m", (1.5, f64::NAN, f64::NAN), 3, &[1, 2], "");
        line.verdict = "x\ny".into();
        table("t", "T & U", vec![line])
    }

    #[test]
    fn markdown_keeps_its_columns() {
        let text = markdown(&example());
        assert!(text.contains("| run | a\\|b, \"50%\" of ρ_x | 1.500 | – | 3 | 1, 2 | x y |"), "{text}");
    }

    #[test]
    fn latex_has_no_bare_special_character() {
        let text = latex(&example());
        assert!(text.contains("\\caption{T \\& U}") && text.contains("50\\%\" of $\\rho$\\_x & 1.500 & --"), "{text}");
        assert_eq!(text.matches(" & ").count(), 2 * 6, "{text}");
        assert_eq!(latex_text("a^b~c\\{"), "a\\textasciicircum{}b\\textasciitilde{}c\\textbackslash{}\\{");
    }

    #[test]
    fn csv_is_read_back_as_written() {
        let text = csv_text(&example());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!((&rows[0][2], &rows[0][4], &rows[0][5], &rows[0][11]), ("a|b, \"50%\" of ρ_x", "1.5", "", "x\ny"));
    }

    #[test]
    fn a_name_is_no_formula_in_a_spreadsheet_and_a_negative_number_is_one() {
        let text = csv_text(&table("t", "T", vec![row("=1+1", "r", "m", (-0.5, -1.0, 2.0), 3, &[1], "")]));
        assert!(text.contains(",'=1+1,") && text.contains(",-0.5,-1,2,"), "{text}");
    }

    #[test]
    fn a_screen_names_a_run_once_and_what_all_rows_share_below() {
        let line = |run: &str, value: f64| row("gain", run, "m", (value, 1.0, 2.0), 3, &[1], "");
        let text = on_screen(&table("t", "T", vec![line("a", 1.0), line("a", 2.0), line("b", 3.0)]), 80);
        let expected = "T\n\nrun  name  value\na    gain  1.000\n     gain  2.000\nb    gain  3.000\nAll rows: 95% interval 1.000 to 2.000, n 3, seed 1.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_page_breaks_cells_between_words() {
        let rows =
            [["run", "name"], ["a", "score of the policy under the reward"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(fitted(&rows, 200), in_columns(&rows));
        assert_eq!(fitted(&rows, 20), "run  name\na    score of the\n     policy under\n     the reward\n");
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn words_are_formats() {
        assert!(Format::WORDS.iter().all(|w| Format::of(w).is_some()) && Format::of("xml").is_none());
    }
}
