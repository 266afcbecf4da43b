//! Rules between keys.

use super::*;

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
        (
            "policy.blocks = 3",
            "policy.blocks: gradients are added in a binary tree, and 3 is no power of two; take 2 or 4",
        ),
        (
            "policy = { blocks = 16, batch_size = 24, episodes = 24 }",
            "a minibatch of 24 episodes does not divide into 16 blocks; 8 is the largest number",
        ),
        (
            "policy = { blocks = 8, whiten_in = \"block\", batch_size = 32, episodes = 32 }",
            "each of the 8 blocks of a minibatch has 4; enlarge policy.batch_size, lower policy.blocks",
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
        "policy = { blocks = 4, batch_size = 8, episodes = 8 }",
        "policy = { blocks = 8, whiten_in = \"block\", batch_size = 32, episodes = 32, whiten_rewards = false }",
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
fn patterns_choose_from_folders_whose_format_is_known() -> Outcome {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::write(at("a.csv"), "text\nx\n")?;
    let data = |rest: &str| problems(&format!("task.data = {{ path = {:?}{rest} }}", dir.path()));
    assert_eq!(data(""), [""; 0]);
    std::fs::write(at("b.jsonl"), "\"x\"\n")?;
    assert!(data("")[0].contains("holds files of several formats, "), "{:?}", data(""));
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
