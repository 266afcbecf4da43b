//! What a run continues from and reuses: checkpoints and artifacts. Damaged ones are passed over or made again; none is
//! used as what it no longer is, and none keeps a run from going on.

use super::each_case;
use super::mutate::mutated;
use burn::tensor::Device;
use runner::model::checkpoint::{self, LoopState};
use runner::model::gpt2::Gpt2;
use runner::model::optimizer::Adam;
use runner::model::sampling::to_vec;
use runner::model::weights::named;
use runner::spec::{AdamSpec, ModelSize};
use runner::store::cache::{Begun, Cache, Key};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// All files below, by their place.
fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    for path in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).expect("a file"))),
        }
    }
    found
}

/// Puts files as they were, and nothing else.
fn restore(dir: &Path, files: &Files) {
    fs::remove_dir_all(dir).expect("removed");
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

/// Changes one of some files, removes it, or puts a folder in its place.
fn damage(files: &[(&PathBuf, &Vec<u8>)], case: u64) {
    let (path, bytes) = files[case as usize % files.len()];
    match case % 17 {
        16 => fs::remove_file(path).expect("removed"),
        15 => {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("made");
        }
        _ => fs::write(path, mutated(std::slice::from_ref(bytes), case)).expect("written"),
    }
}

fn numbers(model: &Gpt2) -> Vec<f32> {
    let all = named(model.clone(), "").into_values();
    all.flat_map(|weight| to_vec(weight.flatten()).expect("numbers")).collect()
}

#[test]
fn checkpoints() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path().join("checkpoints");
    let log = dir.path().join("metrics.jsonl");
    let device = Device::flex();
    let like = Gpt2::init(&ModelSize::Test.dimensions(), 61, 0, &device);
    let mut saved = Vec::new();
    for updates in [1usize, 2] {
        let line = format!("{{\"update\": {updates}}}\n");
        fs::write(&log, fs::read_to_string(&log).unwrap_or_default() + &line).expect("written");
        let model = Gpt2::init(&ModelSize::Test.dimensions(), 61, updates as u64, &device);
        let state = LoopState {
            updates,
            kl_coef: 0.15 / updates as f64,
            entropy_coef: 0.0,
            metrics_bytes: log.metadata().expect("there").len(),
            requests_bytes: 0,
        };
        let adam = Adam { step: 4 * updates as u64, ..Adam::new(AdamSpec::default()) };
        checkpoint::save(&at, &state, &model, &adam, &["../metrics.jsonl"]).expect("saved");
        saved.push((state, adam.step, numbers(&model)));
    }
    let originals = files(dir.path());
    let all: Vec<_> = originals.iter().collect();
    each_case("checkpoints", |case| {
        damage(&all, case);
        let found = checkpoint::load(&at, &like, AdamSpec::default(), &device).expect("passed over, at worst");
        let newest = found.as_ref().is_some_and(|(state, ..)| state.updates == 2);
        if let Some((state, model, adam)) = found {
            let is = saved.iter().any(|(s, step, w)| (s, *step) == (&state, adam.step) && *w == numbers(&model));
            assert!(is, "case {case}: {state:?} is of no checkpoint");
            let text = fs::read(&log).expect("the log");
            let kept = &originals[&log][..state.metrics_bytes as usize];
            assert!(text.starts_with(kept), "case {case}: the log is another");
        }
        restore(dir.path(), &originals);
        newest
    });
}

#[test]
fn artifacts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = Cache::new(dir.path().join("cache"));
    let key = Key::new("labels", 1, &"fuzz").expect("a key");
    let content = [("labels.jsonl", "{\"best\": 1}\n{\"best\": 3}\n"), ("round.json", "{\"round\": 1}\n")];
    let make = || match cache.begin(&key, &mut Default::default()).expect("a work directory") {
        Begun::Work(work) => {
            content.iter().for_each(|(name, text)| fs::write(work.dir.join(name), text).expect("written"));
            cache.finish(&key, work, 1.5, |_| Ok(())).expect("sealed")
        }
        other => panic!("{other:?}"),
    };
    let made = make();
    let originals = files(&made);
    let all: Vec<_> = originals.iter().collect();
    each_case("artifacts", |case| {
        damage(&all, case);
        let intact = cache.find(&key).expect("looked at").is_some();
        if !intact {
            assert_eq!(make(), made);
            assert!(cache.find(&key).expect("looked at").is_some(), "case {case}: made again, and not found");
        }
        for (name, text) in content {
            assert_eq!(fs::read_to_string(made.join(name)).ok().as_deref(), Some(text), "case {case}: {name}");
        }
        restore(&dir.path().join("cache"), &originals);
        intact
    });
}
