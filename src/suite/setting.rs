//! Whether an experiment is the paper's own: its model, its numbers, its labels. A number of another setting may stand
//! beside the paper's, but says nothing about it.

use super::types::Makes;
use crate::spec::{Changed, CollectSchedule, Follows, ModelSize, Spec, changed_from_preset};

/// What stands in a verdict's place where a run is another than the paper's.
pub const NOT_THE_PAPERS: &str = "not the paper's setting";

/// Episodes of the top series of figure 3.
const LONG: usize = 64_000_000;

/// What of an experiment is not the paper's, in words; nothing where all of it is. `label`: what the paper's table
/// calls the model.
pub fn unlike(spec: &Spec, makes: Makes, label: &str) -> Vec<String> {
    let mut words = Vec::new();
    if spec.follows == Follows::ReleasedCode {
        words.push("the released code's numbers".to_string());
    }
    // The paper's mock study, and nothing else, is of the small model.
    let (size, hub) = if makes.is_mock_study() { (ModelSize::M124, "gpt2") } else { (ModelSize::M774, "gpt2-large") };
    let weights = spec.model.weights.hf.as_deref().and_then(|name| name.rsplit('/').next());
    if spec.model.size != size || spec.model.dimensions.is_some() || weights.is_some_and(|name| name != hub) {
        words.push(format!("a model other than {}", word_of(size)));
    }
    words.extend(wrong_labels(spec, label));
    words.extend(changed(spec, makes));
    words
}

/// A label like "60k offline" says how many labels there are, and they may be others.
fn wrong_labels(spec: &Spec, label: &str) -> Option<String> {
    let wanted = number_of_labels(label).filter(|_| spec.collect.schedule != CollectSchedule::Direct)?;
    let (used, held_out) = (spec.collect.labels as f64, spec.collect.held_out as f64);
    let near = |found: f64| (found - wanted).abs() <= 0.05 * wanted;
    (!near(used) && !near(used + held_out)).then(|| format!("{} labels in place of {wanted}", used + held_out))
}

/// "5k offline" and "60k labels" begin with their number; so does "supervised + 60k" end with it, whose labels are the
/// same.
pub fn number_of_labels(label: &str) -> Option<f64> {
    label.split(' ').find_map(|word| {
        let (digits, scale) = word.strip_suffix('k').map_or((word, 1.0), |digits| (digits, 1000.0));
        digits.parse::<f64>().ok().filter(|n| *n > 0.0).map(|n| n * scale)
    })
}

/// Values that are not those of the preset that the spec follows.
fn changed(spec: &Spec, makes: Makes) -> Vec<String> {
    // The mock study has targets of its own, and one series that is longer than the others.
    let of_study = |key: &str| {
        makes.is_mock_study()
            && (key.starts_with("policy.kl.") || key == "policy.episodes" && spec.policy.episodes == LONG)
    };
    let found = changed_from_preset(spec).into_iter().filter(|change| !of_study(&change.key));
    found.map(|Changed { key, ours, preset }| format!("{key} {ours}, not {preset}")).collect()
}

fn word_of(size: ModelSize) -> String {
    serde_json::to_value(size).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Options, load};
    use std::path::Path;

    fn spec(name: &str, set: &[&str]) -> Spec {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs").join(name);
        let set = set.iter().map(|s| s.to_string()).collect();
        let options = Options { set, check_files: false, ..Options::default() };
        load(&path, &options).unwrap().variants.remove(0).1
    }

    #[test]
    fn the_shipped_mock_study_is_the_papers_and_a_shrunk_one_is_not() {
        let of = |name: &str, set: &[&str], label: &str| unlike(&spec(name, set), Makes::Figure3Frontier, label);
        assert_eq!(of("sentiment_mock_direct.toml", &["policy.kl.target=2.0"], "direct"), Vec::<String>::new());
        assert_eq!(of("sentiment_mock_direct.toml", &["policy.episodes=64000000"], "direct"), Vec::<String>::new());
        assert_eq!(of("sentiment_mock_5k.toml", &[], "5k labels"), Vec::<String>::new());
        let shrunk = of("sentiment_mock_5k.toml", &["policy.episodes=1024", "collect.labels=100"], "5k labels");
        assert_eq!(shrunk, ["900 labels in place of 5000", "policy.episodes 1024, not 2000896"]);
    }

    /// The suite of table 1 follows the released code, with the small model, and its tables once did not say so.
    #[test]
    fn the_released_code_is_not_the_papers_setting() {
        let words = unlike(&spec("sentiment_5k_offline.toml", &[]), Makes::Table1StylePreference, "5k offline");
        assert_eq!(words, ["the released code's numbers", "a model other than 774M"]);
        let words = unlike(&spec("cnndm_60k_offline.toml", &[]), Makes::Table4Rouge, "60k offline");
        assert_eq!(words, Vec::<String>::new());
    }

    #[test]
    fn labels_are_counted_in_thousands() {
        let of = ["2.5k offline", "supervised + 60k", "200 offline", "direct", "mock sentiment"].map(number_of_labels);
        assert_eq!(of, [Some(2500.0), Some(60_000.0), Some(200.0), None, None]);
    }
}
