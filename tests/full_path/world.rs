//! The world outside, in small: what `specs/sources.toml` names, on a server of this machine.
//!
//! - weights: a GPT-2 with its 50,257 tokens, 2 layers and 16 wide, in the hub's layout of `openai-community/gpt2`
//! - books: BookCorpus's converted Parquet files, one tokenised sentence per row
//! - TL;DR: JSON arrays of objects with `content`, `summary` and more
//! - CNN/Daily Mail, reviews: Parquet files of the hub's data sets
//! - the authors' models: TensorFlow checkpoints of the same GPT-2, with the released code's names and layout
//! - labels: the authors' JSON arrays of GPT-2 token ids with 50259 as padding, on both places

use super::stand_in_hub::StandInHub;
use super::tensorflow_bundle::{Variable, bundle};
use assert_cmd::Command;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use runner::data::{articles, posts, reviews, storyworld};
use runner::model::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The released files' padding, which is no token of GPT-2.
const PADDING: u32 = 50_259;
/// Labels per file: enough for 40 training and 8 held-out ones.
const LABELS: usize = 60;

/// A column of a Parquet file.
enum Column<'a> {
    Text(&'a str, Vec<String>),
    Number(&'a str, Vec<i64>),
}

fn parquet(columns: &[Column<'_>]) -> Vec<u8> {
    let fields: String = columns
        .iter()
        .map(|column| match column {
            Column::Text(name, _) => format!("required binary {name} (UTF8);"),
            Column::Number(name, _) => format!("required int64 {name};"),
        })
        .collect();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {fields} }}")).expect("a schema"));
    let mut out = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut out, schema, Arc::new(WriterProperties::default())).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    for column in columns {
        let mut open = group.next_column().expect("a column").expect("one more column");
        match column {
            Column::Text(_, rows) => {
                let rows: Vec<ByteArray> = rows.iter().map(|row| row.as_str().into()).collect();
                open.typed::<ByteArrayType>().write_batch(&rows, None, None).expect("written");
            }
            Column::Number(_, rows) => {
                open.typed::<Int64Type>().write_batch(rows, None, None).expect("written");
            }
        }
        open.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");
    out
}

/// Sentences as BookCorpus has them: lower case, punctuation apart.
fn sentences(rng: &mut ChaCha8Rng, passages: usize) -> Vec<String> {
    let apart = |sentence: &str| format!("{} .", sentence.trim().to_lowercase().replace(',', " ,").replace('"', "``"));
    let text: Vec<String> = (0..passages).map(|_| storyworld::passage(rng)).collect();
    text.iter().flat_map(|passage| passage.split('.')).filter(|s| s.trim().len() > 3).map(apart).collect()
}

/// The model directory that stands for GPT-2: made once by the program itself.
fn model() -> &'static [(String, Vec<u8>)] {
    static MODEL: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let spec = r#"
            spec_version = 1
            name = "gpt2"
            [model]
            dimensions = { layers = 2, heads = 2, width = 16, context = 1024 }
            weights = { pretrain = { tokenizer = "gpt2", passages = 300, steps = 4, batch_size = 4, sequence_length = 64 } }
            [task]
            data = { synthetic = "storyworld" }
            query_rule = "sentences"
            query_length = 16
            query_min_length = 4
            response_length = 8
            truncate_after = 2
            [labeler]
            reviews = { synthetic = "reviews" }
            classifier = { dimensions = { layers = 1, heads = 1, width = 8, context = 32 }, reviews = 100, steps = 1, batch_size = 4 }
            [collect]
            schedule = "direct"
            [policy]
            episodes = 8
            batch_size = 8
            [reward]
            normalize_samples = 8
            [evaluate]
            queries = 4
            optimum_queries = 2
            optimum_samples = 2
            samples = 1
        "#;
        fs::write(dir.path().join("spec.toml"), spec).expect("written");
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(dir.path()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG");
        command.args(["spec.toml", "--device", "cpu", "--out", "out", "--no-progress"]).assert().success();
        let made = dir.path().join("out/models/reference");
        let files = fs::read_dir(made).expect("a model").map(|entry| entry.expect("an entry").path());
        files.map(|path| (name_of(&path), fs::read(&path).expect("a file"))).collect()
    })
}

/// The model's variables by the released code's names, all weights times a factor.
fn trunk(prefix: &str, factor: f32) -> Vec<Variable> {
    let (_, bytes) = model().iter().find(|(name, _)| name == "model.safetensors").expect("weights");
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let theirs = |name: &str| {
        let name = name.replace(".attn.", "/attn/").replace(".mlp.", "/mlp/").replace(".ln_", "/ln_");
        let (name, part) = name.rsplit_once('.').expect("a weight");
        let norm = name.contains("ln_");
        let part = match (part, norm) {
            ("bias", _) => "/b",
            (_, true) => "/g",
            _ if name == "wte" || name == "wpe" => "",
            _ => "/w",
        };
        format!("{prefix}{}{part}", name.replace("h.", "h"))
    };
    let variable = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let values = view.data().chunks_exact(4).map(|c| factor * f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        let is_linear = view.shape().len() == 2 && !name.starts_with('w');
        let shape = if is_linear { [&[1], view.shape()].concat() } else { view.shape().to_vec() };
        (theirs(name), shape, values.collect())
    };
    file.iter().map(variable).collect()
}

/// A checkpoint as train_policy.py or train_reward.py leaves it: the model with its head, another one, counters.
fn released(scope: &str, factor: f32) -> Vec<Variable> {
    let mut all = trunk(&format!("{scope}/model/"), factor);
    let head = if scope == "policy" { "value" } else { "reward" };
    all.push((format!("{scope}/model/heads/{head}/w"), vec![16], (0..16).map(|i| (i as f32 - 7.5) / 8.0).collect()));
    all.push((format!("{scope}/model/heads/{head}/b"), vec![], vec![0.25]));
    all.push(("ref_policy/model/wte".into(), vec![1, 1], vec![0.0]));
    all.push((format!("{scope}/model/ln_f/g/adam"), vec![16], vec![0.0; 16]));
    if scope == "reward_model" {
        all.push(("reward_model/reward_norm/gain".into(), vec![], vec![2.0]));
        all.push(("reward_model/reward_norm/bias".into(), vec![], vec![-0.5]));
    }
    all
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn tokenizer() -> Tokenizer {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in model() {
        fs::write(dir.path().join(name), bytes).expect("written");
    }
    Tokenizer::load(dir.path()).expect("GPT-2's tokenizer")
}

/// Labels in the authors' format: queries and samples padded to the task's lengths.
fn labels(texts: &[String], query: usize, response: usize, end: &str) -> Vec<u8> {
    let tokenizer = tokenizer();
    let padded = |text: &str, length: usize| {
        let mut ids = tokenizer.encode(text).expect("ids");
        ids.truncate(length);
        ids.resize(length, PADDING);
        ids
    };
    let all: Vec<Value> = (0..LABELS)
        .map(|i| {
            let text = &texts[i % texts.len()];
            let sample = |k: usize| padded(&format!(" {}{end}", texts[(i + k + 1) % texts.len()]), response);
            let best = i % 4;
            json!({ "query": padded(text, query), "sample0": sample(0), "sample1": sample(1), "sample2": sample(2),
                "sample3": sample(3), "best": best })
        })
        .collect();
    serde_json::to_vec(&all).expect("JSON")
}

/// The server, and a sources.toml that leads every address to it.
pub struct World {
    pub server: StandInHub,
    pub dir: tempfile::TempDir,
    labels: BTreeMap<&'static str, Vec<u8>>,
}

impl World {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The labels of a task as the server has them.
    pub fn labels(&self, task: &str) -> Vec<u8> {
        self.labels[task].clone()
    }

    /// The program in the world's directory, with caches of its own.
    pub fn runner(&self) -> Command {
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.dir.path()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            command.env_remove(name);
        }
        for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_HOME", self.path("hf"));
        command.env("RUNNER_SOURCES", self.path("sources")).env("RUNNER_CACHE", self.path("cache"));
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    pub fn new() -> Self {
        let server = StandInHub::start();
        let dir = tempfile::tempdir().expect("a directory");
        let openai = "https://openaipublic.blob.core.windows.net";
        let mirrors = format!("sources_version = 1\n[mirrors]\n\"{openai}\" = \"{}/plain\"\n", server.endpoint());
        fs::write(dir.path().join("sources.toml"), mirrors).expect("written");
        let mut world = Self { server, dir, labels: BTreeMap::new() };
        world.put_weights();
        world.put_released();
        world.put_texts();
        world
    }

    fn put_weights(&self) {
        let files: Vec<(&str, &[u8])> = model().iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        for name in ["gpt2", "gpt2-large"] {
            self.server.commit(&format!("models/openai-community/{name}"), "main", &files);
        }
    }

    /// `runs/TASK/policy`, `runs/TASK/reward_model` and GPT-2's own, under the addresses that `specs/sources.toml` has.
    fn put_released(&self) {
        let hparams = json!({ "n_vocab": 50_257, "n_ctx": 1024, "n_embd": 16, "n_head": 2, "n_layer": 2 }).to_string();
        let put = |at: &str, below: &str, name: &str, variables: Vec<Variable>| {
            let (index, data) = bundle(variables);
            let put = |file: &str, bytes: &[u8]| self.server.plain(&format!("{at}/{file}"), bytes);
            put("hparams.json", hparams.as_bytes());
            put(&format!("{below}checkpoint"), format!("model_checkpoint_path: \"{name}\"\n").as_bytes());
            put(&format!("{below}{name}.index"), &index);
            put(&format!("{below}{name}.data-00000-of-00001"), &data);
        };
        for (i, task) in ["sentiment", "descriptiveness", "tldr", "cnndm"].into_iter().enumerate() {
            let runs = format!("lm-human-preferences/runs/{task}");
            for (kind, scope, name) in
                [("policy", "policy", "model.ckpt-1954"), ("reward_model", "reward_model", "model.ckpt")]
            {
                put(&format!("{runs}/{kind}"), "checkpoints/", name, released(scope, 1.0 + 0.1 * i as f32));
                self.server.plain(&format!("{runs}/{kind}/encoding"), b"\"main\"");
            }
        }
        put("gpt-2/models/124M", "", "model.ckpt", trunk("model/", 1.0));
    }

    fn put_texts(&mut self) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let books = sentences(&mut rng, 600);
        let stories: Vec<String> = (0..64).map(|_| storyworld::passage(&mut rng)).collect();
        self.server.commit(
            "datasets/bookcorpus/bookcorpus",
            "refs/convert/parquet",
            &[("plain_text/train/0000.parquet", &parquet(&[Column::Text("text", books)]))],
        );
        let news: Vec<_> = (0..260).map(|_| articles::article(&mut rng)).collect();
        let of = |range: std::ops::Range<usize>| {
            let rows = || news[range.clone()].iter();
            parquet(&[
                Column::Text("article", rows().map(|d| d.text.clone()).collect()),
                Column::Text("highlights", rows().map(|d| d.summary.clone().unwrap_or_default()).collect()),
                Column::Text("id", range.clone().map(|i| format!("{i:040x}")).collect()),
            ])
        };
        self.server.commit(
            "datasets/abisee/cnn_dailymail",
            "main",
            &[
                ("3.0.0/train-00000-of-00003.parquet", &of(0..100)),
                ("3.0.0/train-00001-of-00003.parquet", &of(100..150)),
                ("3.0.0/train-00002-of-00003.parquet", &of(150..200)),
                ("3.0.0/validation-00000-of-00001.parquet", &of(200..210)),
                ("3.0.0/test-00000-of-00001.parquet", &of(210..260)),
                ("README.md", b"# CNN/DailyMail"),
            ],
        );
        let rated: Vec<_> = (0..400).map(|_| reviews::review(&mut rng)).filter(|r| r.stars != 3).collect();
        let polarity = parquet(&[
            Column::Number("label", rated.iter().map(|r| i64::from(r.stars > 3)).collect()),
            Column::Text("title", rated.iter().map(|_| "A title".to_string()).collect()),
            Column::Text("content", rated.iter().map(|r| r.text.clone()).collect()),
        ]);
        self.server.commit(
            "datasets/fancyzhx/amazon_polarity",
            "main",
            &[("amazon_polarity/train-00000-of-00004.parquet", &polarity)],
        );
        let reddit: Vec<_> = (0..300).map(|_| posts::post(&mut rng)).collect();
        let array = |range: std::ops::Range<usize>| {
            let row = |i: usize| {
                let d = &reddit[i];
                json!({ "id": format!("t3_{i}"), "subreddit": "tifu", "content": d.text, "summary": d.summary })
            };
            serde_json::to_vec(&range.map(row).collect::<Vec<_>>()).expect("JSON")
        };
        let server = &self.server;
        let put = |name: &str, bytes: &[u8]| server.plain(&format!("lm-human-preferences/{name}"), bytes);
        put("tldr/train-subset.json", &array(0..200));
        put("tldr/valid-subset.json", &array(200..300));
        let posts: Vec<String> = reddit.iter().map(|d| d.text.clone()).collect();
        let news: Vec<String> = news.iter().map(|d| d.text.clone()).collect();
        for (task, texts, query, response, end, files) in [
            ("sentiment", &stories, 64, 24, ".", &["offline_5k"][..]),
            ("descriptiveness", &stories, 64, 24, ".", &["offline_5k"][..]),
            ("tldr", &posts, 500, 75, "\n", &["offline_60k", "online_45k"][..]),
            ("cnndm", &news, 500, 75, "\n", &["offline_60k", "online_45k"][..]),
        ] {
            let file = labels(texts, query, response, end);
            self.labels.insert(task, file.clone());
            for name in files {
                put(&format!("labels/{task}/{name}.json"), &file);
            }
        }
        // The second place of the labels, with only one of them: enough to show that it is tried.
        let mirror = labels(&stories, 64, 24, ".");
        self.server.commit("datasets/vwxyzjn/lm-human-preferences", "main", &[("sentiment/offline_5k.json", &mirror)]);
    }
}
