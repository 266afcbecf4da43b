//! The words of mistakes that are seen before any rule.

use super::*;

#[test]
fn all_mistakes_at_once_each_in_its_place() {
    let body = "descripton = \"x\"\n[policy]\nepisodes = \"many\"\nlr = -1.0\nbatch_size = 2.5\nminibatches = 1.0\n[policy.kl]\ntarket = 3\nschedule = \"adaptve\"\n[model]\nsize = \"125M\"\n[evaluate]\nsamples = 5000\n";
    assert_eq!(
        problems(body),
        [
            "x.toml:3:1: descripton: unknown key; did you mean \"description\"?",
            "x.toml:5:1: policy.episodes: expected an integer, found the string \"many\"",
            "x.toml:6:1: policy.lr: must be at least 0, found -1.0",
            "x.toml:7:1: policy.batch_size: expected an integer, found the number 2.5",
            "x.toml:8:1: policy.minibatches: expected an integer, found the number 1.0",
            "x.toml:10:1: policy.kl.tarket: unknown key; did you mean \"target\"?",
            "x.toml:11:1: policy.kl.schedule: expected one of \"constant\", \"adaptive\", \"linear\", found the string \"adaptve\"; did you mean \"adaptive\"?",
            "x.toml:13:1: model.size: expected one of \"test\", \"tiny\", \"small\", \"124M\", \"355M\", \"774M\", \"1558M\", found the string \"125M\"; did you mean \"124M\"?",
            "x.toml:15:1: evaluate.samples: 5000 samples are to be written, and evaluate.queries = 1024",
        ]
    );
}

#[test]
fn a_key_of_another_section_is_pointed_to() {
    assert_eq!(
        problems("policy.target = 3"),
        ["x.toml:3:8: policy.target: unknown key; did you mean \"policy.kl.target\" or \"policy.entropy.target\"?"]
    );
}

#[test]
fn name_and_version_are_required() {
    let found = load_text("[policy]\nminibatches = 3\n", &Options::default()).err().unwrap_or_default();
    assert_eq!(
        found,
        [
            "x.toml:1:1: name: this key is missing; give it a string",
            "x.toml:1:1: spec_version: this key is missing; give it an integer",
            "x.toml:2:1: policy.minibatches: a batch of 512 does not divide into 3 minibatches",
        ]
    );
    assert_eq!(
        problems("model.dimensions = { layers = 1, heads = 1, width = 8 }"),
        ["x.toml:3:7: model.dimensions.context: this key is missing; give it an integer"]
    );
    let found = load_text("spec_version = 2\nname = \"a/b\"\n", &Options::default()).err().unwrap_or_default();
    assert_eq!(
        found[0],
        "x.toml:1:1: spec_version: is of version 2, and this program reads 1; it was written for a newer runner: update this one"
    );
    assert!(found[1].starts_with("x.toml:2:1: name: \"a/b\" is not a name"), "{found:?}");
}

#[test]
fn numbers_that_are_none_are_refused() {
    let found = problems(
        "policy.lr = nan\npolicy.gamma = inf\nseed = 99999999999999999999\nname2 = 1979-05-27\nevaluate.queries = 100000000000\n",
    );
    assert!(
        found[0].contains("policy.lr: NaN is not") || found[0].contains("policy.lr: nan is not a finite number"),
        "{found:?}"
    );
    assert!(
        found[1].contains("inf is not a finite number")
            && found[2].contains("too large")
            && found[3].contains("no dates"),
        "{found:?}"
    );
    assert!(problems("evaluate.queries = 100000000000")[0].contains("must be at most 10000000"));
    assert!(problems("seed = -1")[0].contains("must be at least 0"));
}

#[test]
fn syntax_errors_are_reported_together() {
    let found = problems("a = \nb = [1,\nc = 'x\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("x.toml:3:") && found.iter().all(|problem| problem.contains("not TOML")), "{found:?}");
}

#[test]
fn bad_files_get_a_clear_error() -> Outcome {
    let dir = tempfile::tempdir()?;
    let first =
        |path: &Path| load(path, &Options::default()).err().map(|problems| problems[0].to_string()).unwrap_or_default();
    assert!(first(&dir.path().join("none.toml")).ends_with("there is no such file"));
    assert!(first(dir.path()).contains("is not a file"));
    let path = dir.path().join("binary.toml");
    std::fs::write(&path, b"spec_version = 1\nname = \"\xff\xfe\"")?;
    assert!(first(&path).contains("binary.toml:2:9: this byte is not UTF-8"), "{}", first(&path));
    std::fs::write(&path, vec![b'#'; 2 << 20])?;
    assert!(first(&path).contains("2097152 bytes long"));
    std::fs::write(&path, "")?;
    assert!(first(&path).contains("this key is missing"));
    Ok(())
}

#[test]
fn broken_text_never_panics() {
    let body = format!(
        "{HEAD}[policy.kl]\ntarget = 3.0\n[profile.s.runs.a]\nseed = 2\n[runs.a]\ntask.data = {{ path = \"é\", format = \"text\" }}\n[[x]]\n"
    );
    for end in body.char_indices().map(|(index, _)| index) {
        let _ = load_text(&body[..end], &Options::default());
        let mut cut = body.clone();
        cut.remove(end);
        let _ = load_text(&cut, &Options { profile: Some("s".into()), ..set(&["runs.a.seed=3"]) });
    }
    for odd in [
        "policy = 3",
        "runs = 3",
        "profile = []",
        "runs.a = 1",
        "profile.a.b = 1",
        "extends = 3",
        "[[policy]]\nlr = 1",
        "task.preset = 1",
        "'' = 1",
        "\"a.b\" = 1",
        "model.weights = {}",
        "reproduces = [1, {}]",
    ] {
        let found = problems(odd);
        assert!(odd == "model.weights = {}" || !found.is_empty(), "{odd}: {found:?}");
    }
}

#[test]
fn arguments_that_cannot_be_read_say_what_to_write() {
    let found = |argument: &str| load_text(HEAD, &set(&[argument])).err().unwrap_or_default();
    for (argument, wanted) in [
        ("policy.lr=fast", "command line: policy.lr: expected a number, found \"fast\""),
        ("policy.lr=", "command line: policy.lr: expected a number, found nothing"),
        (
            "collect.round_labels=800,400",
            "command line: collect.round_labels: expected an array of integers, found \"800,400\"; write [800,400]",
        ),
        (
            "reproduces=table1, figure2",
            "command line: reproduces: expected an array of strings, found \"table1, figure2\"; write [\"table1\", \"figure2\"]",
        ),
        // Who has just given a path is not told to give it.
        (
            "model.weights.path=/no/such",
            "command line: model.weights.path: there is no file or folder \"/no/such\", neither beside the file that says so nor here",
        ),
    ] {
        assert_eq!(found(argument), [wanted]);
    }
}

#[test]
fn a_word_without_quotes_is_no_boolean() {
    for (value, wanted) in [
        ("fast", "fast is no value; text stands in quotes: \"fast\""),
        ("True", "write true"),
        ("gpt2", "quotes: \"gpt2\""),
    ] {
        let found = problems(&format!("[policy]\nlr = {value}\n"));
        assert!(found.len() == 1 && found[0].starts_with("x.toml:4:6: ") && found[0].contains(wanted), "{found:?}");
    }
}

#[test]
fn a_key_given_twice_is_named_with_its_first_place() {
    for (body, wanted) in [
        ("[policy]\nlr = 1e-3\nepochs = 2\nlr = 2e-3\n", "x.toml:6:1: \"lr\" is given twice: first in line 4"),
        ("[reward]\nlr = 1e-3\n[policy]\nlr = 1e-3\nlr = 2e-3\n", "x.toml:7:1: \"lr\" is given twice: first in line 6"),
        ("seed = 1\nseed = 2\n", "x.toml:4:1: \"seed\" is given twice: first in line 3"),
    ] {
        assert_eq!(problems(body), [wanted], "{body}");
    }
    assert!(problems("[policy]\nlr = 1e-3\n[policy]\n")[0].contains("is given twice: first in line 3"));
}

#[test]
fn names_that_are_none_get_one_that_is() {
    for (body, wanted) in
        [("[runs.\"gpt 2.5\"]\nseed = 2\n", "write \"gpt_2_5\""), ("[runs.\"\"]\nseed = 2\n", "names become folders")]
    {
        let found = problems(body);
        assert!(found[0].contains("is not a name") && found[0].contains(wanted), "{found:?}");
    }
    let found = problems("[runs.beta0.1]\npolicy.kl.init = 0.1\n");
    assert!(found[0].contains("for a run \"beta0.1\" write [runs.beta0_1]"), "{found:?}");
}

#[test]
fn a_base_that_is_not_there_is_named_with_its_whole_path() -> Outcome {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("quickstart.toml"), HEAD)?;
    let file = dir.path().join("x.toml");
    std::fs::write(&file, "extends = \"quikstart.toml\"\n")?;
    let found = load(&file, &Options::default()).err().map(|problems| problems[0].to_string()).unwrap_or_default();
    let tried = dir.path().join("quikstart.toml").display().to_string();
    assert!(found.contains(&tried) && found.contains("did you mean \"quickstart.toml\"?"), "{found}");
    Ok(())
}

/// Who knows bfloat16 from elsewhere is told why it is not here.
#[test]
fn a_precision_that_no_device_has_is_refused_with_the_reason() {
    let of = |precision: &str| problems(&format!("model.precision = {precision}"));
    let wrong = "x.toml:3:7: model.precision: expected one of \"f32\", \"f16\", found the";
    assert_eq!(of("\"bf16\""), [format!("{wrong} string \"bf16\"; {}", Precision::NO_BF16)]);
    assert_eq!(of("\"auto\""), [format!("{wrong} string \"auto\"")]);
    assert_eq!(of("16"), [format!("{wrong} integer 16")]);
    assert!(of("\"f16\"").is_empty());
}
