//! A table as papers print it: a row for each model, a column for each measure, and the paper's own numbers under ours.
//! Our long tables have a row for each number; rows named `MODEL: MEASURE` can be folded.

use super::tables::{Shown, show};
use crate::results::{Row, Table};

/// The first two columns name the task (or run) and the model; the others are numbers. None where the rows are not
/// several models by several measures.
pub fn wide(table: &Table) -> Option<Shown> {
    let named: Option<Vec<(&str, &str, &Row)>> =
        table.rows.iter().map(|row| row.name.rsplit_once(": ").map(|(model, measure)| (model, measure, row))).collect();
    let named = named?;
    let measures = distinct(named.iter().map(|(_, measure, _)| *measure));
    let models = distinct(named.iter().map(|(model, _, row)| (row.run.as_str(), *model)));
    if measures.len() < 2 || models.len() < 2 || named.len() > measures.len() * models.len() {
        return None;
    }
    let mut rows = Vec::new();
    for (task, model) in &models {
        let of = |measure: &str| {
            let mut found = named.iter().filter(|(m, what, row)| m == model && *what == measure && row.run == *task);
            found.next().map(|(_, _, row)| *row)
        };
        let line = |label: &str, cell: &dyn Fn(&Row) -> Option<String>| {
            let cells = measures.iter().map(|m| of(m).and_then(cell).unwrap_or_else(|| "–".to_owned()));
            [(*task).to_owned(), label.to_owned()].into_iter().chain(cells).collect::<Vec<String>>()
        };
        rows.push(line(model, &ours));
        if measures.iter().any(|m| of(m).is_some_and(|row| row.paper.is_some())) {
            rows.push(line(&format!("{model}, the paper"), &|row| row.paper.map(|v| show(Some(v)))));
        }
    }
    let first = table.columns.first().cloned().unwrap_or_default();
    let columns = [first, "model".to_owned()].into_iter().chain(measures.into_iter().map(str::to_owned));
    let columns: Vec<String> = columns.collect();
    let numbers = (0..columns.len()).map(|i| i > 1).collect();
    Some(Shown { columns, rows, numbers })
}

fn ours(row: &Row) -> Option<String> {
    let value = show(Some(row.value?));
    Some(match (row.low, row.high) {
        (Some(low), Some(high)) => format!("{value} [{}, {}]", show(Some(low)), show(Some(high))),
        _ => value,
    })
}

/// In the order in which they come.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tables::{row, table};

    #[test]
    fn models_are_rows_and_measures_are_columns() {
        let number =
            |name: &str, run: &str, value: f64| row(name, run, "m", (value, value - 1.0, value + 1.0), 9, &[1], "");
        let mut rows = vec![number("60k: ROUGE-1", "tldr", 30.0), number("lead-3: ROUGE-1", "tldr", 20.0)];
        rows.push(number("60k: ROUGE-2", "tldr", 10.0));
        rows[0].paper = Some(31.0);
        let wide = wide(&table("t", "T", rows)).unwrap();
        assert_eq!(wide.columns, ["run", "model", "ROUGE-1", "ROUGE-2"]);
        assert_eq!(wide.rows[0], ["tldr", "60k", "30.000 [29.000, 31.000]", "10.000 [9.000, 11.000]"]);
        assert_eq!(wide.rows[1], ["tldr", "60k, the paper", "31.000", "–"]);
        assert_eq!(wide.rows[2], ["tldr", "lead-3", "20.000 [19.000, 21.000]", "–"]);
    }

    #[test]
    fn a_table_of_one_measure_stays_long() {
        let number = |name: &str| row(name, "direct", "m", (1.0, 0.0, 2.0), 9, &[1], "");
        assert_eq!(wide(&table("t", "T", vec![number("a: gain"), number("b: gain")])), None);
        assert_eq!(wide(&table("t", "T", vec![number("gain"), number("KL: nats")])), None);
        assert_eq!(wide(&table("t", "T", Vec::new())), None);
    }
}
