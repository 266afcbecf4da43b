//! Every format on files that other programs wrote (tests/fixtures/make_data.py), and on broken ones.

use super::*;
use crate::spec::names::format_of;
use serde_json::Value;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)
}

fn columns(text: &str, summary: Option<&str>, label: Option<&str>) -> ColumnsSpec {
    let own = |name: &str| Some(name.to_string());
    ColumnsSpec { text: own(text), summary: summary.and_then(own), label: label.and_then(own) }
}

fn read(path: &Path, columns: &ColumnsSpec, want: Want) -> Result<Vec<Record>, DataError> {
    let format = format_of(&path.file_name().unwrap().to_string_lossy()).unwrap();
    open(path, format, columns, TextLines::Wrapped, want)?.collect()
}

fn documents(path: &Path) -> Vec<(String, Option<String>)> {
    let records = read(path, &ColumnsSpec::default(), Want::Documents).unwrap();
    records.into_iter().map(|r| (r.text, r.summary)).collect()
}

/// The message for a file of this name and content.
fn message(name: &str, content: &[u8], columns: &ColumnsSpec, want: Want) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    let error = read(&path, columns, want).expect_err(name).to_string();
    error.replace(&format!("{}/", dir.path().display()), "")
}

fn parsed(name: &str, content: &str, want: Want) -> Vec<Record> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path, &ColumnsSpec::default(), want).unwrap()
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

/// Two columns of what pyarrow reads.
fn pairs(rows: &Value, text: &str, summary: &str) -> Vec<(String, Option<String>)> {
    let own = |v: &Value| v.as_str().map(str::to_string);
    rows.as_array()
        .unwrap()
        .iter()
        .map(|r| (own(r.pointer(text).unwrap()).unwrap(), own(r.pointer(summary).unwrap_or(&Value::Null))))
        .collect()
}

fn posts() -> Vec<(String, Option<String>)> {
    pairs(&expected()["none.parquet"], "/content", "/summary")
}

#[test]
fn parquet_of_every_compression_is_what_pyarrow_reads() {
    for name in ["none", "snappy", "zstd", "gzip", "lz4"] {
        assert_eq!(documents(&fixture(&format!("parquet/{name}.parquet"))), posts(), "{name}");
    }
    let groups = documents(&fixture("parquet/groups.parquet"));
    let article = |i: usize| (format!("Article {i}. ").repeat(i % 7 + 1), Some(format!("H {i}\nand more")));
    assert_eq!(groups, (0..1000).map(article).collect::<Vec<_>>());
    assert_eq!(documents(&fixture("parquet/large.parquet")), pairs(&expected()["large.parquet"], "/text", ""));
    assert_eq!(documents(&fixture("parquet/dictionary.parquet")).len(), 5);
}

#[test]
fn nested_columns_are_named_with_a_full_stop() {
    let named = columns("post.body", Some("post.meta.title"), None);
    let records = read(&fixture("parquet/nested.parquet"), &named, Want::Documents).unwrap();
    let found: Vec<_> = records.into_iter().map(|r| (r.text, r.summary)).collect();
    assert_eq!(found, pairs(&expected()["nested.parquet"], "/post/body", "/post/meta/title"));
    let error = read(&fixture("parquet/nested.parquet"), &ColumnsSpec::default(), Want::Documents).unwrap_err();
    assert!(error.to_string().contains("there are post.body, post.meta.title, post.meta.score: name one"), "{error}");
    let error = read(&fixture("parquet/nested.parquet"), &columns("tags", None, None), Want::Documents).unwrap_err();
    assert!(error.to_string().contains("there is no column \"tags\" (columns.text)"), "{error}");
}

#[test]
fn labels_of_every_type_are_read() {
    for name in ["int8", "int64", "uint8", "float32", "float64", "bool", "words"] {
        let path = fixture(&format!("parquet/label_{name}.parquet"));
        let labels: Vec<f64> =
            read(&path, &ColumnsSpec::default(), Want::Reviews).unwrap().iter().filter_map(|r| r.label).collect();
        assert_eq!(labels, (0..12).map(|i| f64::from(i % 2)).collect::<Vec<_>>(), "{name}");
    }
    let stars = read(&fixture("parquet/stars.parquet"), &ColumnsSpec::default(), Want::Reviews).unwrap();
    assert_eq!((stars[4].text.as_str(), stars[4].label), ("5 stars", Some(5.0)));
}

#[test]
fn parquet_that_cannot_be_read_says_why() {
    let error = |name: &str| {
        let path = fixture(&format!("parquet/{name}.parquet"));
        read(&path, &columns(if name == "null_struct" { "post.body" } else { "text" }, None, None), Want::Documents)
            .unwrap_err()
            .to_string()
    };
    assert!(error("empty").ends_with("empty.parquet: is empty"), "{}", error("empty"));
    assert!(error("numbers").ends_with("column \"text\" holds INT64, not text"), "{}", error("numbers"));
    assert!(error("null_text").ends_with("row 2: \"text\" is null; leave such rows out"), "{}", error("null_text"));
    assert!(
        error("null_struct").ends_with("row 2: \"post.body\" is null; leave such rows out"),
        "{}",
        error("null_struct")
    );
    assert!(
        error("not_utf8").ends_with("row 2: \"text\" is not UTF-8 at byte 0 of the value"),
        "{}",
        error("not_utf8")
    );
    let brotli =
        read(&fixture("parquet/brotli.parquet"), &ColumnsSpec::default(), Want::Documents).unwrap_err().to_string();
    assert!(brotli.contains("row 1: ") && brotli.contains("brotli"), "{brotli}");
    let missing =
        read(&fixture("parquet/large.parquet"), &columns("body", None, None), Want::Documents).unwrap_err().to_string();
    assert!(missing.ends_with("there is no column \"body\" (columns.text); there are text, id"), "{missing}");
    let label =
        read(&fixture("parquet/snappy.parquet"), &ColumnsSpec::default(), Want::Reviews).unwrap_err().to_string();
    assert!(label.contains("no column for the label: none of label, overall"), "{label}");
    assert_eq!(message("x.parquet", b"", &ColumnsSpec::default(), Want::Documents), "x.parquet: is empty");
    let lfs = b"version https://git-lfs.github.com/spec/v1\n";
    assert!(message("x.parquet", lfs, &ColumnsSpec::default(), Want::Documents).contains("is a git-lfs pointer"));
}

/// A file that is cut or changed anywhere is an error, or gives what is still there; it never stops the program.
#[test]
fn damaged_parquet_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    for name in ["snappy", "nested", "label_int8", "dictionary"] {
        let whole = std::fs::read(fixture(&format!("parquet/{name}.parquet"))).unwrap();
        let columns = if name == "nested" { columns("post.body", None, None) } else { ColumnsSpec::default() };
        for cut in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(read(&path, &columns, Want::Documents).is_err(), "{name} cut after {cut} bytes");
        }
        for at in 0..whole.len() {
            for change in [0xff, 0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                std::fs::write(&path, &bytes).unwrap();
                let _ = read(&path, &columns, Want::Documents);
            }
        }
    }
}

#[test]
fn csv_has_quotes_and_line_ends_in_cells() {
    let wanted = posts();
    assert_eq!(documents(&fixture("posts.csv")), wanted);
    assert_eq!(documents(&fixture("posts.csv.gz")), wanted);
    assert_eq!(documents(&fixture("bom.csv")), wanted);
    assert_eq!(documents(&fixture("posts.jsonl.gz")), wanted);
    // Cells of a spreadsheet's TSV are quoted as in CSV, and read so where the spec says it.
    let quoted =
        open(&fixture("posts.tsv"), DataFormat::Csv, &ColumnsSpec::default(), TextLines::Wrapped, Want::Documents);
    let quoted: Vec<Record> = quoted.unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(quoted.into_iter().map(|r| (r.text, r.summary)).collect::<Vec<_>>(), wanted);
}

#[test]
fn csv_that_is_broken_says_where() {
    let csv = |content: &str| message("x.csv", content.as_bytes(), &ColumnsSpec::default(), Want::Documents);
    assert_eq!(csv(""), "x.csv: is empty");
    assert!(
        csv("a,b\n1,2\n").starts_with("x.csv:1: no column for the text: none of text, content,"),
        "{}",
        csv("a,b\n1,2\n")
    );
    assert!(csv("a,b\n1,2\n").contains("there are a, b: name one with columns.text"));
    assert!(
        csv("id,text\n1,x\n2,y,z\n").starts_with("x.csv:3: 3 cells, and the rows before have 2"),
        "{}",
        csv("id,text\n1,x\n2,y,z\n")
    );
    let open = csv("id,text\n1,x\n2,\"never closed\n3,y\n4,z\n");
    assert!(open.starts_with("x.csv:3: a quote is opened in this row and never closed"), "{open}");
    assert_eq!(csv("id,text\n"), "x.csv: has no rows");
    assert!(csv("text,text\na,b\n").starts_with("x.csv:1: there are several columns \"text\""));
    let bytes = message("x.csv", b"id,text\n1,x\n2,\xff\n", &ColumnsSpec::default(), Want::Documents);
    assert!(bytes.starts_with("x.csv:3: cell 2 is not UTF-8; convert"), "{bytes}");
    let label = message("x.csv", b"text,label\nx,1\ny,best\n", &ColumnsSpec::default(), Want::Reviews);
    assert_eq!(label, "x.csv:3: label \"best\"; expected 0 or 1, 1 to 5 stars, or positive/negative");
    let gone = message("x.csv", b"text,label\nx,1\n", &columns("body", None, None), Want::Reviews);
    assert!(gone.starts_with("x.csv:1: there is no column \"body\" (columns.text); there are text, label"), "{gone}");
}

/// The first report of all 60 rows said 42: a quote at the start of a cell took the rows up to the next one along.
#[test]
fn quotes_in_a_tsv_with_a_header_glue_no_rows() {
    let tsv = "id\ttext\n0\tplain\n1\t\"open\n2\tx\n3\t\"quoted\"\n4\tclosed\"\n";
    let texts: Vec<String> = parsed("x.tsv", tsv, Want::Documents).into_iter().map(|r| r.text).collect();
    assert_eq!(texts, ["plain", "\"open", "x", "\"quoted\"", "closed\""]);
    let bare = tsv.replacen("id\ttext\n", "", 1).replace('\t', " \t");
    assert_eq!(parsed("x.tsv", &format!("{bare}a\t1\n"), Want::Documents).len(), 5, "but for a heading");
    let quoted = message("x.tsv", b"\"id\"\t\"text\"\n\"1\"\t\"x\"\n", &ColumnsSpec::default(), Want::Documents);
    assert!(quoted.contains("x.tsv:1: the names are in quotes") && quoted.contains("format = \"csv\""), "{quoted}");
    let multi = message("x.tsv", b"id\ttext\n1\t\"two\nlines\"\n", &ColumnsSpec::default(), Want::Documents);
    assert!(multi.contains("x.tsv:3: 1 cells") && multi.contains("say format = \"csv\""), "{multi}");
}

#[test]
fn semicolons_and_trailing_commas_of_spreadsheets_are_read() {
    for (name, text) in [
        ("semicolons", "text;label\n\"a, b\";1\nc;0\n"),
        ("tabs", "text\tlabel\n\"a, b\"\t1\nc\t0\n"),
        ("named", "sep=;\r\ntext;label\r\n\"a, b\";1\r\nc;0\r\n"),
        ("blank rows", "text,label\n\"a, b\",1\n\nc,0\n,\n , \n"),
        ("empty cells", "text,label,,\n\"a, b\",1,,\nc,0,,\n,,,\n"),
        ("no more cells", "text,label,,\n\"a, b\",1\nc,0,,,,\n"),
    ] {
        let rows = parsed("x.csv", text, Want::Reviews);
        let rows: Vec<_> = rows.iter().map(|r| (r.text.as_str(), r.label)).collect();
        assert_eq!(rows, [("a, b", Some(1.0)), ("c", Some(0.0))], "{name}");
    }
    let other = message("x.csv", b"id;words\n1;x\n", &ColumnsSpec::default(), Want::Documents);
    assert!(
        other.contains("there are id, words:")
            && other.ends_with("the separator seems to be \";\" rather than a comma"),
        "{other}"
    );
    let label = message("x.csv", b"text;label\r\n\"x\r\ny\";1\r\nz;7\r\n", &ColumnsSpec::default(), Want::Reviews);
    assert!(label.starts_with("x.csv:4: label 7"), "{label}");
}

#[test]
fn keys_that_are_not_read_do_not_matter() {
    for other in ["NaN", "\"x\\ud83d\"", "-Infinity", "[1, NaN]", "\"a\tb\""] {
        let line = |text: &str| format!("{{\"text\": \"{text}\", \"other\": {other}}}\n");
        let lines = format!("{}{}", line("a"), line("b"));
        assert_eq!(parsed("x.jsonl", &lines, Want::Documents).len(), 2, "{other}");
        let array = format!("[{},{}]", line("a"), line("b"));
        assert_eq!(parsed("x.json", &array, Want::Documents)[1].text, "b", "{other}");
        let wanted = lines.replace("text", "x").replace("other", "text");
        let refused = message("x.jsonl", wanted.as_bytes(), &ColumnsSpec::default(), Want::Documents);
        assert!(refused.starts_with("x.jsonl:1:"), "{other}: {refused}");
    }
    let summary = "{\"text\": \"a\", \"summary\": \"\\ud83d\"}\n";
    let refused = message("x.jsonl", summary.as_bytes(), &ColumnsSpec::default(), Want::Documents);
    assert!(refused.contains("not JSON"), "a summary is read where it is there: {refused}");
}

#[test]
fn of_two_values_of_a_key_none_is_taken_for_the_one_that_is_meant() {
    let of = |content: &str| message("x.jsonl", content.as_bytes(), &ColumnsSpec::default(), Want::Documents);
    let twice = "the key \"text\" is there twice";
    assert!(of("{\"text\": \"a\"}\n{\"text\": \"b\", \"text\": \"c\"}\n").contains(twice));
    assert!(of("{\"text\": \"b\", \"text\": \"c\"}\n").contains(twice), "the first record too");
    assert!(of("{\"text\": \"a\"}\n{\"x\": NaN, \"text\": \"b\", \"text\": \"c\"}\n").starts_with("x.jsonl:2:"));
    // What nobody reads may be there as often as it likes.
    assert_eq!(parsed("x.jsonl", "{\"x\": 1, \"x\": 2, \"text\": \"a\"}\n", Want::Documents).len(), 1);
}

#[test]
fn other_columns_that_could_have_been_meant_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.csv");
    std::fs::write(&path, "text,body,rating,label\na,b,5,1\n").unwrap();
    let names = |columns: &ColumnsSpec| {
        let reader = open(&path, DataFormat::Csv, columns, TextLines::Wrapped, Want::Reviews).unwrap();
        let names = reader.names.unwrap();
        (names.text, names.label.unwrap(), names.beside)
    };
    let (text, label, beside) = names(&ColumnsSpec::default());
    assert_eq!((&*text, &*label, beside), ("text", "label", vec!["body".to_string(), "rating".into()]));
    let (text, label, beside) = names(&columns("body", None, Some("rating")));
    assert_eq!((&*text, &*label, beside), ("body", "rating", Vec::new()));
}

#[test]
fn python_dictionaries_are_read() {
    let lines =
        "{'reviewText': \"It's good\", 'overall': 5.0, 'helpful': [0, 1]}\n{'reviewText': 'no', 'overall': 1.0}\n";
    for (name, text) in [("x.json", lines.to_string()), ("y.json", format!("[{}]", lines.trim().replace('\n', ",")))] {
        let rows = parsed(name, &text, Want::Reviews);
        let rows: Vec<_> = rows.iter().map(|r| (r.text.as_str(), r.label)).collect();
        assert_eq!(rows, [("It's good", Some(5.0)), ("no", Some(1.0))], "{name}");
    }
}

#[test]
fn packed_files_are_known_by_their_bytes_whatever_their_names() {
    let gzip = std::fs::read(fixture("posts.jsonl.gz")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, &gzip).unwrap();
    assert_eq!(documents(&path), posts());
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut crate::store::input::open_text(&path).unwrap(), &mut plain).unwrap();
    std::fs::write(dir.path().join("y.jsonl.gz"), &plain).unwrap();
    assert_eq!(documents(&dir.path().join("y.jsonl.gz")), posts());
    std::fs::write(dir.path().join("z.jsonl.zst"), zstd::encode_all(&plain[..], 1).unwrap()).unwrap();
    assert_eq!(documents(&dir.path().join("z.jsonl.zst")), posts());
}

#[test]
fn a_git_lfs_pointer_is_refused_in_every_format() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n";
    for name in ["x.jsonl", "x.json", "x.csv", "x.tsv", "x.txt", "x.story", "x.parquet", "x.jsonl.gz"] {
        let text = message(name, pointer, &ColumnsSpec::default(), Want::Documents);
        assert!(text.contains("is a git-lfs pointer, not the file of 9 bytes: run `git lfs pull`"), "{name}: {text}");
    }
}

/// Labels as decimals of three physical types, and columns whose logical type is neither text nor a number.
#[test]
fn logical_types_of_parquet_say_what_numbers_mean() {
    use ::parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, label: &str| {
        let path = dir.path().join(name);
        let schema = format!("message m {{ required binary text (STRING); required {label}; }}");
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts = [ByteArray::from("a"), ByteArray::from("b")];
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        if label.starts_with("int32") {
            column.typed::<Int32Type>().write_batch(&[50, 10], None, None).unwrap();
        } else if label.starts_with("fixed") {
            let cells = [vec![0u8, 50], vec![0, 10]].map(|b| FixedLenByteArray::from(ByteArray::from(b)));
            column.typed::<FixedLenByteArrayType>().write_batch(&cells, None, None).unwrap();
        } else {
            let cells = [vec![50u8], vec![10]].map(ByteArray::from);
            column.typed::<ByteArrayType>().write_batch(&cells, None, None).unwrap();
        }
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        path
    };
    for label in
        ["int32 label (DECIMAL(4, 1))", "fixed_len_byte_array(2) label (DECIMAL(4, 1))", "binary label (DECIMAL(4, 1))"]
    {
        let rows = read(&write("decimal.parquet", label), &ColumnsSpec::default(), Want::Reviews).unwrap();
        assert_eq!(rows.iter().filter_map(|r| r.label).collect::<Vec<_>>(), [5.0, 1.0], "{label}");
    }
    let error = read(&write("date.parquet", "int32 label (DATE)"), &ColumnsSpec::default(), Want::Reviews).unwrap_err();
    assert!(error.to_string().ends_with("column \"label\" holds INT32 as Date, not labels"), "{error}");
    let path = write("text.parquet", "binary other (DECIMAL(4, 1))");
    let error = read(&path, &columns("other", None, None), Want::Documents).unwrap_err();
    assert!(error.to_string().ends_with("column \"other\" holds BYTE_ARRAY, not text"), "{error}");
}

#[test]
fn tsv_without_a_header_is_text_and_label() {
    let rows = parsed("x.tsv", "a \"quoted\" text\twith a tab\t1\r\n\nbad\tnegative\n", Want::Reviews);
    assert_eq!(
        rows.iter().map(|r| (r.text.as_str(), r.label)).collect::<Vec<_>>(),
        [("a \"quoted\" text\twith a tab", Some(1.0)), ("bad", Some(0.0))]
    );
    assert_eq!(parsed("x.tsv", "what they said\tscore\nbad\t2\n", Want::Reviews).len(), 1);
    assert_eq!(parsed("x.tsv", "good\t1\nso\tso\n", Want::Documents)[1].text, "so");
    let label = message("x.tsv", b"good\t1\nbad\t-1\n", &ColumnsSpec::default(), Want::Reviews);
    assert!(label.starts_with("x.tsv:2: label -1; expected"), "{label}");
}

#[test]
fn json_lines_are_objects_or_strings() {
    let rows = parsed(
        "x.jsonl",
        "{\"id\": [1, {}], \"body\": \"a\\u00e9\", \"content\": \"b\"}\n\n{\"content\": \"c\", \"summary\": \"s\"}\n",
        Want::Documents,
    );
    assert_eq!(
        rows.iter().map(|r| (r.text.as_str(), r.summary.as_deref())).collect::<Vec<_>>(),
        [("b", None), ("c", Some("s"))]
    );
    assert_eq!(parsed("x.jsonl", "\"one\"\n\"two\"", Want::Documents)[1].text, "two");
    assert_eq!(parsed("x.jsonl", "\u{feff}\"one\"\r\n", Want::Documents)[0].text, "one");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, "{\"post\": {\"body\": \"deep\", \"a.b\": \"dot\"}, \"stars\": \"4.0\"}\n").unwrap();
    let row = &read(&path, &columns("post.body", Some("post.a.b"), None), Want::Documents).unwrap()[0];
    assert_eq!((row.text.as_str(), row.summary.as_deref()), ("deep", Some("dot")));
    assert_eq!(read(&path, &columns("post.body", None, None), Want::Reviews).unwrap()[0].label, Some(4.0));
    for (value, label) in [("true", 1.0), ("0", 0.0), ("5.0", 5.0), ("\"pos\"", 1.0), ("\"False\"", 0.0)] {
        let line = format!("{{\"text\": \"x\", \"label\": {value}}}");
        assert_eq!(parsed("x.jsonl", &line, Want::Reviews)[0].label, Some(label));
    }
}

#[test]
fn json_lines_that_are_broken_say_where() {
    let lines = |content: &str| message("x.jsonl", content.as_bytes(), &ColumnsSpec::default(), Want::Documents);
    for (content, wanted) in [
        ("", "x.jsonl: is empty"),
        ("\n \n", "x.jsonl: is empty"),
        ("{\"text\": \"ok\"}\n{oops\n", "x.jsonl:2:2: not JSON: key must be a string"),
        ("{\"text\": \"ok\"} trailing\n", "x.jsonl:1:16: not JSON: trailing characters"),
        ("{\"text\": \"ok\"}\n{\"txt\": \"ok\"}\n", "x.jsonl:2: there is no key \"text\", which the first record has"),
        ("{\"text\": \"ok\"}\n{\"text\": 3}\n", "x.jsonl:2: \"text\" is a number, not text"),
        ("{\"text\": null}\n", "x.jsonl:1: \"text\" is null, not text"),
        ("\"a\"\n{\"text\": \"b\"}\n", "x.jsonl:2: is an object; the records before are strings"),
        ("{\"text\": \"b\"}\n\"a\"\n", "x.jsonl:2: is a string; the records before are objects"),
        ("3\n", "x.jsonl:1: is a number; expected an object or a string"),
        ("{\"text\": \"ok\", \"summary\": []}\n", "x.jsonl:1: \"summary\" is an array, not text"),
        ("{\"text\": \"ok\"}\n[1]\n", "x.jsonl:2: is an array; the records before are objects"),
        ("{\"text\": \"ok\"}\n1.5\n", "x.jsonl:2: is a number; the records before are objects"),
        ("{\"text\": \"ok\"}\nnull\n", "x.jsonl:2: is null; the records before are objects"),
    ] {
        assert_eq!(lines(content), wanted);
    }
    assert!(lines("{\"a\": {\"b\": 1}, \"c\": 2}\n").contains("there are a.b, c: name one with columns.text"));
    let bytes = message("x.jsonl", b"\"a\"\n\"\xff\"\n", &ColumnsSpec::default(), Want::Documents);
    assert!(bytes.starts_with("x.jsonl:2: not UTF-8 at byte 5"), "{bytes}");
    let reviews = message("x.jsonl", b"\"a\"\n", &ColumnsSpec::default(), Want::Reviews);
    assert!(reviews.starts_with("x.jsonl:1: is a plain string; reviews need objects"), "{reviews}");
}

#[test]
fn json_is_an_array_or_lines() {
    let rows = parsed("x.json", " \n[{\"text\": \"a\"}, {\"text\": \"b\", \"summary\": null}]\n", Want::Documents);
    assert_eq!(rows.len(), 2);
    assert_eq!(parsed("x.json", "[\"a\"]", Want::Documents)[0].text, "a");
    assert_eq!(parsed("x.json", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n", Want::Documents).len(), 2);
    let whole = |content: &str| message("x.json", content.as_bytes(), &ColumnsSpec::default(), Want::Documents);
    assert_eq!(whole("[]"), "x.json: is empty");
    assert_eq!(whole(" "), "x.json: is empty");
    assert!(
        whole("[{\"text\": \"a\"},\n {\"txt\": 1}]").starts_with("x.json:2:2: record 2: there is no key \"text\""),
        "{}",
        whole("[{\"text\": \"a\"},\n {\"txt\": 1}]")
    );
    assert!(whole("[\"a\",\n").starts_with("x.json:2:1: the file ends after a `,`: it is truncated"));
    assert!(whole("[\"a\"] x").starts_with("x.json:1:7: something follows the array's `]`"));
    assert!(whole("[3]").contains("record 1: is a number"));
    assert!(whole(&"[".repeat(100_000)).contains("inside entry 1, which starts at 1:2: it is truncated"));
    assert!(whole(&format!("[{}{}]", "[".repeat(1000), "]".repeat(1000))).contains("recursion limit"));
}

#[test]
fn reading_stops_with_what_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    std::fs::write(&path, "[\"a\", \"b\", broken").unwrap();
    let two = open(&path, DataFormat::Json, &ColumnsSpec::default(), TextLines::Wrapped, Want::Documents).unwrap();
    assert_eq!(two.take(2).map(|r| r.unwrap().text).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn gzip_that_ends_early_is_an_error() {
    let whole = std::fs::read(fixture("posts.jsonl.gz")).unwrap();
    for cut in [whole.len() - 1, whole.len() - 8, whole.len() / 2, 5] {
        let text = message("x.jsonl.gz", &whole[..cut], &ColumnsSpec::default(), Want::Documents);
        assert!(text.contains("x.jsonl.gz: not a complete gzip file"), "{cut}: {text}");
    }
    let mut wrong = whole.clone();
    let sum = whole.len() - 7;
    wrong[sum] ^= 1;
    let text = message("x.jsonl.gz", &wrong, &ColumnsSpec::default(), Want::Documents);
    assert!(text.contains("not a complete gzip file"), "{text}");
    let csv = std::fs::read(fixture("posts.csv.gz")).unwrap();
    let text = message("x.csv.gz", &csv[..csv.len() - 9], &ColumnsSpec::default(), Want::Documents);
    assert!(text.contains("not a complete gzip file"), "{text}");
}

#[test]
fn stories_keep_their_whole_text() {
    let found = documents(&fixture("stories/a.story"));
    assert!(found[0].0.contains("(CNN) -- It rained") && found[0].0.contains("@highlight\n"));
    assert_eq!(found[0].1.as_deref(), Some("It rained.\nPeople had umbrellas."));
    assert_eq!(documents(&fixture("stories/b.story"))[0].1.as_deref(), Some("Sun shone \u{2018}all day\u{2019}"));
    assert_eq!(documents(&fixture("stories/c.story"))[0].1, None);
}

#[test]
fn names_tell_formats() {
    for (name, format) in [
        ("a.TXT", Some(DataFormat::Text)),
        ("x/y.jsonl.gz", Some(DataFormat::Jsonl)),
        ("x/y.jsonl.zst", Some(DataFormat::Jsonl)),
        ("*.parquet", Some(DataFormat::Parquet)),
        ("a.parquet.gz", None),
        ("a.ndjson", Some(DataFormat::Jsonl)),
        ("a.csv.bz2", None),
        ("jsonl", None),
    ] {
        assert_eq!(format_of(name), format, "{name}");
    }
}
