//! Files through the program: every format gives the same documents, and what is missing, empty, damaged or of another
//! kind is refused with its place, a remedy and exit code 2.

use assert_cmd::Command;
use flate2::{Compression, write::GzEncoder};
use runner::data::source::documents;
use runner::spec::{ColumnsSpec, DataSpec};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/quickstart.toml");
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data");

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    }
    /// The quickstart's smoke profile with settings of its own: standard error and the exit code.
    fn run(&self, settings: &[&str]) -> (String, i32) {
        let _ = fs::remove_dir_all(self.path("out"));
        let mut command = Command::cargo_bin("runner").expect("the program");
        command.current_dir(self.0.path()).env_remove("RUNNER_CACHE").env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.args([SPEC, "--profile", "smoke", "--device", "cpu", "--out", "out"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = command.output().expect("it runs");
        (String::from_utf8(output.stderr).expect("text"), output.status.code().expect("an exit code"))
    }
    fn refused(&self, settings: &[&str], wanted: &[&str]) {
        let (text, code) = self.run(settings);
        assert!(
            code == 2 && wanted.iter().all(|w| text.contains(w)),
            "{settings:?}: exit {code}, {wanted:?} in\n{text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    }
}

fn gzip(content: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_bytes()).expect("packed");
    encoder.finish().expect("packed")
}

#[cfg(unix)]
#[test]
fn a_pipe_among_the_files_is_refused_and_not_waited_for() {
    let place = Place::new();
    let documents: String = (0..40).map(|i| format!("{{\"text\": \"Text number {i} is here.\"}}\n")).collect();
    place.write("data/a.jsonl", documents);
    assert!(std::process::Command::new("mkfifo").arg(place.path("data/b.jsonl")).status().expect("made").success());
    place.refused(&["task.data.path=data"], &["b.jsonl", "is a pipe or device"]);
}

#[test]
fn every_format_gives_the_same_documents() {
    let place = Place::new();
    let text = |i: usize| {
        format!("Ann {} saw the house. Ben walked home to \"{i}\", slowly. The rain was old.", "very ".repeat(i % 5))
    };
    let all: Vec<String> = (0..40).map(text).collect();
    let each = |line: &dyn Fn(&String) -> String| all.iter().map(line).collect::<String>();
    let quoted = |t: &String| format!("\"{}\"", t.replace('"', "\"\""));
    let lines = each(&|t| format!("{}\n", json!({ "id": 1, "text": t })));
    place.write("a.jsonl", &lines);
    place.write("b.jsonl.gz", gzip(&lines));
    place.write("c.json", json!(all.iter().map(|t| json!({ "passage": t })).collect::<Vec<_>>()).to_string());
    place.write("strings.json", json!(all).to_string());
    place.write("d.csv", format!("\u{feff}id,story\r\n{}", each(&|t| format!("7,{}\r\n", quoted(t)))));
    place.write("e.tsv", format!("text\tid\n{}", each(&|t| format!("{t}\t7\n"))));
    place.write("parts/x-1.jsonl", each(&|t| format!("{}\n", json!(t))));
    place.write("parts/notes.md", "not data");
    for (path, files, column) in [
        ("a.jsonl", None, None),
        ("b.jsonl.gz", None, None),
        ("c.json", None, None),
        ("strings.json", None, None),
        ("d.csv", None, Some("story")),
        ("e.tsv", None, None),
        ("parts", None, None),
        ("parts", Some("x-*.jsonl"), None),
    ] {
        let own = |text: &str| Some(text.to_string());
        let columns = ColumnsSpec { text: column.and_then(own), ..ColumnsSpec::default() };
        let path = Some(place.path(path).display().to_string());
        let spec = DataSpec { path, files: files.and_then(own), columns, ..DataSpec::default() };
        let found = documents(&spec, 0, 0).unwrap_or_else(|e| panic!("{e}")).train;
        assert_eq!(found.into_iter().map(|d| d.text).collect::<Vec<_>>(), all, "{spec:?}");
    }
    let (text, code) = place.run(&["task.data.path=d.csv", "task.data.columns.text=story", "policy.episodes=8"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn files_that_cannot_be_read_say_where_and_what_to_do() {
    let place = Place::new();
    let good = json!({ "text": "A cat sat." }).to_string();
    let cut = json!([{ "text": "x" }, { "text": "y" }]).to_string();
    let files: &[(&str, &[u8], &[&str])] = &[
        ("empty.jsonl", b"", &["empty.jsonl: is empty"]),
        ("empty.csv", b"", &["empty.csv: is empty"]),
        ("empty.tsv", b"", &["empty.tsv: is empty"]),
        ("empty.json", b"", &["empty.json: is empty"]),
        ("empty.txt", b" \n\n", &["empty.txt: is empty"]),
        ("empty.parquet", b"", &["empty.parquet: is empty"]),
        ("x.story", b"", &["x.story: is empty"]),
        ("header.csv", b"id,text\n", &["header.csv: has no rows"]),
        ("x.dat", b"hello", &["the format of \"x.dat\" is not known from its name; add format = "]),
        ("latin1.txt", b"caf\xe9", &["latin1.txt: not UTF-8 at byte 3", "iconv"]),
        ("latin1.csv", b"id,text\n0,ok\n1,caf\xe9\n", &["latin1.csv:3: cell 2 is not UTF-8", "iconv"]),
        ("latin1.jsonl", b"\"caf\xe9\"\n", &["latin1.jsonl:1: not UTF-8 at byte 4", "iconv"]),
        ("latin1.json", b"[\"caf\xe9\"]", &["latin1.json:1:"]),
        ("utf16.csv", b"\xff\xfei\0d\0", &["utf16.csv: is UTF-16; convert it with iconv"]),
        ("nul.txt", b"a\0b", &["nul.txt: contains NUL bytes"]),
        ("words.csv", b"contnet\nx\n", &["words.csv:1: no column for the text", "name one with columns.text"]),
        ("page.csv", b"<html>Log in</html>\n", &["page.csv:1: no column for the text"]),
        ("quote.csv", b"id,text\n1,\"x\n2,y\n", &["quote.csv:2: a quote is opened in this row and never closed"]),
        ("cells.csv", b"id,text\n1,x,y\n", &["cells.csv:2: 3 cells", "put text with separators in quotes"]),
        ("half.jsonl", b"\"one\"\n\"two\n", &["half.jsonl:2:", "not JSON", "a record is one line"]),
        ("pretty.json", b"{\n \"text\": \"x\"\n}\n", &["pretty.json:1:1: not JSON", "an array over many lines"]),
        ("cut.json", &cut.as_bytes()[..cut.len() - 3], &["cut.json:1:", "the file ends", "it is truncated"]),
        ("number.jsonl", b"{\"text\": 3}\n", &["number.jsonl:1: \"text\" is a number, not text"]),
        ("deep.json", &[b'['; 100_000], &["deep.json:1:", "inside entry 1"]),
        ("lfs.jsonl", LFS, &["lfs.jsonl: is a git-lfs pointer, not the file of 9 bytes: run `git lfs pull`"]),
        ("lfs.parquet", LFS, &["lfs.parquet: is a git-lfs pointer"]),
        ("page.parquet", b"<html>Log in</html>", &["page.parquet: not a complete Parquet file", "fetch it again"]),
        ("page.jsonl.gz", b"<html>Log in</html>", &["page.jsonl.gz:1:1: not JSON"]),
        ("one.jsonl", good.as_bytes(), &["task.data: only 1 documents; at least 20 are needed"]),
        ("few.tsv", b"good\t1\nbad\t0\n", &["task.data: only 2 documents"]),
    ];
    for (name, content, wanted) in files {
        place.write(name, content);
        place.refused(&[&format!("task.data.path={name}")], wanted);
    }
    place.refused(&["task.data.path=gone.csv"], &["there is no file or folder \"gone.csv\""]);
    let long = format!("{}\n{good}\n", json!({ "text": "word ".repeat(2_000_000) }));
    place.write("long.jsonl", long);
    place.refused(&["task.data.path=long.jsonl"], &["only 2 documents"]);
}

#[test]
fn folders_and_columns_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.write("mixed/a.csv", "text\nx\n");
    place.write("mixed/b.jsonl", "\"x\"\n");
    place.write("two/a.jsonl", "{\"text\": \"x\"}\n");
    place.write("two/b.jsonl", "{\"content\": \"x\"}\n");
    place.write("a.csv", "content,id\nx,1\n");
    fs::create_dir(place.path("none")).expect("made");
    for (settings, wanted) in [
        (&["task.data.path=none"][..], &["none: holds no file"][..]),
        (&["task.data.path=mixed"], &["\"mixed\" holds files of several formats"]),
        (&["task.data.path=mixed", "task.data.files=*.tsv"], &["matches none of its files: a.csv, b.jsonl"]),
        (
            &["task.data.path=mixed", "task.data.files=*.csv", "task.data.held_out_files=*"],
            &["only files that are held out"],
        ),
        (&["task.data.path=two"], &["two/b.jsonl: is read by the columns \"content\"", "name them with columns"]),
        (&["task.data.path=a.csv", "task.data.files=*.csv"], &["a.csv is one file; a pattern chooses from a folder"]),
        (
            &["task.data.path=a.csv", "task.data.columns.text=contnet"],
            &["a.csv:1: there is no column \"contnet\"", "did you mean \"content\"?"],
        ),
        (
            &["task.data.path=a.csv", "task.data.columns.txt=content"],
            &["task.data.columns.txt: unknown key; did you mean \"text\"?"],
        ),
        (&["task.data.path=a.csv", "task.data.format=jsonl"], &["a.csv:1:1: not JSON"]),
        (&["task.data.path=a.csv", "task.data.format=parquet"], &["a.csv: not a complete Parquet file"]),
        (&["task.data.hf=a--b"], &["\"a--b\" is not a name on the hub; it has the form owner/name"]),
    ] {
        place.refused(settings, wanted);
    }
}

#[test]
fn reviews_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.write("seven.tsv", "good\t1\nbad\t7\n");
    place.write("no_tab.tsv", "good\t1\nbad\n");
    place.write("few.csv", "text,label\nx,1\ny,0\n");
    place.write("words.csv", "text,label\nx,1\ny,maybe\n");
    place.write("no_label.csv", "text\nx\n");
    place.write("a.txt", "good");
    for (name, wanted) in [
        ("seven.tsv", "seven.tsv:2: label 7; expected 0 or 1, 1 to 5 stars, or positive/negative"),
        ("no_tab.tsv", "no_tab.tsv:2: no tab; expected text, tab, label"),
        ("few.csv", "only 1 reviews in the smaller class; at least 5 of each are needed"),
        ("words.csv", "words.csv:3: label \"maybe\"; expected 0 or 1"),
        ("no_label.csv", "no_label.csv:1: no column for the label"),
        ("a.txt", "reviews need labels, and \"a.txt\" is plain text"),
    ] {
        place.refused(&[&format!("labeler.reviews.path={name}")], &[wanted]);
    }
    let parquet = Path::new(FIXTURES).join("parquet/label_words.parquet");
    fs::copy(parquet, place.path("reviews.parquet")).expect("copied");
    place.refused(
        &["labeler.reviews.path=reviews.parquet", "labeler.reviews.columns.label=lable"],
        &["there is no column \"lable\" (columns.label); did you mean \"label\"?"],
    );
}
