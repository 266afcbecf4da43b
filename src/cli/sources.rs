//! `runner sources`: the catalogue of named sources, and where each would come from here.

use super::chain;
use crate::data::hub::Hub;
use crate::sources::{Finder, Need, Source, SourcePlace, SourceUse, Wanted, bytes_of};
use crate::stage::sources::finder;
use clap::Args;
use serde::Serialize;

#[derive(Args)]
pub struct SourcesArgs {
    /// Say all about these sources (default: a line for each)
    names: Vec<String>,
    /// text or json
    #[arg(long, value_enum, default_value = "text")]
    format: super::ProblemFormat,
}

/// A source as it is printed.
#[derive(Debug, Clone, Serialize)]
pub struct SourceRow {
    pub name: String,
    /// text, reviews, labels or model.
    #[serde(rename = "use")]
    pub used_as: SourceUse,
    pub here: bool,
    /// Where it is, or would be fetched from.
    pub place: String,
    /// All places in the order in which they are tried.
    pub places: Vec<String>,
    pub size: Option<String>,
    pub bytes: Option<u64>,
    pub licence: Option<String>,
    pub about: Option<String>,
    /// The file that gives the places.
    pub from: Option<String>,
    /// Where its files can be put by hand.
    pub folder: Option<String>,
}

impl SourceRow {
    /// `looking`: a finder whose hub fetches nothing.
    pub fn of_need(need: &Need, looking: &Finder<'_>) -> Self {
        let found = need.bring(looking).ok();
        let of_place = |place: &SourcePlace| Self {
            name: need.name().into(),
            used_as: need.used_as,
            here: found.is_some(),
            place: found.clone().unwrap_or_else(|| place.describe()),
            places: vec![place.describe()],
            size: None,
            bytes: None,
            licence: None,
            about: None,
            from: None,
            folder: None,
        };
        match &need.wanted {
            Wanted::Source(name) => {
                let source = looking.catalogue.get(name).cloned().unwrap_or_default();
                let row = of_place(&source.places.first().cloned().unwrap_or_default());
                Self::of_source(row, name, &source, looking)
            }
            Wanted::Hub(place) => of_place(place),
            Wanted::Path(path) => of_place(&SourcePlace { path: Some(path.clone()), ..SourcePlace::default() }),
        }
    }

    fn of_source(row: Self, name: &str, source: &Source, finder: &Finder<'_>) -> Self {
        Self {
            places: source.places.iter().map(SourcePlace::describe).collect(),
            size: source.size.clone(),
            bytes: source.size.as_deref().and_then(bytes_of),
            licence: source.licence.clone(),
            about: source.about.clone(),
            from: finder.catalogue.origin(name).map(|path| path.display().to_string()),
            folder: Some(finder.folder.of(name).display().to_string()),
            ..row
        }
    }
}

/// Prints the catalogue; the exit code.
pub fn sources(args: &SourcesArgs) -> i32 {
    let finder = match Hub::from_env().and_then(|hub| finder(hub.cache_only())) {
        Ok(finder) => finder,
        Err(e) => {
            eprintln!("error: {}", chain(&e));
            return 2;
        }
    };
    let mut rows = Vec::new();
    let all: Vec<String> = match args.names.is_empty() {
        true => finder.catalogue.names().map(str::to_string).collect(),
        false => args.names.clone(),
    };
    for name in all {
        let Some(used_as) = finder.catalogue.get(&name).and_then(|source| source.used_as) else {
            let refused = finder.catalogue.refusal(&name, SourceUse::Text);
            let (message, _) = refused.unwrap_or_default();
            eprintln!("error: {message}; `runner sources` lists them");
            return 2;
        };
        rows.push(SourceRow::of_need(&Need { used_as, wanted: Wanted::Source(name) }, &finder));
    }
    let json = args.format == super::ProblemFormat::Json;
    if json || args.names.is_empty() {
        return print_rows(&rows, json);
    }
    let text: String = rows.iter().map(details).collect::<Vec<_>>().join("\n");
    print!("{text}");
    0
}

fn word(used_as: SourceUse) -> &'static str {
    match used_as {
        SourceUse::Text => "text",
        SourceUse::Reviews => "reviews",
        SourceUse::Labels => "labels",
        SourceUse::Model => "model",
        SourceUse::RewardModel => "reward model",
    }
}

fn details(row: &SourceRow) -> String {
    let mut text = format!("{} ({}, for {})\n", row.name, word(row.used_as), row.used_as.key());
    let mut line = |what: &str, value: Option<&String>| {
        if let Some(value) = value {
            text.push_str(&format!("  {what:<9} {value}\n"));
        }
    };
    line("what", row.about.as_ref());
    line("licence", row.licence.as_ref());
    line("size", row.size.as_ref());
    line("here", Some(&if row.here { format!("yes: {}", row.place) } else { "no".into() }));
    for (i, place) in row.places.iter().enumerate() {
        line(if i == 0 { "places" } else { "" }, Some(place));
    }
    line("said by", row.from.as_ref());
    line("by hand", row.folder.as_ref());
    text
}

/// Rows as an aligned table or as JSON; what is to be fetched is added up.
pub(super) fn print_rows(rows: &[SourceRow], json: bool) -> i32 {
    if json {
        let text = serde_json::to_string_pretty(rows).unwrap_or_else(|error| format!("[{{\"error\": \"{error}\"}}]"));
        println!("{text}");
        return 0;
    }
    let header = ["name", "use", "here", "size", "place", "licence"].map(str::to_string);
    let cells = rows.iter().map(|row| {
        let here = if row.here { "yes" } else { "no" };
        [
            row.name.clone(),
            word(row.used_as).into(),
            here.into(),
            row.size.clone().unwrap_or_else(|| "unknown".into()),
            row.place.clone(),
            row.licence.clone().unwrap_or_default(),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(header).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    }
    let missing: Vec<&SourceRow> = rows.iter().filter(|row| !row.here).collect();
    let known: u64 = missing.iter().filter_map(|row| row.bytes).sum();
    let unknown = missing.iter().filter(|row| row.bytes.is_none()).count();
    let more = if unknown > 0 { format!(", and {unknown} of unknown size") } else { String::new() };
    match missing.len() {
        0 => println!("{} sources, all here", rows.len()),
        n => println!("{} sources, {n} not here: about {:.1} GB{more}", rows.len(), known as f64 / 1e9),
    }
    0
}
