//! Suites from files: what is chosen is checked with the command line, what is not as it is written.

use super::*;
use std::error::Error;

type Outcome = Result<(), Box<dyn Error>>;

const SPEC: &str = "spec_version = 1\nname = \"x\"\ncollect.labels = 512\n[profile.smoke]\ncollect = { schedule = \"online\", labels = 320, initial = 256 }\n";
const SUITE: &str = "suite_version = 1\nname = \"s\"\nmakes = \"table4_rouge\"\nseeds = [1, 2]\n[members.a]\nspec = \"x.toml\"\n[members.b]\nspec = \"x.toml\"\n[members.people]\nspec = \"people.toml\"\nset = { \"labeler.human.gold\" = \"gold.jsonl\" }\n[profile.smoke]\nseeds = [1]\n[profile.smoke.members.b]\nset = { \"collect.held_out\" = 8 }\n";

/// A folder with a suite of three members, one of which asks people.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("x.toml"), SPEC)?;
    let people = format!("{SPEC}[labeler]\nkind = \"human\"\nbatches = \"labels/x\"\n");
    std::fs::write(dir.path().join("people.toml"), people)?;
    std::fs::write(dir.path().join("gold.jsonl"), "")?;
    std::fs::write(dir.path().join("s.toml"), SUITE)?;
    Ok(dir)
}

fn set(arguments: &[&str]) -> SuiteOptions {
    SuiteOptions { set: arguments.iter().map(|argument| argument.to_string()).collect(), ..SuiteOptions::default() }
}

fn loaded(dir: &tempfile::TempDir, options: &SuiteOptions) -> Result<LoadedSuite, Box<dyn Error>> {
    load(&dir.path().join("s.toml"), options).map_err(|problems| format!("{problems:?}").into())
}

fn refused(dir: &tempfile::TempDir, options: &SuiteOptions) -> Vec<String> {
    let found = load(&dir.path().join("s.toml"), options).err().unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn numbers_of_a_smoke_profile_do_not_refuse_the_full_path() -> Outcome {
    let dir = folder()?;
    for all_profiles in [false, true] {
        let options = SuiteOptions { all_profiles, ..set(&["collect.labels=128"]) };
        let suite = loaded(&dir, &options)?;
        assert!(suite.members.iter().all(|member| member.loaded.spec.collect.labels == 128));
    }
    // Where it is chosen, they do, and it is said once, of whom, and what set the other number.
    let smoke = SuiteOptions { profile: Some("smoke".into()), ..set(&["collect.labels=128"]) };
    let found = refused(&dir, &smoke);
    let (of_x, of_people) = (&found[0], &found[1]);
    assert!(found.len() == 2 && of_x.ends_with("(for a, b)") && of_people.ends_with("(for people)"), "{found:?}");
    assert!(of_x.contains("profile.smoke.collect.initial is set at"), "{found:?}");
    Ok(())
}

#[test]
fn a_profile_of_a_suite_is_checked_as_written_with_its_members() -> Outcome {
    let dir = folder()?;
    let broken = SUITE.replace("\"collect.held_out\" = 8", "\"collect.labels\" = 100");
    std::fs::write(dir.path().join("s.toml"), broken)?;
    loaded(&dir, &SuiteOptions::default())?;
    let found = refused(&dir, &SuiteOptions { all_profiles: true, ..SuiteOptions::default() });
    assert!(found.len() == 1 && found[0].contains("members.b.set.collect.labels: 256 labels"), "{found:?}");
    Ok(())
}

#[test]
fn a_mistake_of_the_command_line_is_said_once_for_all_members() -> Outcome {
    let found = refused(&folder()?, &set(&["policy.lrr=1"]));
    assert!(found.len() == 1 && found[0].contains("policy.lrr: unknown key (for every member)"), "{found:?}");
    Ok(())
}

#[test]
fn people_of_a_member_answer_each_seed_in_a_directory_of_its_own() -> Outcome {
    let dir = folder()?;
    let suite = loaded(&dir, &SuiteOptions::default())?;
    let batches: Vec<String> =
        suite.members.iter().filter_map(|member| member.loaded.spec.labeler.batches.clone()).collect();
    assert_eq!(batches, ["labels/x-seed-1", "labels/x-seed-2"]);
    // What the suite writes lies beside the suite.
    let human = suite.members[4].loaded.spec.labeler.human.as_ref().ok_or("no people")?;
    assert_eq!(human.gold.as_deref(), dir.path().join("gold.jsonl").to_str());
    Ok(())
}

#[test]
fn a_part_of_a_suite_is_chosen_by_name() -> Outcome {
    let dir = folder()?;
    let of = |members: &[&str], skip: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        SuiteOptions { selection: Selection { members: names(members), skip: names(skip) }, ..SuiteOptions::default() }
    };
    let folders = |options: &SuiteOptions| -> Result<Vec<String>, Box<dyn Error>> {
        Ok(loaded(&dir, options)?.members.iter().map(LoadedMember::folder).collect())
    };
    assert_eq!(folders(&of(&["b"], &[]))?, ["b-seed-1", "b-seed-2"]);
    assert_eq!(folders(&of(&[], &["b", "people"]))?, ["a-seed-1", "a-seed-2"]);
    assert_eq!(loaded(&dir, &of(&["b"], &[]))?.suite.members.0.len(), 3);
    assert_eq!(
        refused(&dir, &of(&["peple"], &["c"])),
        [
            "command line: --members: there is no member \"peple\"; did you mean \"people\"?",
            "command line: --skip: there is no member \"c\"; did you mean \"a\"?",
            "command line: --members and --skip leave no member",
        ]
    );
    let options = SuiteOptions { set: vec!["member.a.seed=3".into()], ..of(&["b"], &[]) };
    assert_eq!(
        refused(&dir, &options),
        ["command line: member.a.seed: member \"a\" is left out by --members or --skip"]
    );
    Ok(())
}

#[test]
fn a_resolved_suite_holds_wherever_its_directory_goes() -> Outcome {
    let (dir, out) = (folder()?, tempfile::tempdir()?);
    let suite = loaded(&dir, &SuiteOptions::default())?;
    let text = resolved_toml(&portable_suite(&suite.suite, out.path()), None);
    std::fs::write(out.path().join("suite.toml"), text)?;
    let again =
        load(&out.path().join("suite.toml"), &SuiteOptions::default()).map_err(|problems| format!("{problems:?}"))?;
    assert_eq!(again.suite.members.0.len(), 3);
    assert_eq!(again.members[4].loaded.spec, suite.members[4].loaded.spec);
    Ok(())
}
