use super::*;
use crate::spec::catalogue::file_name;
use crate::spec::{Options, load};
use std::path::PathBuf;

#[test]
fn the_shipped_catalogue_is_right_and_has_what_specs_name() {
    let all = Catalogue::with(&[]).expect("the shipped catalogue");
    for name in ["gpt2", "gpt2-large", "books", "tldr", "cnndm", "reviews", "labels/tldr_offline_60k"] {
        let source = all.get(name).unwrap_or_else(|| panic!("{name}"));
        assert!(source.used_as.is_some() && !source.places.is_empty() && source.licence.is_some(), "{name}");
    }
    assert!(all.refusal("tldr", SourceUse::Text).is_none());
    let (message, hint) = all.refusal("tdlr", SourceUse::Text).expect("a refusal");
    assert!(message.contains("\"tdlr\"") && hint.contains("did you mean \"tldr\"?"), "{message} {hint}");
    assert!(all.refusal("tldr", SourceUse::Labels).is_some_and(|(message, _)| message.contains("is for task.data")));
}

#[test]
fn sizes_are_read_as_people_write_them() {
    for (text, bytes) in [("1.3 GB", 1_300_000_000), ("7MB", 7_000_000), ("12 kB", 12_000), ("5 B", 5)] {
        assert_eq!(bytes_of(text), Some(bytes), "{text}");
    }
    for bad in ["", "GB", "1.3", "-1 GB", "1 XB"] {
        assert_eq!(bytes_of(bad), None, "{bad}");
    }
}

#[test]
fn the_longest_mirror_of_an_address_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("sources.toml");
    let text = "[mirrors]\n\"https://a.org\" = \"http://m\"\n\"https://a.org/deep\" = \"http://deep\"\n";
    std::fs::write(&file, text).expect("written");
    let all = Catalogue::with(&[file]).expect("a catalogue");
    assert_eq!(all.mirrored("https://a.org/x.json"), "http://m/x.json");
    assert_eq!(all.mirrored("https://a.org/deep/x.json"), "http://deep/x.json");
    assert_eq!(all.mirrored("https://b.org/x.json"), "https://b.org/x.json");
    assert_eq!(file_name("https://b.org/a/x.json?y=1#z"), "x.json");
}

#[test]
fn presets_name_their_sources_and_recorded_labels_the_tasks_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = |more: &str| {
        let file = dir.path().join("spec.toml");
        std::fs::write(&file, format!("spec_version = 1\nname = \"x\"\n{more}")).expect("written");
        load(&file, &Options::default()).expect("a spec").variants.remove(0).1
    };
    let tldr = spec("task = { preset = \"tldr\" }\nmodel = { size = \"124M\" }\nlabeler = { kind = \"recorded\" }\n");
    assert_eq!(tldr.task.data.source.as_deref(), Some("tldr"));
    assert_eq!(tldr.labeler.source.as_deref(), Some("labels/tldr_offline_60k"));
    let wanted: Vec<SourceUse> = needs(&tldr).iter().map(|need| need.used_as).collect();
    assert_eq!(wanted, [SourceUse::Text, SourceUse::Labels]);
    // A path in the spec takes the place of the preset's source, and so does a grammar.
    let own = spec(
        "task = { preset = \"tldr\", data = { path = \".\", format = \"jsonl\" } }\nmodel = { size = \"124M\" }\nlabeler = { kind = \"recorded\" }\n",
    );
    assert_eq!((own.task.data.source.as_deref(), own.task.data.path.is_some()), (None, true));
    // Who names no task stays with the text that the program makes itself.
    let none = spec("");
    assert!(none.task.data.source.is_none() && none.task.data.synthetic.is_some());
}

#[test]
fn files_put_by_hand_are_found_and_a_name_without_any_says_where_to_put_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = Catalogue::with(&[]).expect("the shipped catalogue");
    let mut hub = crate::data::hub::Hub::from_env().expect("a hub").cache_only();
    hub.cache = dir.path().join("hf");
    let finder = Finder { catalogue: &all, folder: Folder::new(dir.path().join("kept")), hub };
    let error = finder.labels("labels/tldr_offline_60k").expect_err("nothing is here").to_string();
    let place = dir.path().join("kept/labels/tldr_offline_60k");
    assert!(error.contains(&format!("put offline_60k.json in {}", place.display())), "{error}");
    std::fs::create_dir_all(&place).expect("made");
    std::fs::write(place.join("offline_60k.json"), "[]").expect("written");
    assert_eq!(finder.labels("labels/tldr_offline_60k").expect("found").what, place.join("offline_60k.json"));
    // A source of the hub alone: whatever lies in its folder.
    let books: PathBuf = dir.path().join("kept/books");
    std::fs::create_dir_all(&books).expect("made");
    std::fs::write(books.join("one.txt"), "A book.").expect("written");
    let found = finder.data("books", crate::data::formats::Want::Documents, None).expect("found").what;
    assert_eq!(found.path, Some(books.join("one.txt").to_string_lossy().into_owned()));
}
