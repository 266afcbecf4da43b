//! Where files are looked for, and where answers are kept.

use super::*;

#[test]
fn paths_are_found_beside_the_spec() -> Outcome {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("zz_books.txt"), "x")?;
    let file = dir.path().join("x.toml");
    std::fs::write(&file, format!("{HEAD}task.data.path = \"zz_books.txt\""))?;
    let loaded = load(&file, &Options::default()).map_err(|problems| problems[0].to_string())?;
    let books = dir.path().join("zz_books.txt").to_string_lossy().into_owned();
    assert_eq!(loaded.spec.task.data.path, Some(books));
    assert_eq!(guess_format(&loaded.spec.task.data), Some(DataFormat::Text));
    Ok(())
}

/// biome #11873: the base's `path = "docs.txt"` was looked for where the program runs and beside the child, where
/// another file of that name was read without a word.
#[test]
fn a_path_belongs_to_the_file_that_wrote_it() -> Outcome {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    for folder in ["base", "child"] {
        std::fs::create_dir(at(folder))?;
        std::fs::write(at(folder).join("docs.txt"), folder)?;
    }
    let base = format!(
        "{HEAD}task.data.path = \"docs.txt\"\n[profile.p]\nlabeler.reviews = {{ path = \"docs.txt\", format = \"tsv\" }}\n[runs.r]\nlabeler = {{ kind = \"recorded\", path = \"docs.txt\" }}\n"
    );
    std::fs::write(at("base/base.toml"), base)?;
    std::fs::write(at("child/mine.toml"), "extends = \"../base/base.toml\"\n")?;
    let options = Options { profile: Some("p".into()), ..Options::default() };
    let loaded = load(&at("child/mine.toml"), &options).map_err(|problems| problems[0].to_string())?;
    let (spec, run) = (&loaded.spec, &loaded.variants[0].1);
    for path in [&spec.task.data.path, &spec.labeler.reviews.path, &run.labeler.path] {
        let path = path.as_ref().ok_or("no path")?;
        assert_eq!(std::fs::read_to_string(path)?, "base", "{path}");
    }
    // What the child writes is its own.
    std::fs::write(at("child/mine.toml"), "extends = \"../base/base.toml\"\ntask.data.path = \"docs.txt\"\n")?;
    let loaded = load(&at("child/mine.toml"), &Options::default()).map_err(|problems| problems[0].to_string())?;
    assert_eq!(std::fs::read_to_string(loaded.spec.task.data.path.unwrap_or_default())?, "child");
    Ok(())
}

#[test]
fn a_resolved_spec_holds_wherever_its_directory_goes() -> Outcome {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    std::fs::create_dir_all(out.join("labels"))?;
    std::fs::write(dir.path().join("docs.txt"), "x")?;
    let inside = out.join("labels").to_string_lossy().into_owned();
    std::fs::write(
        dir.path().join("x.toml"),
        format!(
            "{HEAD}task.data.path = \"docs.txt\"\nlabeler = {{ kind = \"human\", batches = {inside:?} }}\n[runs.a]\nlabeler.batches = \"elsewhere\"\n"
        ),
    )?;
    let loaded = load(&dir.path().join("x.toml"), &Options::default()).map_err(|problems| problems[0].to_string())?;
    std::fs::write(out.join("spec.toml"), resolved_toml(&paths::portable_spec(&loaded.spec, &out)))?;
    let moved = dir.path().join("moved/far");
    std::fs::create_dir(dir.path().join("moved"))?;
    std::fs::rename(&out, &moved)?;
    let again = load(&moved.join("spec.toml"), &Options::default()).map_err(|problems| problems[0].to_string())?;
    let docs = dir.path().join("docs.txt").to_string_lossy().into_owned();
    assert_eq!(again.spec.task.data.path, Some(docs));
    assert_eq!(again.spec.labeler.batches, Some(moved.join("labels").to_string_lossy().into_owned()));
    // A folder that is not there yet is made where the program was started the first time.
    let here = std::env::current_dir()?.join("elsewhere").to_string_lossy().into_owned();
    assert_eq!(again.variants[0].1.labeler.batches, Some(here));
    Ok(())
}

#[test]
fn people_answer_each_seed_in_a_directory_of_its_own() -> Outcome {
    let body = "labeler = { kind = \"human\", batches = \"labels/x/\" }\n[runs.a]\nlabeler.batches = \"labels/y\"\n[runs.b]\nlabeler.kind = \"mock\"\n";
    let loaded = ok(body, &Options { seed: Some(2), ..Options::default() })?.of_several_seeds();
    let of = |i: usize| loaded.variants[i].1.labeler.batches.clone();
    assert_eq!(
        (loaded.spec.labeler.batches.as_deref(), of(0).as_deref(), of(1)),
        (Some("labels/x-seed-2"), Some("labels/y-seed-2"), None)
    );
    let text = resolved_toml(&loaded.spec);
    let again = load_text(&text, &Options::default()).map_err(|problems| format!("{problems:?}\n{text}"))?;
    assert_eq!(again.variants, loaded.variants);
    Ok(())
}

#[test]
fn people_answer_a_profile_in_a_directory_of_its_own() -> Outcome {
    let body = "labeler = { kind = \"human\", batches = \"labels/x/\" }\n[runs.a]\nlabeler.batches = \"labels/y\"\n[runs.b]\npolicy.lr = 1e-5\n\
                [profile.smoke]\npolicy.lr = 1e-4\n[profile.there]\nlabeler.batches = \"labels/there\"\n";
    let of = |profile: Option<&str>, set: &[&str]| -> Result<Vec<Option<String>>, Box<dyn std::error::Error>> {
        let set = set.iter().map(ToString::to_string).collect();
        let loaded = ok(body, &Options { profile: profile.map(str::to_string), set, ..Options::default() })?;
        Ok(loaded.variants.iter().map(|(_, spec)| spec.labeler.batches.clone()).collect())
    };
    let both = |a: &str, b: &str| vec![Some(a.to_string()), Some(b.to_string())];
    assert_eq!(of(None, &[])?, both("labels/y", "labels/x/"));
    assert_eq!(of(Some("smoke"), &[])?, both("labels/y-smoke", "labels/x-smoke"));
    assert_eq!(of(Some("there"), &[])?, both("labels/y-there", "labels/there"));
    assert_eq!(of(Some("smoke"), &["labeler.batches=z"])?, both("z", "z"));
    Ok(())
}

#[test]
fn where_files_are_is_no_part_of_what_stages_depend_on() {
    let data = |path: &str| DataSpec { path: Some(path.into()), ..DataSpec::default() };
    assert_eq!(data("/a/books.txt").without_place(), data("../b/other.txt").without_place());
    assert_ne!(data("/a/books.txt").without_place(), data("/a/books.csv").without_place());
    let synthetic = DataSpec { synthetic: Some(Synthetic::Posts), ..DataSpec::default() };
    assert_eq!(synthetic.without_place(), synthetic);
}
