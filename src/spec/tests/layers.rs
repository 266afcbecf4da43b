//! Defaults, presets, files, profiles, runs and the command line, one over the other.

use super::*;
use crate::spec::keyed::{PolicyKey, is_what_silence_meant};
use serde_json::json;

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

/// The released code whitens in the eight processes that it starts; whoever follows nobody has none.
#[test]
fn blocks_are_the_released_codes_and_nobody_elses() -> Outcome {
    // Room for the summaries' queries.
    let room = "model.size = \"124M\"\nlabeler.classifier.dimensions.context = 1024\n";
    let of = |body: &str| {
        let options = Options { check_files: false, ..Options::default() };
        ok(&format!("{room}{body}"), &options).map(|loaded| loaded.spec.policy)
    };
    for preset in ["sentiment", "descriptiveness", "tldr", "cnndm"] {
        let released = of(&format!("task.preset = \"{preset}\""))?;
        assert_eq!((released.blocks, released.whiten_in), (8, WhitenIn::Block), "{preset}");
        let paper = of(&format!("follows = \"paper\"\ntask.preset = \"{preset}\""))?;
        assert_eq!((paper.blocks, paper.whiten_in), (1, WhitenIn::Minibatch), "{preset}");
    }
    let nobody = of("")?;
    assert_eq!((nobody.blocks, nobody.whiten_in), (1, WhitenIn::Minibatch));
    Ok(())
}

/// What was made before there were blocks goes on: one block is in no key, and an older spec means it.
#[test]
fn one_block_changes_no_key_of_a_policy() -> Outcome {
    let key = |body: &str| ok(body, &Options::default()).map(|l| json!(PolicyKey::of(&l.spec)).to_string());
    let plain = key("")?;
    assert!(!plain.contains("blocks") && !plain.contains("whiten_in"), "{plain}");
    assert_eq!(key("policy.whiten_in = \"block\"")?, plain, "one block is the minibatch");
    let four = key("policy.blocks = 4")?;
    assert!(four.contains("\"blocks\":4") && !four.contains("whiten_in"), "{four}");
    assert!(key("policy = { blocks = 4, whiten_in = \"block\" }")?.contains("\"whiten_in\":\"block\""));
    assert!(is_what_silence_meant("policy.blocks", "1") && !is_what_silence_meant("policy.blocks", "8"));
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
            "command line: policy.tarket: unknown key; valid keys: source, path, algorithm, samples_per_query, dpo, episodes, batch_size, minibatches, epochs, lr, adam, gamma, lam, cliprange, cliprange_value, vf_coef, whiten_rewards, blocks, whiten_in, checkpoint_every, kl, entropy"
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
fn resolved_default_loads_to_itself() -> Outcome {
    let loaded = ok("", &Options::default())?;
    let again = load_text(&resolved_toml(&loaded.spec), &Options::default()).map_err(|problems| problems.join("\n"))?;
    assert_eq!(again.spec, loaded.spec);
    Ok(())
}

/// The bodies of issue 12: `--set labeler.path=FILE` of a spec with recorded labels was refused by the numbers and
/// kinds of a smoke profile that nobody had asked for.
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

/// A spec that is silent has the text, and the names of stages, that it had before there was a choice.
#[test]
fn precision_is_said_where_it_is_not_float32() -> Outcome {
    let of = |body: &str| ok(body, &Options::default()).map(|loaded| loaded.spec);
    let (silent, same, half) = (of("")?, of("model.precision = \"f32\"")?, of("model.precision = \"f16\"")?);
    assert_eq!(silent, same);
    assert!(!resolved_toml(&same).contains("precision") && resolved_toml(&half).contains("precision = \"f16\""));
    assert_eq!(
        (same.model.precision.on("a card"), half.model.precision.on("a card")),
        ("a card".into(), "a card f16".into())
    );
    Ok(())
}

/// 16-bit products have a limit of their own, unless somebody sets one, in whatever layer.
#[test]
fn float16_has_a_ratio_tolerance_of_its_own() -> Outcome {
    let of = |body: &str| ok(body, &Options::default()).map(|loaded| loaded.spec.guards.ratio_tolerance);
    let half = "model.precision = \"f16\"\n";
    assert_eq!((of("")?, of(half)?), (GuardsSpec::default().ratio_tolerance, GuardsSpec::RATIO_TOLERANCE_F16));
    assert_eq!(of(&format!("{half}guards.ratio_tolerance = 0.001"))?, 0.001);
    Ok(())
}
