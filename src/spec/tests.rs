//! Whole files through `load`: layers, origins, runs, and the words of every kind of mistake.

use super::*;
use std::error::Error;
use std::path::Path;

type Outcome = Result<(), Box<dyn Error>>;

const HEAD: &str = "spec_version = 1\nname = \"t\"\n";

fn set(arguments: &[&str]) -> Options {
    Options { set: arguments.iter().map(|argument| argument.to_string()).collect(), ..Options::default() }
}

fn load_text(text: &str, options: &Options) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().map_err(|error| vec![error.to_string()])?;
    let path = dir.path().join("x.toml");
    std::fs::write(&path, text).map_err(|error| vec![error.to_string()])?;
    let prefix = format!("{}/", dir.path().display());
    load(&path, options)
        .map_err(|problems| problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect())
}

/// The problems of a file that starts with a valid head of two lines.
fn problems(body: &str) -> Vec<String> {
    load_text(&format!("{HEAD}{body}"), &all_profiles()).err().unwrap_or_default()
}

/// As `runner validate` checks.
fn all_profiles() -> Options {
    Options { all_profiles: true, ..Options::default() }
}

fn ok(body: &str, options: &Options) -> Result<Loaded, Box<dyn Error>> {
    load_text(&format!("{HEAD}{body}"), options).map_err(|problems| problems.join("\n").into())
}

#[test]
fn smallest_spec_gets_defaults_and_preset() -> Outcome {
    let loaded = ok("", &Options::default())?;
    assert_eq!(loaded.spec.task.data.synthetic, Some(Synthetic::Storyworld));
    assert_eq!(loaded.spec.labeler.reviews.synthetic, Some(Synthetic::Reviews));
    assert!(loaded.spec.model.weights.pretrain.is_some());
    assert_eq!(loaded.origins["policy.kl.target"], Origin::Preset("sentiment (released code)".into()));
    assert_eq!(loaded.origins["guards.negative_kl"], Origin::Default);
    assert_eq!(loaded.variants.len(), 1);
    assert_eq!(loaded.variants[0], ("main".into(), loaded.spec.clone()));
    Ok(())
}

#[test]
fn every_preset_loads() -> Outcome {
    for preset in ["sentiment", "descriptiveness", "custom"] {
        let loaded = ok(&format!("task.preset = \"{preset}\""), &Options::default())?;
        assert_eq!(
            (loaded.spec.policy.kl.init, loaded.spec.policy.kl.target, loaded.spec.policy.kl.horizon),
            (0.15, 6.0, 10_000.0)
        );
    }
    Ok(())
}

#[test]
fn all_mistakes_at_once_each_in_its_place() {
    let body = "descripton = \"x\"\n[policy]\nepisodes = \"many\"\nlr = -1.0\nbatch_size = 2.5\nminibatches = 1.0\n[policy.kl]\ntarket = 3\nschedule = \"adaptve\"\n[model]\nsize = \"125M\"\n[evaluate]\nsamples = 5000\n";
    assert_eq!(
        problems(body),
        [
            "x.toml:3:1: descripton: unknown key; did you mean \"description\"?",
            "x.toml:5:1: policy.episodes: expected an integer, found the string \"many\"; write it without quotes",
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
fn profile_beats_file_and_set_beats_profile() -> Outcome {
    let body = "[policy]\nlr = 1e-3\nepochs = 2\nepisodes = 512\n[profile.smoke.policy]\nlr = 2e-3\nepochs = 3\n";
    let options = Options {
        profile: Some("smoke".into()),
        seed: Some(7),
        ..set(&["policy.lr=4e-3", "description=some words", "model.size=124M"])
    };
    let loaded = ok(body, &options)?;
    assert_eq!(
        (loaded.spec.policy.lr, loaded.spec.policy.epochs, loaded.spec.policy.episodes, loaded.spec.seed),
        (4e-3, 3, 512, 7)
    );
    assert_eq!(loaded.spec.model.size, ModelSize::M124);
    assert_eq!(loaded.spec.description, "some words");
    assert_eq!(loaded.origins["policy.lr"].to_string(), "--set policy.lr=4e-3");
    assert_eq!(loaded.origins["seed"].to_string(), "--seed 7");
    assert!(loaded.origins["policy.epochs"].to_string().starts_with("profile smoke ("));
    assert!(matches!(loaded.origins["policy.episodes"], Origin::File { line: 6, column: 1, .. }));
    assert_eq!(ok(body, &Options::default())?.spec.policy.epochs, 2);
    Ok(())
}

#[test]
fn set_is_typed() {
    let found = |argument: &str| load_text(HEAD, &set(&[argument])).err().unwrap_or_default();
    assert!(
        found("policy.lr=fast")[0].starts_with("command line: policy.lr: expected a number, found \"fast\""),
        "{:?}",
        found("policy.lr=fast")
    );
    assert_eq!(found("name=5"), ["command line: name: expected a string, found the integer 5"]);
    assert_eq!(
        found("policy.tarket=x"),
        [
            "command line: policy.tarket: unknown key; valid keys: source, path, episodes, batch_size, minibatches, epochs, lr, adam, gamma, lam, cliprange, cliprange_value, vf_coef, whiten_rewards, checkpoint_every, kl, entropy"
        ]
    );
    assert_eq!(
        found("policy.minibatches=3"),
        ["command line: policy.minibatches: a batch of 512 does not divide into 3 minibatches"]
    );
    for nonsense in [
        "policy",
        "=1",
        "a..b=1",
        "extends=\"x\"",
        "runs.x.seed=1",
        "policy.lr=1\npolicy.epochs=2",
        "policy=3",
        "policy.lr.x=1",
    ] {
        assert_eq!(found(nonsense).len(), 1, "{nonsense}: {:?}", found(nonsense));
    }
}

#[test]
fn unknown_profile_lists_the_known() {
    let options = Options { profile: Some("smok".into()), ..Options::default() };
    let found = load_text(&format!("{HEAD}[profile.smoke]\n[profile.night]\n"), &options).err().unwrap_or_default();
    assert_eq!(
        found,
        ["command line: there is no profile \"smok\" in x.toml; did you mean \"smoke\"? profiles: night, smoke"]
    );
}

#[test]
fn profiles_and_runs_are_checked_when_not_chosen() {
    let body = "[profile.smoke.policy]\nbatch_sise = 3\nminibatches = 5\n[runs.a]\ncollect.label = 3\n[runs.b.policy]\nepisodes = 513\n[runs.'c/d']\n";
    assert_eq!(
        problems(body),
        [
            "x.toml:4:1: profile.smoke.policy.batch_sise: unknown key; did you mean \"batch_size\"?",
            "x.toml:7:9: runs.a.collect.label: unknown key; did you mean \"labels\"?",
            "x.toml:10:7: runs.c/d: \"c/d\" is not a name: 1 to 64 letters, digits, `_` and `-`; names become folders, and parts of dotted keys: write \"c_d\"",
        ]
    );
    assert_eq!(
        problems("[profile.smoke.policy]\nminibatches = 5\n[runs.b.policy]\nepisodes = 513\n"),
        [
            "x.toml:4:1: profile.smoke.policy.minibatches: a batch of 512 does not divide into 5 minibatches",
            "x.toml:6:1: runs.b.policy.episodes: 513 episodes are no multiple of policy.batch_size = 512; take 512 or 1024",
        ]
    );
}

#[test]
fn runs_are_laid_over_the_base_and_survive_a_round_trip() -> Outcome {
    let body = "collect.labels = 100\nmodel.dimensions = { layers = 1, heads = 1, width = 8, context = 128 }\n[policy.kl]\ngain = 0.1\n[runs.direct]\ncollect.schedule = \"direct\"\npolicy.lr = 0.5\n[runs.big]\nmodel.size = \"tiny\"\nmodel.weights.path = \"\"\npolicy.kl.horizon = 5.0\nlabeler.classifier.dimensions.layers = 2\n";
    let loaded = ok(body, &set(&["policy.lr=0.25"]))?;
    let [(big, big_spec), (direct, direct_spec)] = &loaded.variants[..] else { return Err("two runs".into()) };
    assert_eq!((big.as_str(), direct.as_str()), ("big", "direct"));
    assert_eq!(
        (direct_spec.collect.schedule, direct_spec.collect.labels, direct_spec.policy.lr),
        (CollectSchedule::Direct, 100, 0.25)
    );
    assert_eq!((big_spec.model.dimensions, big_spec.policy.kl.gain, big_spec.policy.kl.horizon), (None, None, 5.0));
    assert!(big_spec.model.weights.pretrain.is_none() && big_spec.runs.is_empty());
    assert!(loaded.origins.contains_key("runs.direct.collect.schedule"));

    let text = resolved_toml(&loaded.spec);
    let again = load_text(&text, &Options::default()).map_err(|problems| format!("{problems:?}\n{text}"))?;
    assert_eq!(again.spec, loaded.spec, "{text}");
    assert_eq!(again.variants, loaded.variants, "{text}");
    Ok(())
}

#[test]
fn a_run_may_change_the_preset() -> Outcome {
    let loaded = ok(
        "[runs.d]\ntask.preset = \"descriptiveness\"\n[profile.p.runs.d]\npolicy.epochs = 9\n",
        &Options { profile: Some("p".into()), ..Options::default() },
    )?;
    assert_eq!(
        (loaded.variants[0].1.task.preset, loaded.variants[0].1.policy.epochs),
        (TaskPreset::Descriptiveness, 9)
    );
    assert!(ok("[runs.d]\n[runs.e]\n", &set(&["runs.d.policy.epochs=2"]))?.variants[0].1.policy.epochs == 2);
    Ok(())
}

#[test]
fn extends_merges_tables_and_finds_cycles() -> Outcome {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("base"))?;
    let file = dir.path().join("x.toml");
    std::fs::write(
        dir.path().join("base/b.toml"),
        "spec_version = 1\nname = \"b\"\nreproduces = [\"table1\"]\n[policy]\nlr = 1e-3\nepochs = 2\n[task.data]\npath = \"\"\nformat = \"text\"\n",
    )?;
    std::fs::write(
        &file,
        "extends = \"base/b.toml\"\nname = \"x\"\n[policy]\nepochs = 3\n[task.data]\nsynthetic = \"storyworld\"\n",
    )?;
    let loaded = load(&file, &Options::default()).map_err(|problems| problems[0].to_string())?;
    assert_eq!((loaded.spec.name.as_str(), loaded.spec.policy.lr, loaded.spec.policy.epochs), ("x", 1e-3, 3));
    assert_eq!(loaded.spec.task.data, DataSpec { synthetic: Some(Synthetic::Storyworld), ..DataSpec::default() });
    assert!(loaded.origins["policy.lr"].to_string().ends_with("b.toml:5:1"));

    std::fs::write(dir.path().join("base/b.toml"), "extends = \"../x.toml\"\npolicy.epochs = \"x\"\n")?;
    let found = load(&file, &Options::default()).err().map(|problems| problems[0].to_string()).unwrap_or_default();
    assert!(found.contains("b.toml:1:1: extends: goes round in a circle:"), "{found}");
    std::fs::write(&file, "extends = \"none.toml\"")?;
    let found = load(&file, &Options::default()).err().map(|problems| problems[0].to_string()).unwrap_or_default();
    assert!(found.contains("x.toml:1:1: extends: ") && found.contains("cannot be read"), "{found}");
    std::fs::write(&file, "extends = \"x.toml\"")?;
    assert!(load(&file, &Options::default()).is_err());
    Ok(())
}

#[test]
fn cross_field_rules() {
    let broken = [
        ("policy.episodes = 100", "policy.episodes: 100 episodes are no multiple of policy.batch_size = 512; take 512"),
        (
            "policy.batch_size = 4\npolicy.episodes = 4",
            "policy.batch_size: whitening rewards needs minibatches of at least 8",
        ),
        (
            "task.query_length = 200\nlabeler.classifier.dimensions.context = 512",
            "task.query_length: query (200) and response (24) are 224 tokens, and the model's context is 128",
        ),
        (
            "model.size = \"small\"\ntask.query_length = 200",
            "task.query_length: the classifier's context is 128 tokens",
        ),
        ("task.query_min_length = 65", "task.query_min_length: the shortest query (65)"),
        ("task.truncate_after = 24", "task.truncate_after: position 24 lies outside"),
        (
            "model.dimensions = { layers = 1, heads = 3, width = 8, context = 128 }",
            "model.dimensions.width: a width of 8",
        ),
        ("labeler.classifier.dimensions.heads = 7", "labeler.classifier.dimensions.heads: a width of 512"),
        (
            "model.weights.pretrain.sequence_length = 129",
            "model.weights.pretrain.sequence_length: training sequences of 129",
        ),
        ("collect.labels = 8", "collect.labels: a reward step takes 32"),
        ("evaluate.optimum_queries = 1000000", "evaluate.optimum_queries: 1000000 queries of 256"),
        ("policy.kl.init = 0.0", "policy.kl.init: an adaptive coefficient"),
        ("task.data = { path = \"\", synthetic = \"reviews\" }", "task.data.path: both"),
        ("task.data.format = \"text\"", "task.data.format: a format belongs to a `path` or `hf`"),
        ("task.data.files = \"*.txt\"", "task.data.files: `files` belongs to a `path` or `hf`"),
        ("task.data.columns.text = \"a\"", "task.data.columns: columns belong to a `path` or `hf`"),
        ("task.data.revision = \"main\"", "task.data.revision: a revision belongs to `hf`"),
        ("task.data = { path = \"\", hf = \"a/b\" }", "task.data.path: both `path` and `hf` are given; keep one"),
        (
            "task.data = { path = \"\", hf = \"a/b\", synthetic = \"reviews\" }",
            "task.data.path: `synthetic`, `path` and `hf` are all given; keep one",
        ),
        (
            "task.data.hf = \"..wikitext\"",
            "task.data.hf: \"..wikitext\" is not a name on the hub; it has the form owner/name",
        ),
        ("task.data = { hf = \"a/b\", revision = \"x y\" }", "task.data.revision: \"x y\" is no branch, tag or commit"),
        (
            "task.data = { hf = \"a/b\", files = \"data/train-*\" }",
            "task.data.files: the format of \"data/train-*\" is not known",
        ),
        (
            "task.data = { hf = \"a/b\", files = \"../*.csv\" }",
            "task.data.files: \"../*.csv\" names no files of the folder",
        ),
        (
            "task.data = { hf = \"a/b\", format = \"text\", columns = { text = \"x\" } }",
            "task.data.columns: plain text has no columns",
        ),
        (
            "labeler.reviews = { hf = \"a/b\", format = \"stories\" }",
            "labeler.reviews.format: reviews need labels, and \"a/b\" is stories",
        ),
        (
            "task.data = { hf = \"a/b\", format = \"jsonl\", lines = \"separate\" }",
            "task.data.lines: says what a line of plain text is, and this data is of format \"jsonl\"",
        ),
        (
            "labeler.reviews = { hf = \"a/b\", held_out_files = \"test*\" }",
            "labeler.reviews.held_out_files: the classifier holds out every tenth review",
        ),
        (
            "task.data = { path = \"/dev/null\", format = \"csv\", revision = \"main\" }",
            "task.data.revision: a revision",
        ),
        ("model.weights.hf = \"gpt2--x\"", "model.weights.hf: \"gpt2--x\" is not a name on the hub"),
        ("model.weights.revision = \"main\"", "model.weights.revision: a revision belongs to `hf`"),
        ("[model.weights]\nhf = \"a/b\"\npath = \"\"", "model.weights: both `path` and `hf` are given"),
        (
            "task.data.path = \"/no/such/thing.txt\"",
            "task.data.path: there is no file or folder \"/no/such/thing.txt\"",
        ),
        ("labeler.reviews = { path = \"/no/such/thing.tsv\" }", "labeler.reviews.path: there is no file"),
        ("labeler.reviews = { path = \"/\", format = \"text\" }", "labeler.reviews.format: reviews need labels"),
        ("task.data.path = \"/dev/null\"", "task.data.path: the format of \"/dev/null\" is not known"),
        ("model.weights.path = \"/no/such\"", "model.weights.path: there is no file"),
        ("[model.weights]\npath = \"\"\npretrain = {}", "model.weights: both"),
        ("labeler.kind = \"recorded\"", "labeler.kind: recorded labels need labeler.source or labeler.path"),
        ("labeler = { kind = \"recorded\", path = \"/no/such.json\" }", "labeler.path: there is no file or folder"),
        ("labeler.path = \"\"", "labeler.path: belongs to recorded labels, and labeler.kind = \"mock\""),
        ("labeler.format = \"lm_human_preferences\"", "labeler.format: belongs to recorded labels"),
        ("labeler.split = \"train\"", "labeler.split: belongs to recorded labels"),
        (
            "labeler = { kind = \"recorded\", path = \"\" }\ncollect.schedule = \"direct\"",
            "collect.schedule: \"direct\" trains on the mock labeler's own score",
        ),
        (
            "labeler = { kind = \"recorded\", path = \"\", format = \"lm_human_preferences\", split = \"train\" }",
            "labeler.split: files of format \"lm_human_preferences\" have no splits",
        ),
    ];
    for (body, wanted) in broken {
        let found = problems(body);
        assert!(found.len() == 1 && found[0].contains(wanted), "{body}: {found:?}");
    }
    for fine in [
        "collect = { labels = 8, schedule = \"direct\" }",
        "policy.kl = { init = 0.0, schedule = \"constant\" }",
        "policy = { batch_size = 4, episodes = 4, whiten_rewards = false }",
        "model.weights = { hf = \"openai-community/gpt2-large\", revision = \"refs/pr/3\" }",
        "task.data = { hf = \"a/b\" }",
        "task.data = { hf = \"a/b\", files = \"x/*.jsonl.gz\", held_out_files = \"y/*\", columns = { text = \"c\" }, limit = 5 }",
        "labeler.reviews = { hf = \"fancyzhx/amazon_polarity\" }",
        "task.data.limit = 5",
        "labeler = { kind = \"recorded\", path = \"\", format = \"summarize_from_feedback\", split = \"train\" }",
        "labeler = { kind = \"recorded\", path = \"\", reviews = {} }\nmodel.size = \"small\"\ntask.query_length = 200",
    ] {
        assert_eq!(problems(fine), [""; 0], "{fine}");
    }
}

#[test]
fn a_source_set_above_replaces_the_one_below() -> Outcome {
    let hub = "[task.data]\nhf = \"a/b\"\nrevision = \"v1\"\nfiles = \"*.csv\"\ncolumns = { text = \"t\" }\n[model.weights]\nhf = \"a/m\"\nrevision = \"v2\"\n";
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_string_lossy().into_owned();
    let path = ok(hub, &set(&[&format!("task.data.path={folder:?}"), "task.data.format=csv"]))?.spec.task.data;
    assert_eq!((path.hf, path.revision, path.files, path.columns.text), (None, None, None, Some("t".into())));
    let synthetic = ok(hub, &set(&["task.data.synthetic=storyworld"]))?.spec.task.data;
    assert_eq!(synthetic, DataSpec { synthetic: Some(Synthetic::Storyworld), ..DataSpec::default() });
    let other = ok(hub, &set(&["task.data.hf=c/d", "model.weights.hf=c/m"]))?.spec;
    assert_eq!((other.task.data.revision, other.task.data.files, other.model.weights.revision), (None, None, None));
    let trained = ok(hub, &set(&["model.weights.pretrain.steps=3"]))?.spec.model.weights;
    assert!(trained.hf.is_none() && trained.revision.is_none() && trained.pretrain.is_some());
    let pinned = ok(hub, &set(&["model.weights.revision=v3"]))?.spec.model.weights;
    assert_eq!((pinned.hf.as_deref(), pinned.revision.as_deref()), (Some("a/m"), Some("v3")));
    Ok(())
}

#[test]
fn patterns_choose_from_folders_whose_format_is_known() -> Outcome {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::write(at("a.csv"), "text\nx\n")?;
    let data = |rest: &str| problems(&format!("task.data = {{ path = {:?}{rest} }}", dir.path()));
    assert_eq!(data(""), [""; 0]);
    std::fs::write(at("b.jsonl"), "\"x\"\n")?;
    assert!(data("")[0].contains("holds files of several formats; add format"), "{:?}", data(""));
    assert_eq!(data(", files = \"*.jsonl\""), [""; 0]);
    let one = problems(&format!("task.data = {{ path = {:?}, files = \"*\", format = \"csv\" }}", at("a.csv")));
    assert!(one[0].contains("is one file; a pattern chooses from a folder"), "{one:?}");
    Ok(())
}

#[test]
fn an_empty_path_is_wanted_only_by_a_run() -> Outcome {
    let body = "task.data.path = \"\"\nlabeler.reviews.path = \"\"\n";
    ok(body, &Options::default())?;
    let run = Options { for_run: true, ..Options::default() };
    let found = load_text(&format!("{HEAD}{body}"), &run).err().unwrap_or_default();
    assert_eq!(found[0], "x.toml:3:11: task.data.path: no path is given; give it by --set task.data.path=PATH");
    assert_eq!(found.len(), 2);
    let given =
        Options { check_files: false, for_run: true, ..set(&["task.data.path=books/", "labeler.reviews.path=r.tsv"]) };
    assert_eq!(ok(body, &given)?.spec.task.data.path.as_deref(), Some("books/"));
    Ok(())
}

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

#[test]
fn resolved_default_loads_to_itself() -> Outcome {
    let loaded = ok("", &Options::default())?;
    let again = load_text(&resolved_toml(&loaded.spec), &Options::default()).map_err(|problems| problems.join("\n"))?;
    assert_eq!(again.spec, loaded.spec);
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
fn simulated_labelers_are_checked() -> Outcome {
    let simulated = |more: &str| format!("labeler.kind = \"simulated\"\n{more}");
    let loaded = ok(&simulated("task.data.synthetic = \"posts\""), &Options::default())?;
    assert!(!loaded.spec.labeler.has_classifier());
    let scored = ok(&simulated("labeler.simulated.weight_score = 1.0"), &Options::default())?;
    assert!(scored.spec.labeler.has_classifier());
    for (more, message) in [
        ("labeler.simulated.weight_copy = 0.0", "labels of noise alone teach nothing"),
        ("labeler.simulated.temperature = -1.0", "labeler.simulated.temperature"),
        ("labeler.simulated.labelers = 0", "labeler.simulated.labelers"),
        ("collect.schedule = \"direct\"", "simulated labels have none"),
        ("labeler.path = \"x\"", "labeler.kind = \"simulated\""),
    ] {
        let found = problems(&simulated(more)).join("\n");
        assert!(found.contains(message), "{more}: {found}");
    }
    Ok(())
}

#[test]
fn a_schedule_brings_its_keys_and_takes_them_away() -> Outcome {
    let online = "collect.schedule = \"online\"\ncollect.initial = 600\n";
    let loaded = ok(online, &Options::default())?;
    let c = &loaded.spec.collect;
    assert_eq!((c.initial, c.retrain, c.validation_share, c.outstanding), (Some(600), Some(19), Some(0.1), None));
    assert_eq!(loaded.origins.get("collect.retrain"), Some(&Origin::Default));
    // A run or an argument that takes another schedule drops what only the first has.
    let runs =
        ok(&format!("{online}[runs.offline]\ncollect.schedule = \"offline\"\n[runs.same]\n"), &Options::default())?;
    assert_eq!(
        runs.variants[0].1.collect,
        CollectSpec { labels: c.labels, held_out: c.held_out, ..CollectSpec::default() }
    );
    assert_eq!(runs.variants[1].1.collect, *c);
    let text = resolved_toml(&runs.spec);
    let again = load_text(&text, &Options::default()).map_err(|problems| format!("{problems:?}\n{text}"))?;
    assert_eq!(again.variants, runs.variants, "{text}");
    let batched = ok(online, &set(&["collect.schedule=batched"]))?.spec.collect;
    assert_eq!((batched.initial, batched.rounds, batched.retrain), (None, Some(2), None));
    let listed =
        ok("collect = { schedule = \"batched\", labels = 600, round_labels = [500, 50, 50] }\n", &Options::default())?;
    assert_eq!((listed.spec.collect.rounds, listed.spec.collect.rounds()), (None, 3));

    let people = ok(
        "labeler.kind = \"human\"\nlabeler.batches = \"b\"\n[runs.mock]\nlabeler.kind = \"mock\"\n",
        &Options::default(),
    )?;
    assert_eq!(people.spec.labeler.human, Some(HumanSpec::default()));
    let mock = &people.variants[0].1.labeler;
    assert_eq!((&mock.human, &mock.batches), (&None, &None));
    assert_eq!(ok("", &Options::default())?.spec.labeler.human, None);
    Ok(())
}

/// The bodies of issue 12: `--set labeler.path=FILE` of a spec with recorded labels was refused by the numbers and kinds of a
/// smoke profile that nobody had asked for.
const RECORDED: &str = "labeler = { kind = \"recorded\", path = \"\" }\ncollect.labels = 512\n[profile.smoke]\nlabeler.kind = \"simulated\"\ncollect = { schedule = \"online\", labels = 320, initial = 256 }\n";

#[test]
fn a_profile_that_is_not_chosen_is_not_checked_with_the_command_line() -> Outcome {
    for all_profiles in [false, true] {
        let options = |arguments: &[&str]| Options { all_profiles, ..set(arguments) };
        let given = ok(RECORDED, &options(&["labeler.path=/dev/null", "labeler.format=lm_human_preferences"]))?;
        assert_eq!(given.spec.labeler.path.as_deref(), Some("/dev/null"));
        assert_eq!(ok(RECORDED, &options(&["collect.labels=128"]))?.spec.collect.labels, 128);
        // Chosen, it is checked with the command line, and the message says who set the other value.
        let smoke = Options { profile: Some("smoke".into()), ..options(&["labeler.path=/dev/null"]) };
        let found = load_text(&format!("{HEAD}{RECORDED}"), &smoke).err().unwrap_or_default();
        assert_eq!(
            found,
            [
                "command line: labeler.path: belongs to recorded labels, and labeler.kind = \"simulated\" (profile.smoke.labeler.kind is set at x.toml:6); set labeler.kind = \"recorded\", or remove the key"
            ]
        );
    }
    Ok(())
}

#[test]
fn a_profile_is_checked_as_written_by_validate_alone() -> Outcome {
    let body = "[profile.smoke.policy]\nminibatches = 5\n";
    ok(body, &set(&["policy.episodes=1024"]))?;
    assert_eq!(
        problems(body),
        ["x.toml:4:1: profile.smoke.policy.minibatches: a batch of 512 does not divide into 5 minibatches"]
    );
    // Also where another profile is chosen.
    let other = Options { profile: Some("night".into()), ..all_profiles() };
    assert_eq!(load_text(&format!("{HEAD}{body}[profile.night]\n"), &other).err().map(|found| found.len()), Some(1));
    Ok(())
}

#[test]
fn a_mistake_of_the_child_is_not_said_again_of_the_base_s_profile() -> Outcome {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("x.toml");
    std::fs::write(dir.path().join("b.toml"), format!("{HEAD}[profile.smoke.policy]\nepisodes = 1024\n"))?;
    std::fs::write(&file, "extends = \"b.toml\"\npolicy.batch_size = 500\n")?;
    let found = load(&file, &all_profiles()).err().unwrap_or_default();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].path.as_str(), found[0].line), ("policy.batch_size", 2));
    // Only the profile is broken by it: the message says which two values do not fit.
    std::fs::write(&file, "extends = \"b.toml\"\npolicy = { batch_size = 500, episodes = 1000 }\n")?;
    let found = load(&file, &all_profiles()).err().unwrap_or_default();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "profile.smoke.policy.episodes");
    assert!(
        found[0].message.contains("policy.batch_size is set at") && found[0].message.contains("x.toml:2"),
        "{found:?}"
    );
    load(&file, &Options::default()).map_err(|found| found[0].to_string())?;
    Ok(())
}

#[test]
fn a_rule_broken_by_two_keys_blames_the_file_and_not_what_it_extends() -> Outcome {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("x.toml");
    std::fs::write(dir.path().join("b.toml"), format!("{HEAD}task.query_length = 64\n"))?;
    std::fs::write(&file, "extends = \"b.toml\"\ntask.response_length = 100\n")?;
    let found = load(&file, &Options::default()).err().unwrap_or_default();
    assert!(found.iter().all(|problem| problem.path == "task.response_length"), "{found:?}");
    assert!(!found.is_empty());
    Ok(())
}

#[test]
fn a_run_of_the_chosen_profile_can_be_set() -> Outcome {
    let body = "[profile.p.runs.d]\npolicy.epochs = 9\n";
    let options = Options { profile: Some("p".into()), ..set(&["runs.d.policy.epochs=7"]) };
    assert_eq!(ok(body, &options)?.variants[0].1.policy.epochs, 7);
    let found = load_text(&format!("{HEAD}{body}"), &set(&["runs.d.policy.epochs=7"])).err().unwrap_or_default();
    assert_eq!(found, ["command line: runs.d.policy.epochs: there is no run \"d\"; runs: none"]);
    Ok(())
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

/// biome #11873: the base's `path = "docs.txt"` was looked for where the program runs and beside the child, where another
/// file of that name was read without a word.
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

#[test]
fn a_size_beside_weights_of_another_is_refused() -> Outcome {
    let dir = tempfile::tempdir()?;
    std::fs::write(
        dir.path().join("config.json"),
        r#"{"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 64, "vocab_size": 300}"#,
    )?;
    let weights = format!("model.weights.path={:?}", dir.path().to_string_lossy());
    let wrong = ok("", &set(&[&weights, "model.size=774M"])).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(
        wrong,
        "command line: model.size: is 36 layers, 20 heads, width 1280, context 1024, and the weights have 2 layers, 2 heads, width 32, context 64; leave it out: weights bring their size"
    );
    // Other weights than those of the file bring another size, which the resolved spec says.
    let body =
        "[model]\nsize = \"774M\"\nweights = { hf = \"openai-community/gpt2-large\" }\n[task]\nquery_length = 32\n";
    let loaded = ok(body, &set(&[&weights]))?;
    assert_eq!(loaded.spec.model.dimensions(), Dimensions { layers: 2, heads: 2, width: 32, context: 64 });
    let again = load_text(&resolved_toml(&loaded.spec), &Options::default()).map_err(|problems| problems.join("\n"))?;
    assert_eq!(again.spec, loaded.spec);
    let smaller = ok(body, &set(&["model.weights.hf=openai-community/gpt2"]))?;
    assert_eq!(smaller.spec.model.size, ModelSize::M124);
    assert!(ok(body, &set(&["model.size=124M"])).is_err());
    Ok(())
}

#[test]
fn odd_values_are_remarked_on_and_taken() -> Outcome {
    let loaded = ok("task.temperature = 70.0\n", &set(&["policy.kl.target=3000", "policy.cliprange=20"]))?;
    let paths: Vec<&str> = loaded.remarks.iter().map(|remark| remark.path.as_str()).collect();
    assert_eq!(paths, ["policy.cliprange", "policy.kl.target", "task.temperature"]);
    assert_eq!(loaded.remarks[2].line, 3);
    assert!(ok("", &Options::default())?.remarks.is_empty());
    Ok(())
}
