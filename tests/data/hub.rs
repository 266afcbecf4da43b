//! The hub client against the stand-in: cache, pins, tokens, offline use, transfers that break, and refusals.

use crate::stand_in_hub::{Fault, Seen, StandInHub, TOKEN, etag};
use runner::data::files;
use runner::data::formats::{Want, open};
use runner::data::hub::{Access, Hub, RepositoryKind, Token};
use runner::data::source::DataError;
use runner::spec::{ColumnsSpec, DataSpec, TextLines};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const DATASET: &str = "datasets/ada/posts";
const MODEL: &str = "models/ada/tiny";
const ROWS: &[u8] = b"{\"content\": \"one\"}\n{\"content\": \"two\"}\n";

/// A client of the stand-in, with a cache of its own.
struct Place {
    hub: StandInHub,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { hub: StandInHub::start(), dir: tempfile::tempdir().expect("a temporary directory") }
    }
    fn client(&self) -> Hub {
        Hub {
            endpoint: self.hub.endpoint(),
            cache: self.dir.path().to_path_buf(),
            token: None,
            access: Access::Network,
            datasets_offline: false,
            progress: false,
            backoff: Duration::from_millis(1),
            stop: None,
        }
    }
    fn with_token(&self) -> Hub {
        Hub { token: Token::new(TOKEN), ..self.client() }
    }
    fn offline(&self) -> Hub {
        Hub { access: Access::Offline("HF_HUB_OFFLINE"), endpoint: "http://127.0.0.1:9".into(), ..self.client() }
    }
    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// A large file of the data set that the other host sends, and its bytes.
    fn large(&self) -> Vec<u8> {
        let content: Vec<u8> = (0..1_000_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        self.hub.commit(DATASET, "main", &[("train.bin", &content)]);
        content
    }
    fn blobs(&self, repository: &str) -> BTreeSet<String> {
        let dir = self.folder(repository).join("blobs");
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        names.map(|e| e.file_name().into_string().expect("a name")).collect()
    }
}

fn get(hub: &Hub, name: &str) -> Result<Vec<u8>, DataError> {
    let snapshot = hub.snapshot("ada/posts", RepositoryKind::Dataset, None)?;
    let paths = hub.get(&snapshot, &[name.to_string()])?;
    Ok(fs::read(&paths[0]).expect("the file is there"))
}

fn message(result: Result<Vec<u8>, DataError>) -> String {
    result.expect_err("refused").to_string()
}

/// Byte ranges asked of the other host.
fn ranges(seen: &[Seen]) -> Vec<Option<String>> {
    seen.iter().filter(|s| s.path.starts_with("/cdn/")).map(|s| s.range.clone()).collect()
}

#[cfg(unix)]
#[test]
fn the_cache_is_laid_out_as_huggingface_hubs() {
    let place = Place::new();
    let weights: &[u8] = b"not really weights";
    let commit = place.hub.commit(
        MODEL,
        "main",
        &[("README.md", b"hi"), ("config.json", b"{}"), ("model.safetensors", weights), ("onnx/model.onnx", b"large")],
    );
    let (dir, found) = place.client().model("ada/tiny", None).expect("fetched");
    assert_eq!(
        (found.as_str(), &dir),
        (commit.as_str(), &place.folder("models--ada--tiny").join("snapshots").join(&commit))
    );
    let repository = place.folder("models--ada--tiny");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).expect("the branch"), commit);
    let sums = [etag("config.json", b"{}"), etag("model.safetensors", weights)];
    assert_eq!(place.blobs("models--ada--tiny"), sums.iter().cloned().collect(), "only what is needed, and no remains");
    for (name, sum) in ["config.json", "model.safetensors"].into_iter().zip(&sums) {
        assert_eq!(fs::read_link(dir.join(name)).expect("a link"), Path::new("../../blobs").join(sum));
    }
    assert_eq!(fs::read(dir.join("model.safetensors")).expect("the weights"), weights);
    place.hub.commit(DATASET, "main", &[("data/en/train 1.jsonl", ROWS)]);
    assert_eq!(get(&place.client(), "data/en/train 1.jsonl").expect("fetched"), ROWS);
    let snapshots = place.folder("datasets--ada--posts").join("snapshots");
    let commit = fs::read_to_string(place.folder("datasets--ada--posts").join("refs/main")).expect("the branch");
    let link = fs::read_link(snapshots.join(commit).join("data/en/train 1.jsonl")).expect("a link");
    assert_eq!(link, Path::new("../../../../blobs").join(etag("train 1.jsonl", ROWS)));
}

#[test]
fn what_is_cached_is_not_fetched_again() {
    let place = Place::new();
    let commit = place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS), ("b.jsonl", ROWS)]);
    get(&place.client(), "a.jsonl").expect("fetched");
    place.hub.seen();
    get(&place.client(), "a.jsonl").expect("cached");
    let paths: Vec<String> = place.hub.seen().into_iter().map(|s| s.path).collect();
    assert_eq!(paths, ["/api/datasets/ada/posts/revision/main"], "only what the branch means now");
    let pinned = place.client().snapshot("ada/posts", RepositoryKind::Dataset, Some(&commit)).expect("known");
    place.client().get(&pinned, &["a.jsonl".into()]).expect("cached");
    assert!(place.hub.seen().is_empty(), "a commit needs no request");
    get(&place.client(), "b.jsonl").expect("the same content under another name");
    assert!(place.hub.seen().iter().all(|s| s.range.is_none() || s.range.as_deref() == Some("bytes=0-0")));
    assert_eq!(place.blobs("datasets--ada--posts").len(), 1);
}

#[test]
fn revisions_are_branches_and_commits_and_a_commit_stays_what_it_was() {
    let place = Place::new();
    let old = place.hub.commit(DATASET, "main", &[("a.jsonl", b"\"old\"\n")]);
    place.hub.commit(DATASET, "refs/pr/1", &[("a.jsonl", b"\"proposed\"\n")]);
    let read = |revision: Option<&str>| {
        let hub = place.client();
        let snapshot = hub.snapshot("ada/posts", RepositoryKind::Dataset, revision).expect("there");
        let path = hub.get(&snapshot, &["a.jsonl".into()]).expect("fetched").remove(0);
        (snapshot.commit, fs::read_to_string(path).expect("text"))
    };
    assert_eq!(read(None), (old.clone(), "\"old\"\n".into()));
    let new = place.hub.commit(DATASET, "main", &[("a.jsonl", b"\"new\"\n")]);
    assert_eq!(read(Some(&old)), (old, "\"old\"\n".into()));
    assert_eq!(read(Some("main")), (new, "\"new\"\n".into()));
    assert_eq!(read(Some("refs/pr/1")).1, "\"proposed\"\n");
    let unknown =
        place.client().snapshot("ada/posts", RepositoryKind::Dataset, Some("mian")).expect_err("refused").to_string();
    assert!(unknown.contains("data set ada/posts: there is no revision \"mian\"; did you mean \"main\"?"), "{unknown}");
    let gone = "0".repeat(40);
    let unknown =
        place.client().snapshot("ada/posts", RepositoryKind::Dataset, Some(&gone)).expect_err("refused").to_string();
    assert!(unknown.contains(&format!("there is no revision {gone:?}")), "{unknown}");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let place = Place::new();
    let content = place.large();
    place.hub.make_private(DATASET);
    assert_eq!(get(&place.with_token(), "train.bin").expect("fetched"), content);
    let seen = place.hub.seen();
    let (elsewhere, hub): (Vec<_>, Vec<_>) = seen.into_iter().partition(|s| s.host.starts_with("localhost"));
    assert!(!hub.is_empty() && hub.iter().all(|s| s.authorization.as_deref() == Some("Bearer hf_stand_in")));
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|s| s.authorization.is_none()), "{elsewhere:?}");
}

#[test]
fn without_the_network_the_cache_is_enough_or_says_what_it_lacks() {
    let place = Place::new();
    let commit = place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS), ("b.jsonl", b"\"b\"\n")]);
    get(&place.client(), "a.jsonl").expect("fetched");
    place.hub.seen();
    assert_eq!(get(&place.offline(), "a.jsonl").expect("cached"), ROWS);
    let lacking = message(get(&place.offline(), "b.jsonl"));
    assert!(lacking.contains("b.jsonl is not in the cache") && lacking.contains("HF_HUB_OFFLINE is set"), "{lacking}");
    let looking = message(get(&place.client().cache_only(), "b.jsonl"));
    assert!(looking.contains("not in the cache") && looking.contains("a run fetches it"), "{looking}");
    let pinned = place.offline().snapshot("ada/posts", RepositoryKind::Dataset, Some(&commit)).expect("known");
    assert_eq!(pinned.names, ["a.jsonl", "b.jsonl"]);
    for (repo, revision) in [("ada/others", None), ("ada/posts", Some("v2")), ("ada/posts", Some(&*"0".repeat(40)))] {
        let error = place.offline().snapshot(repo, RepositoryKind::Dataset, revision).expect_err("not cached");
        assert!(error.is_wrong_input() && error.to_string().contains("it is not in the cache"), "{error}");
    }
    assert!(place.hub.seen().is_empty(), "nothing is asked");
    // Without HF_HUB_OFFLINE a hub that is away is one too, with a warning.
    let away = Hub { endpoint: "http://127.0.0.1:9".into(), ..place.client() };
    assert_eq!(get(&away, "a.jsonl").expect("cached"), ROWS);
    let error = get(&away, "b.jsonl").expect_err("not cached");
    assert!(!error.is_wrong_input() && error.to_string().contains("check the network"), "{error}");
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_was() {
    let place = Place::new();
    let content = place.large();
    place.hub.fault("/cdn/", 1, Fault::Drop(1_500_000));
    place.hub.fault("/cdn/", 1, Fault::Drop(500_000));
    assert_eq!(get(&place.client(), "train.bin").expect("fetched"), content);
    let wanted = [None, Some("bytes=1500000-".into()), Some("bytes=2000000-".into())];
    assert_eq!(ranges(&place.hub.seen()), wanted);
}

#[test]
fn what_an_earlier_run_got_is_kept() {
    let place = Place::new();
    let content = place.large();
    place.hub.fault("/cdn/", 1, Fault::Drop(2_000_000));
    place.hub.fault("/cdn/", 4, Fault::Status(503, None));
    let error = get(&place.client(), "train.bin").expect_err("the hub stays away");
    assert!(!error.is_wrong_input() && error.to_string().contains("status 503"), "{error}");
    let partial =
        place.folder("datasets--ada--posts/blobs").join(format!("{}.incomplete", etag("train.bin", &content)));
    assert_eq!(fs::metadata(&partial).expect("the part").len(), 2_000_000);
    place.hub.seen();
    assert_eq!(get(&place.client(), "train.bin").expect("fetched"), content);
    assert_eq!(ranges(&place.hub.seen()), [Some("bytes=2000000-".into())]);
    assert!(!partial.exists());
}

#[test]
fn a_part_is_thrown_away_where_it_cannot_be_continued() {
    let place = Place::new();
    let content = place.large();
    let blob = place.folder("datasets--ada--posts/blobs").join(etag("train.bin", &content));
    let partial = blob.with_extension("incomplete");
    let start = |bytes: &[u8], asked: &[&str]| {
        fs::create_dir_all(blob.parent().expect("a folder")).expect("made");
        let _ = fs::remove_dir_all(place.folder("datasets--ada--posts/snapshots"));
        let _ = fs::remove_file(&blob);
        fs::write(&partial, bytes).expect("written");
        place.hub.seen();
        assert_eq!(get(&place.client(), "train.bin").expect("fetched"), content);
        let asked: Vec<_> = asked.iter().map(|range| (!range.is_empty()).then(|| range.to_string())).collect();
        assert_eq!(ranges(&place.hub.seen()), asked);
    };
    // Longer than the file; of other content; complete; and where the server sends the whole file nevertheless.
    start(&vec![0; content.len() + 1], &[""]);
    start(b"something else", &["bytes=14-", ""]);
    start(&content, &[]);
    place.hub.fault("/cdn/", 1, Fault::IgnoreRange);
    start(&content[..1000], &["bytes=1000-"]);
}

#[test]
fn content_with_a_wrong_check_sum_is_fetched_again_once() {
    let place = Place::new();
    let content = place.large();
    place.hub.fault("/cdn/", 1, Fault::Corrupt);
    assert_eq!(get(&place.client(), "train.bin").expect("fetched again"), content);
    let place = Place::new();
    place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS)]);
    // The first answer to a file's address tells its check sum.
    place.hub.fault("/resolve/", 1, Fault::Drop(1));
    place.hub.fault("/resolve/", 9, Fault::Corrupt);
    let error = get(&place.client(), "a.jsonl").expect_err("refused");
    assert!(error.to_string().contains("does not have the check sum") && !error.is_wrong_input(), "{error}");
    assert!(error.to_string().contains("data set ada/posts, file a.jsonl"), "{error}");
    assert!(place.blobs("datasets--ada--posts").is_empty(), "nothing of it stays");
}

#[test]
fn refusals_in_passing_are_waited_for() {
    let place = Place::new();
    place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS), ("empty.jsonl", b"")]);
    place.hub.fault("/api/", 2, Fault::Status(503, None));
    place.hub.fault("/resolve/", 1, Fault::Status(429, Some(0)));
    place.hub.fault("/resolve/", 1, Fault::Status(500, None));
    assert_eq!(get(&place.client(), "a.jsonl").expect("fetched"), ROWS);
    assert_eq!(place.hub.seen().len(), 7);
    place.hub.fault("/api/", 1, Fault::Status(429, Some(1)));
    let before = std::time::Instant::now();
    assert_eq!(get(&place.client(), "empty.jsonl").expect("fetched"), b"");
    assert!(before.elapsed() >= Duration::from_secs(1), "the hub says how long to wait");
    place.hub.fault("/api/", 5, Fault::Status(429, None));
    let error = get(&place.client(), "a.jsonl").expect_err("too often");
    assert!(!error.is_wrong_input() && error.to_string().contains("asks to slow down"), "{error}");
}

#[test]
fn a_stopped_transfer_ends_at_once() {
    let place = Place::new();
    place.large();
    let stopped = Hub { stop: Some(Arc::new(AtomicBool::new(true))), ..place.client() };
    assert!(message(get(&stopped, "train.bin")).ends_with("stopped"));
}

#[test]
fn ctrl_c_is_heard_while_a_server_is_silent_or_drips() {
    for (fault, parts) in [(Fault::Silent, &["/api/", "/resolve/", "/cdn/"][..]), (Fault::Drip, &["/api/", "/cdn/"])] {
        for part in parts {
            let place = Place::new();
            place.large();
            place.hub.fault(part, 9, fault.clone());
            let stop = Arc::new(AtomicBool::new(false));
            let slow = Hub { stop: Some(Arc::clone(&stop)), ..place.client() };
            let fetched = std::thread::spawn(move || get(&slow, "train.bin"));
            std::thread::sleep(Duration::from_millis(300));
            assert!(!fetched.is_finished(), "{fault:?} {part}");
            let asked = std::time::Instant::now();
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            let said = message(fetched.join().expect("no panic"));
            // Before the server ends its silence by itself.
            assert!(asked.elapsed() < Duration::from_millis(1600), "{fault:?} {part}: {:?}", asked.elapsed());
            assert!(said.ends_with("stopped"), "{fault:?} {part}: {said}");
        }
    }
}

#[test]
fn a_file_without_an_end_is_cut_off_at_the_size_it_was_to_have() {
    let place = Place::new();
    let content = place.large();
    place.hub.fault("/cdn/", 1, Fault::Endless);
    let error = get(&place.client(), "train.bin").expect_err("cut off");
    assert!(!error.is_wrong_input() && error.to_string().contains("more than the 4000000 bytes"), "{error}");
    let parts = fs::read_dir(place.folder("datasets--ada--posts/blobs")).expect("a folder").flatten();
    let stored: u64 = parts.map(|part| part.metadata().expect("a part").len()).sum();
    assert!(stored <= content.len() as u64, "{stored} bytes");
    assert_eq!(get(&place.client(), "train.bin").expect("fetched"), content);
}

#[test]
fn a_model_without_an_owner_is_fetched_and_cached_under_its_short_name() {
    let place = Place::new();
    let files: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", b"weights")];
    let commit = place.hub.commit("models/openai-community/gpt2", "main", &files);
    place.hub.own("gpt2", "openai-community");
    let (dir, found) = place.client().model("gpt2", None).expect("led to its owner");
    assert_eq!(found, commit);
    assert_eq!(dir, place.folder("models--gpt2/snapshots").join(&commit));
    assert_eq!(fs::read(dir.join("model.safetensors")).expect("linked"), b"weights");
    assert_eq!(place.offline().model("gpt2", None).expect("cached").0, dir);
}

#[test]
fn a_models_settings_are_fetched_with_it() {
    let place = Place::new();
    let names = ["generation_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer_config.json"];
    let mut files: Vec<(&str, &[u8])> = vec![("config.json", b"{}"), ("model.safetensors", b"weights")];
    files.extend(names.map(|name| (name, &b"{}"[..])));
    place.hub.commit(MODEL, "main", &files);
    let (dir, _) = place.client().model("ada/tiny", None).expect("fetched");
    assert!(names.iter().all(|name| dir.join(name).is_file()));
}

#[test]
fn who_waits_for_another_process_can_be_stopped() {
    let place = Place::new();
    let content = place.large();
    let lock = place.folder(".locks/datasets--ada--posts").join(format!("{}.lock", etag("train.bin", &content)));
    fs::create_dir_all(lock.parent().expect("a folder")).expect("made");
    let held = fs::File::create(&lock).expect("the lock");
    held.lock().expect("held");
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = Hub { stop: Some(Arc::clone(&stop)), ..place.client() };
    let fetched = std::thread::spawn(move || get(&waiting, "train.bin"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!fetched.is_finished());
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(message(fetched.join().expect("no panic")).ends_with("stopped"));
    drop(held);
    assert_eq!(get(&place.client(), "train.bin").expect("fetched"), content);
}

#[test]
fn answers_that_are_no_hubs_are_refused() {
    let place = Place::new();
    place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS)]);
    place.hub.fault("/api/", 1, Fault::Page);
    assert!(message(get(&place.client(), "a.jsonl")).contains("its answer is not the list of a repository"));
    place.hub.fault("/api/", 1, Fault::Nowhere);
    assert!(message(get(&place.client(), "a.jsonl")).contains("redirects to no address"));
    place.hub.fault("/resolve/", 1, Fault::Page);
    assert!(message(get(&place.client(), "a.jsonl")).contains("its answer has no etag"));
    place.hub.fault("/resolve/", 1, Fault::Nowhere);
    assert!(message(get(&place.client(), "a.jsonl")).contains("redirects to no address"));
    let wrong = get(&Hub { endpoint: "ftp://hub".into(), ..place.client() }, "a.jsonl").expect_err("refused");
    assert!(wrong.is_wrong_input() && wrong.to_string().contains("HF_ENDPOINT = \"ftp://hub\" is not an address"));
    let wrong = get(&Hub { token: Token::new("a\nb"), ..place.client() }, "a.jsonl").expect_err("refused");
    assert!(wrong.is_wrong_input() && wrong.to_string().contains("the token (HF_TOKEN) holds"), "{wrong}");
}

#[test]
fn repositories_that_cannot_be_had_say_why() {
    let place = Place::new();
    let error = get(&place.client(), "a.jsonl").expect_err("unknown");
    assert!(error.is_wrong_input(), "{error}");
    let text = error.to_string();
    assert!(text.contains("data set ada/posts: there is none of that name on http://127.0.0.1"), "{text}");
    assert!(text.contains("or it is private (then set HF_TOKEN)"), "{text}");
    place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS)]);
    place.hub.make_private(DATASET);
    let other = Hub { token: Token::new("hf_other"), ..place.client() };
    assert!(message(get(&other, "a.jsonl")).contains("not open to the token in use"));
    assert_eq!(get(&place.with_token(), "a.jsonl").expect("open to this token"), ROWS);
    let place = Place::new();
    place.hub.commit(DATASET, "main", &[("a.jsonl", ROWS)]);
    place.hub.make_gated(DATASET);
    let gated = message(get(&place.client(), "a.jsonl"));
    assert!(gated.contains(&format!("accept the licence on {}/datasets/ada/posts", place.hub.endpoint())), "{gated}");
    assert!(gated.contains("set HF_TOKEN"), "{gated}");
    let missing = message(get(&place.with_token(), "b.jsonl"));
    assert!(
        missing.contains("there is no file \"b.jsonl\"") && missing.contains("did you mean \"a.jsonl\"?"),
        "{missing}"
    );
    let outside = place.with_token().snapshot("ada/posts", RepositoryKind::Dataset, None).expect("there");
    for name in ["../x", "/etc/passwd"] {
        let error = place.with_token().get(&outside, &[name.into()]).expect_err("refused").to_string();
        assert!(error.contains("there is no file"), "{error}");
    }
    let pickled = place.hub.commit(MODEL, "main", &[("config.json", b"{}"), ("pytorch_model.bin", b"x")]);
    let error = place.client().model("ada/tiny", Some(&pickled)).expect_err("refused").to_string();
    assert!(error.contains("model ada/tiny") && error.contains("save_pretrained"), "{error}");
}

#[test]
fn a_data_set_is_read_by_its_splits_and_columns() {
    let place = Place::new();
    let parquet = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data/parquet/snappy.parquet"));
    let parquet = parquet.expect("the fixture");
    let files: &[(&str, &[u8])] = &[
        ("README.md", b"# Posts"),
        ("data/train-00000-of-00001.parquet", &parquet),
        ("data/test-00000-of-00001.parquet", &parquet),
    ];
    place.hub.commit(DATASET, "main", files);
    let spec = DataSpec { hf: Some("ada/posts".into()), ..DataSpec::default() };
    let found = files::resolve(&spec, Want::Documents, || Ok(place.client())).expect("fetched");
    let found = found.expect("files");
    assert!(found.train[0].ends_with("data/train-00000-of-00001.parquet") && found.train.len() == 1);
    assert!(found.held_out.expect("the test split")[0].ends_with("data/test-00000-of-00001.parquet"));
    let columns = ColumnsSpec { text: Some("contnet".into()), ..ColumnsSpec::default() };
    let error = open(&found.train[0], found.format, &columns, TextLines::default(), Want::Documents)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains(
            "there is no column \"contnet\" (columns.text); did you mean \"content\"? there are content, summary"
        ),
        "{error}"
    );
    let named = DataSpec { files: Some("data/trian-*.parquet".into()), ..spec };
    let error = files::resolve(&named, Want::Documents, || Ok(place.client())).expect_err("refused");
    assert!(error.to_string().contains("files = \"data/trian-*.parquet\" matches none of its files"), "{error}");
}

/// Our cache in Python's hands and the other way round. `PYTHON=venv/bin/python cargo test --test data -- --ignored`.
#[test]
#[ignore = "needs a Python with huggingface_hub, named by PYTHON"]
fn huggingface_hub_shares_the_cache() {
    let place = Place::new();
    place.hub.commit(MODEL, "main", &[("config.json", b"{}"), ("model.safetensors", b"weights")]);
    place.hub.commit(DATASET, "main", &[("data/a.jsonl", ROWS), ("b.jsonl", b"\"b\"\n")]);
    let python = |offline: &str, code: &str| {
        let output = std::process::Command::new(std::env::var("PYTHON").expect("PYTHON is set"))
            .args(["-c", code])
            .envs([("HF_HUB_OFFLINE", offline), ("HF_ENDPOINT", &place.hub.endpoint())])
            .env("HF_HUB_CACHE", place.dir.path())
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let (dir, _) = place.client().model("ada/tiny", None).expect("fetched");
    get(&place.client(), "data/a.jsonl").expect("fetched");
    place.hub.seen();
    let found = python(
        "1",
        "from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download\n\
         print(hf_hub_download('ada/tiny', 'model.safetensors'))\n\
         print(hf_hub_download('ada/posts', 'data/a.jsonl', repo_type='dataset'))\n\
         print(snapshot_download('ada/tiny'))\n\
         info = scan_cache_dir()\n\
         print(len(info.repos), len(info.warnings), info.warnings)",
    );
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found[0], dir.join("model.safetensors").display().to_string());
    assert!(found[1].ends_with("data/a.jsonl") && fs::read(found[1]).expect("the file") == ROWS);
    assert_eq!(found[2..], [dir.display().to_string().as_str(), "2 0 []"]);
    assert!(place.hub.seen().is_empty(), "Python asked for nothing");
    python(
        "0",
        "from huggingface_hub import hf_hub_download\nhf_hub_download('ada/posts', 'b.jsonl', repo_type='dataset')",
    );
    place.hub.seen();
    assert_eq!(get(&place.offline(), "b.jsonl").expect("Python's file"), b"\"b\"\n");
}
