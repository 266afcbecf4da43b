//! Damaged and hostile files in every reader: each is read or refused, and never panics. Cases are functions of their
//! number, so that a failure names what to run again:
//!
//!     RUNNER_FUZZ_CASES=10000 cargo test --release --test fuzz -- --nocapture
//!     RUNNER_FUZZ_FIRST=4711 RUNNER_FUZZ_CASES=1 cargo test --release --test fuzz csv
//!
//! Without the variable a few hundred cases of each kind run.

mod mutate;
mod stores;

use mutate::mutated;
use runner::data::formats::{Want, open};
use runner::label::LabelError;
use runner::label::batch::read;
use runner::label::exchange::{self, Importing};
use runner::label::recorded::{self, Reading};
use runner::label::report::LabelsReport;
use runner::model::tensor_file::Tensors;
use runner::model::tokenizer::Tokenizer;
use runner::results::{Evaluation, Manifest, Results, read_json, read_metrics};
use runner::spec::{ColumnsSpec, DataFormat, TextLines};
use runner::suite::FileKind;
use serde_json::json;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

const FEW: u64 = 300;
/// A case that takes longer is a fault of its own.
const MOST_SECONDS: f64 = 10.0;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files of these names that are small enough to be changed often.
fn corpus(names: &[&str]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for name in names.iter().map(|name| root(name)) {
        let mut paths = vec![name.clone()];
        if name.is_dir() {
            paths = fs::read_dir(&name).expect("the folder").map(|e| e.expect("an entry").path()).collect();
            paths.sort();
        }
        let files = paths.into_iter().filter(|path| path.is_file());
        all.extend(files.map(|path| fs::read(path).expect("the fixture")).filter(|bytes| bytes.len() < 200_000));
    }
    assert!(!all.is_empty(), "{names:?}");
    all
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Changes files and hands each to a reader, which says whether it took it.
fn fuzz(kind: &str, name: &str, corpus: &[Vec<u8>], take: impl Fn(&Path) -> bool) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fuzz_in(dir.path(), kind, name, corpus, take);
}

/// The same where other files belong to it.
fn fuzz_in(dir: &Path, kind: &str, name: &str, corpus: &[Vec<u8>], take: impl Fn(&Path) -> bool) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    each_case(kind, |case| {
        fs::write(&path, mutated(corpus, case)).expect("written");
        take(&path)
    });
}

/// Counts what becomes of cases, each by its number; none may panic or take long.
fn each_case(kind: &str, take: impl Fn(u64) -> bool) {
    let (first, cases) = (number("RUNNER_FUZZ_FIRST", 0), number("RUNNER_FUZZ_CASES", FEW));
    let (mut taken, mut wrong, mut slowest) = (0, Vec::new(), 0f64);
    for case in first..first + cases {
        let started = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| take(case))) {
            Ok(true) => taken += 1,
            Ok(false) => {}
            Err(_) => wrong.push(case),
        }
        slowest = slowest.max(started.elapsed().as_secs_f64());
    }
    println!(
        "{kind}: {cases} cases, {taken} read, {} refused, {} panics, slowest {slowest:.2} s",
        cases - taken - wrong.len() as u64,
        wrong.len()
    );
    assert!(wrong.is_empty(), "{kind}: cases {wrong:?} panic");
    assert!(slowest < MOST_SECONDS, "{kind}: a case takes {slowest:.1} s");
}

/// Reads all of a data file both ways.
fn records(path: &Path, format: DataFormat) -> bool {
    let columns = ColumnsSpec::default();
    let both = [Want::Documents, Want::Reviews];
    both.into_iter().any(|want| {
        let reader = open(path, format, &columns, TextLines::Wrapped, want);
        reader.and_then(|records| records.collect::<Result<Vec<_>, _>>()).is_ok()
    })
}

/// A folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let to = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).expect("copied");
        }
    }
}

/// Specs refer to each other and to the models beside them.
#[test]
fn spec_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut specs, mut suites) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root("specs")).expect("specs").map(|entry| entry.expect("an entry").path()) {
        let to = dir.path().join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &to);
            continue;
        }
        let bytes = fs::read(&entry).expect("a file");
        fs::write(&to, &bytes).expect("written");
        match FileKind::of(&entry) {
            FileKind::Spec if entry.extension().is_some_and(|e| e == "toml") => specs.push(bytes),
            FileKind::Suite => suites.push(bytes),
            _ => {}
        }
    }
    let at = dir.path();
    fuzz_in(at, "spec files", "fuzzed.toml", &specs, |path| runner::spec::load(path, &Default::default()).is_ok());
    fuzz_in(at, "suite files", "fuzzed.toml", &suites, |path| runner::suite::load(path, &Default::default()).is_ok());
}

const ROWS: &str = "text,label\r\n\"two\r\nlines, \"\"quoted\"\"\",1\r\nplain,0\r\n,\r\n";

#[test]
fn csv() {
    let mut files =
        corpus(&["tests/fixtures/data/posts.csv", "tests/fixtures/data/bom.csv", "tests/fixtures/data/posts.csv.gz"]);
    files.extend([ROWS.into(), ROWS.replace(',', ";").into(), format!("sep=;\n{ROWS}").into()]);
    fuzz("CSV", "x.csv", &files, |path| records(path, DataFormat::Csv));
    fuzz(
        "TSV",
        "x.tsv",
        &[files, vec![ROWS.replace(',', "\t").into(), b"good\t1\nbad\t0\n".to_vec()]].concat(),
        |path| records(path, DataFormat::Tsv),
    );
}

#[test]
fn json_lines() {
    let mut files = corpus(&["tests/fixtures/data/posts.jsonl.gz", "tests/fixtures/labels/comparisons.jsonl"]);
    files.extend(
        [
            "{\"text\": \"a\", \"x\": NaN, \"label\": 1}\n{\"text\": \"b\\ud83d\", \"label\": 0}\n",
            "{'reviewText': \"It's\", 'overall': 5.0, 'helpful': (0, 1)}\n",
            "\"a\"\n\"b\"\n",
            "[{\"text\": \"a\", \"summary\": null}, {\"text\": \"b\"}]",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    fuzz("JSON lines", "x.jsonl", &files, |path| records(path, DataFormat::Jsonl));
    fuzz("JSON", "x.json", &files, |path| records(path, DataFormat::Json));
    fuzz("text", "x.txt", &files, |path| records(path, DataFormat::Text));
    fuzz("stories", "x.story", &corpus(&["tests/fixtures/data/stories"]), |path| records(path, DataFormat::Stories));
}

#[test]
fn parquet() {
    fuzz("Parquet", "x.parquet", &corpus(&["tests/fixtures/data/parquet"]), |path| records(path, DataFormat::Parquet));
}

#[test]
fn label_files() {
    let mut files = corpus(&["tests/fixtures/labels", "tests/fixtures/labels/awkward"]);
    files.push(
        b"{\"prompt\": \"Q\", \"chosen\": \" a\", \"rejected\": [{\"role\": \"user\", \"content\": \"b\"}]}\n".to_vec(),
    );
    let encode = |text: &str| Ok(text.bytes().map(u32::from).collect());
    fuzz("label files", "x.json", &files, |path| {
        let reading = Reading {
            format: None,
            split: None,
            vocabulary: recorded::GPT2_VOCABULARY,
            gpt2_ids: true,
            query_length: usize::MAX,
            response_length: usize::MAX,
            encode: &encode,
            query_of: &|text| Ok(Some(encode(text)?)),
            around: ("", "\n\nTL;DR:"),
        };
        let mut report = LabelsReport::default();
        let read = recorded::read::<LabelError>(path, &reading, &mut report, &mut |_| Ok(()));
        let usable = read.and_then(|()| report.check()).is_ok();
        assert!(!usable || report.read_report("labels").is_ok(), "an entry is lost");
        let _ = report.text();
        usable
    });
}

/// A batch of one item of three candidates, `r/batch.json` and `r/items.jsonl`.
fn batch(dir: &Path) {
    let candidate = |text: &str| json!({ "text": text, "ids": [text.len()], "source": "policy" });
    let item = json!({ "id": "r-0", "query": { "text": "q", "ids": [40] }, "candidates": [candidate("x"), candidate("yy"), candidate("zzz")],
                       "order": [2, 0, 1] });
    let head = json!({ "batch_version": 1, "id": "r", "purpose": "training", "items": 1, "labelers_per_item": 1, "spec": "s",
        "spec_hash": "", "policy_hash": "", "tokenizer_hash": "", "update": 0, "temperature": 0.7, "seed": 1,
        "instructions": "", "instructions_version": "", "created_at": "2026-01-01T00:00:00Z" });
    fs::create_dir_all(dir.join("r")).expect("made");
    fs::write(dir.join("r/batch.json"), head.to_string()).expect("written");
    fs::write(dir.join("r/items.jsonl"), format!("{item}\n")).expect("written");
}

#[test]
fn answers() {
    let line = json!({ "item": "r-0", "best": 1, "labeler": "ada", "answered_at": "2026-01-01T00:00:00Z", "revision": 0,
                       "ranking": [1, 0, 2], "confidence": 0.5 });
    let skip = json!({ "item": "r-0", "skip": "no", "labeler": "bob" });
    let dir = tempfile::tempdir().expect("a temporary directory");
    batch(dir.path());
    let items = read::items(dir.path(), "r").expect("the items");
    fuzz("answers", "r/answers.jsonl", &[format!("{line}\n{skip}\n").into()], |path| {
        let of = path.parent().and_then(Path::parent).expect("the directory of batches");
        read::answers(of, "r", &items).is_ok_and(|answers| !answers.counted.is_empty())
    });
    let names = ["batch.json", "items.jsonl"];
    for name in names {
        let content = fs::read(dir.path().join("r").join(name)).expect("the file");
        fuzz(name, &format!("r/{name}"), &[content], |path| {
            let of = path.parent().and_then(Path::parent).expect("the directory of batches");
            let other = names[usize::from(name == names[0])];
            fs::copy(dir.path().join("r").join(other), of.join("r").join(other)).expect("copied");
            read::items(of, "r").is_ok()
        });
    }
}

#[test]
fn imports() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    batch(dir.path());
    let best = json!({ "type": "choices", "from_name": "best", "to_name": "query", "value": { "choices": ["b"] } });
    let rank = json!({ "type": "ranker", "from_name": "rank", "value": { "ranker": { "rank": ["b", "a", "c"] } } });
    let annotation = |result: serde_json::Value| {
        json!({ "completed_by": { "id": 3, "email": "a@b.c" }, "was_cancelled": false, "created_at": "2026-01-01T10:00:00.1Z",
                "result": [result] })
    };
    let task = |result| json!({ "data": { "item": "r-0" }, "annotations": [annotation(result)] });
    let studio = [json!([task(best.clone())]), json!([task(rank)]), task(best)].map(|v| format!("{v:#}").into_bytes());
    let csv = [
        "item,query,a,b,c,best,labeler,skip,note\r\nr-0,\"q\r\nq\",x,yy,zzz,2,ada,,\r\n",
        "item;best;labeler\nr-0;A;ada\n",
    ];
    let csv = csv.map(|text| text.as_bytes().to_vec());
    let ids = "[{\"query\": [40], \"sample0\": [1],\n \"sample1\": [2],\n \"sample2\": [3],\n \"best\": 1}]\n";
    let texts = "{\"info\": {\"id\": \"r-0\", \"post\": \"q\"}, \"summaries\": [{\"text\": \"x\"}, {\"text\": \"yy\"}, {\"text\": \"zzz\"}], \
                 \"choice\": 1, \"worker\": \"ada\", \"batch\": \"r\", \"split\": \"train\"}\n";
    for (kind, format, corpus) in [
        ("Label Studio", exchange::Format::LabelStudio, &studio[..]),
        ("CSV of answers", exchange::Format::Csv, &csv[..]),
        ("lm_human_preferences to import", exchange::Format::LmHumanPreferences, &[ids.into()]),
        ("summarize_from_feedback to import", exchange::Format::SummarizeFromFeedback, &[texts.into()]),
    ] {
        let options = Importing { labeler: Some("eve".into()), name: Some("fuzz".into()) };
        fuzz(kind, "import", corpus, |path| {
            let imported = exchange::import(path, format, &dir.path().join("r"), &options).is_ok();
            let _ = fs::remove_file(dir.path().join("r/answers-fuzz.jsonl"));
            imported
        });
    }
}

#[test]
fn models() {
    let weights = corpus(&["tests/fixtures/weights/base/model.safetensors"]);
    fuzz("safetensors", "x.safetensors", &weights, |path| {
        Tensors::open(path).is_ok_and(|tensors| tensors.names().all(|name| tensors.read(name).is_ok()))
    });
    // Most changes of a whole file hit numbers; these hit the header, whose length is right.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("x.safetensors");
    let length = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = [weights[0][8..8 + length(&weights[0])].to_vec()];
    let numbers = &weights[0][8 + length(&weights[0])..];
    each_case("safetensors headers", |case| {
        let header = mutated(&header, case);
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, numbers].concat();
        fs::write(&path, bytes).expect("written");
        Tensors::open(&path).is_ok_and(|tensors| tensors.names().all(|name| tensors.read(name).is_ok()))
    });
    let tokenizers = corpus(&["tests/fixtures/weights/base/tokenizer.json"]);
    fuzz("tokenizer.json", "tokenizer.json", &tokenizers, |path| {
        let loaded = Tokenizer::load(path.parent().expect("a folder"));
        loaded.is_ok_and(|tokenizer| tokenizer.encode("A cat sat.").is_ok())
    });
    let configs = corpus(&["tests/fixtures/weights/base/config.json"]);
    fuzz("config.json", "config.json", &configs, |path| {
        runner::model::config::read_config(path.parent().expect("a folder")).is_ok()
    });
}

#[test]
fn results() {
    let stage = json!({ "run": "main", "stage": "policy", "key": "policy-0", "seconds": 1.5, "cached": false });
    let manifest = json!({ "name": "x", "state": "done", "program_version": "0.1.0", "device": "cpu", "seeds": [1], "runs": ["main"],
        "stages": [stage], "sources": [{ "key": "task.data", "repository": "a/b", "commit": "0" }],
        "reads": [{ "source": "task.data", "what": "documents", "files": 1, "records": 2, "kept": 1, "dropped": { "empty": 1 }, "remarks": [] }],
        "started_at": "2026-01-01T00:00:00Z" });
    let text = format!("{manifest:#}").into_bytes();
    fuzz("manifest.json", "manifest.json", &[text], |path| read_json::<Manifest>(path).is_ok());
    let metrics = b"{\"update\": 1, \"objective/kl\": 0.5}\n{\"update\": 2, \"objective/kl\": null}\n".to_vec();
    fuzz("metrics.jsonl", "metrics.jsonl", &[metrics], |path| read_metrics(path).is_ok());
    let evaluations = corpus(&["results/quickstart/runs/direct/evaluation.json"]);
    fuzz("evaluation.json", "evaluation.json", &evaluations, |path| read_json::<Evaluation>(path).is_ok());
}

/// A whole results directory with one damaged file: it is reported with what is left, and what is damaged is named.
#[test]
fn reports() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let from = root("results/quickstart");
    let files = [
        "manifest.json",
        "spec.toml",
        "runs/direct/evaluation.json",
        "runs/direct/samples.jsonl",
        "runs/labels_2k/evaluation.json",
        "runs/labels_2k/samples.jsonl",
    ];
    let originals: Vec<Vec<u8>> = files.iter().map(|name| fs::read(from.join(name)).expect("the file")).collect();
    for (name, bytes) in files.iter().zip(&originals) {
        let to = dir.path().join(name);
        fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        fs::write(to, bytes).expect("written");
    }
    for run in ["direct", "labels_2k"] {
        let metrics = dir.path().join("runs").join(run).join("metrics.jsonl");
        fs::write(metrics, "{\"objective/kl\": 0.5}\n").expect("written");
    }
    each_case("reports", |case| {
        let which = case as usize % files.len();
        let path = dir.path().join(files[which]);
        fs::write(&path, mutated(&originals[which..=which], case)).expect("written");
        let results = Results::load(dir.path()).expect("what is there");
        let tables = runner::report::tables::build(&results);
        assert!(!tables.is_empty(), "{}", files[which]);
        fs::write(&path, &originals[which]).expect("written");
        results.damaged.is_empty()
    });
}
