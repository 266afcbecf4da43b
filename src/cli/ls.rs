//! `runner ls`: the specs here with what they reproduce, and the results here with their state.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Lists `specs/*.toml` and `results/*/manifest.json` below the current directory.
pub fn ls() -> i32 {
    let text = list(Path::new("."));
    // A closed pipe (`| head`) is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    0
}

fn list(root: &Path) -> String {
    let specs: Vec<[String; 3]> = sorted_entries(&root.join("specs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| spec_row(root, &path))
        .collect();
    let results: Vec<[String; 3]> =
        sorted_entries(&root.join("results")).into_iter().filter_map(|path| result_row(root, &path)).collect();
    let mut out = table(["SPEC", "REPRODUCES", "DESCRIPTION"], &specs);
    if !results.is_empty() {
        out.push('\n');
        out.push_str(&table(["RESULTS", "STATE", "FINISHED"], &results));
    }
    out
}

fn sorted_entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Leniently: a spec with mistakes is listed too, and `validate` explains them.
fn spec_row(root: &Path, path: &Path) -> [String; 3] {
    let parsed = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let Some(spec) = parsed else {
        return [shown(root, path), "-".into(), "(cannot be read: see `runner validate`)".into()];
    };
    let reproduces: Vec<&str> = spec
        .get("reproduces")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .collect();
    let description = spec.get("description").and_then(toml::Value::as_str).unwrap_or_default();
    let reproduces = if reproduces.is_empty() { "-".to_string() } else { reproduces.join(", ") };
    [shown(root, path), reproduces, description.to_string()]
}

fn result_row(root: &Path, path: &Path) -> Option<[String; 3]> {
    let text = std::fs::read_to_string(path.join("manifest.json")).ok()?;
    let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| match &manifest[name] {
        Value::Null => "-".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some([shown(root, path), field("state"), field("finished_at")])
}

fn table(head: [&str; 3], rows: &[[String; 3]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let line =
        |row: [&str; 3]| format!("{:first$}  {:second$}  {}", row[0], row[1], row[2]).trim_end().to_string() + "\n";
    std::iter::once(line(head)).chain(rows.iter().map(|row| line([&row[0], &row[1], &row[2]]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_specs_and_results_even_broken_ones() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("specs"))?;
        std::fs::create_dir_all(dir.path().join("results/a"))?;
        std::fs::write(
            dir.path().join("specs/a.toml"),
            "name = \"a\"\ndescription = \"first\"\nreproduces = [\"figure2\"]\n",
        )?;
        std::fs::write(dir.path().join("specs/b.toml"), "name = ")?;
        std::fs::write(dir.path().join("results/a/manifest.json"), "{\"state\": \"done\", \"finished_at\": null}")?;
        let text = list(dir.path());
        assert!(text.contains("specs/a.toml  figure2     first\n"), "{text}");
        assert!(text.contains("specs/b.toml  -           (cannot be read"), "{text}");
        assert!(text.contains("results/a  done   -\n"), "{text}");
        assert!(list(&dir.path().join("nowhere")).starts_with("SPEC"));
        Ok(())
    }
}
