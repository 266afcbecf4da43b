//! Which keys belong to which algorithm, and what best-of-n needs.

use super::*;
use crate::spec::AlgorithmKind;

#[test]
fn keys_of_one_algorithm_are_refused_beside_another() {
    let dpo = "policy.algorithm = \"dpo\"\n";
    let rloo = "policy.algorithm = \"rloo\"\n";
    let broken = [
        (
            format!("{rloo}policy.samples_per_query = 1"),
            "policy.samples_per_query: RLOO compares each response with the others to its query, and of 1 there are no others; take 2",
        ),
        (
            format!("{rloo}policy.samples_per_query = 3"),
            "policy.samples_per_query: a batch of 512 episodes does not divide into queries of 3 samples each; take 510 or 513",
        ),
        (
            "policy.samples_per_query = 4".into(),
            "policy.samples_per_query: belongs to RLOO, and policy.algorithm = \"ppo\"",
        ),
        (format!("{dpo}policy.samples_per_query = 4"), "policy.samples_per_query: belongs to RLOO"),
        ("policy.dpo.beta = 0.3".into(), "policy.dpo: belongs to DPO, and policy.algorithm = \"ppo\""),
        (format!("{rloo}policy.lam = 1.0"), "policy.lam: belongs to PPO, and policy.algorithm = \"rloo\""),
        (format!("{rloo}policy.whiten_rewards = false"), "policy.whiten_rewards: belongs to PPO"),
        (
            format!("{dpo}policy.lr = 1e-4"),
            "policy.lr: belongs to PPO and RLOO, and policy.algorithm = \"dpo\"; DPO has policy.dpo.lr; remove the key",
        ),
        (format!("{dpo}policy.kl.target = 3.0"), "policy.kl.target: belongs to PPO and RLOO"),
        (format!("{dpo}policy.vf_coef = 0.5"), "policy.vf_coef: belongs to PPO, and policy.algorithm = \"dpo\""),
        (format!("{dpo}policy.entropy = {{ init = 0.1 }}"), "policy.entropy"),
        (
            format!("{dpo}collect.schedule = \"direct\""),
            "policy.algorithm: DPO learns from labels, and collect.schedule = \"direct\" collects none for it; take",
        ),
        (format!("{dpo}collect.schedule = \"none\""), "policy.algorithm: DPO learns from labels"),
        (
            format!("{dpo}collect.schedule = \"online\""),
            "policy.algorithm: DPO learns from labels, and all of them before it",
        ),
        (
            format!("{dpo}reward.source = \"released/sentiment/reward_model\""),
            "policy.algorithm: DPO learns from labels, and where the reward model is given",
        ),
        (
            format!("{dpo}collect.labels = 40"),
            "collect.labels: a step of DPO takes 64 labels, and only collect.labels = 40",
        ),
        (format!("{dpo}evaluate.best_of = [1, 4]"), "evaluate.best_of: the best of n is the best by r"),
        (
            "evaluate.best_of = [4, 1]".into(),
            "evaluate.best_of: numbers of samples rise, and 1 comes after 4; take [1, 4]",
        ),
        (
            "evaluate.best_of = [4, 4]".into(),
            "evaluate.best_of: numbers of samples rise, and 4 comes after 4; take [4]",
        ),
        (
            "evaluate.best_of = [1, 100000]".into(),
            "evaluate.best_of: 1024 queries of 100000 samples are more than 10000000",
        ),
        ("evaluate.best_of = [0, 4]".into(), "evaluate.best_of.0: must be at least 1, found 0"),
        ("policy.algorithm = \"grpo\"".into(), "policy.algorithm: expected one of"),
    ];
    for (body, expected) in broken {
        let found = problems(&format!("{body}\n"));
        assert!(found.iter().any(|p| p.contains(expected)), "{body}: {found:?}");
        assert!(found.iter().all(|p| p.starts_with("x.toml:")), "every one has its place: {found:?}");
    }
}

#[test]
fn each_algorithm_has_its_own_numbers_and_nothing_of_the_others() -> Result<(), Box<dyn std::error::Error>> {
    let base = "policy.lam = 1.0\npolicy.kl.target = 3.0\npolicy.lr = 1e-4\n";
    let runs = "[runs.ppo]\n[runs.rloo]\npolicy.algorithm = \"rloo\"\npolicy.samples_per_query = 8\n[runs.dpo]\npolicy.algorithm = \"dpo\"\npolicy.dpo.beta = 0.5\n";
    let loaded = ok(&format!("{base}{runs}"), &Options::default())?;
    let of = |name: &str| &loaded.variants.iter().find(|(run, _)| run == name).expect("a run").1.policy;
    let (ppo, rloo, dpo) = (of("ppo"), of("rloo"), of("dpo"));
    assert_eq!((ppo.algorithm, ppo.lam, ppo.samples_per_query()), (AlgorithmKind::Ppo, 1.0, 1));
    assert_eq!((rloo.lam, rloo.kl.target, rloo.samples_per_query()), (0.95, 3.0, 8));
    assert_eq!((dpo.lr, dpo.dpo().beta, dpo.dpo().batch_size), (1e-5, 0.5, 64));
    // What was written for PPO alone is said not to act in the others.
    let idle: Vec<&str> = loaded.remarks.iter().map(|r| r.path.as_str()).collect();
    assert!(idle.contains(&"policy.lam") && idle.contains(&"policy.lr"), "{idle:?}");
    // The resolved spec is read back as it is.
    let again = load_text(&resolved_toml(&loaded.spec), &Options::default()).map_err(|problems| problems.join("\n"))?;
    assert_eq!(again.variants, loaded.variants);
    // PPO in the place of another.
    let other = "policy.algorithm = \"rloo\"\npolicy.samples_per_query = 8\n[runs.a]\n[runs.b]\npolicy.algorithm = \"ppo\"\npolicy.lam = 1.0\n";
    let loaded = ok(other, &Options::default())?;
    let b = &loaded.variants[1].1.policy;
    assert_eq!((b.algorithm, b.samples_per_query, b.lam), (AlgorithmKind::Ppo, None, 1.0));
    let again = load_text(&resolved_toml(&loaded.spec), &Options::default()).map_err(|problems| problems.join("\n"))?;
    assert_eq!(again.variants, loaded.variants);
    Ok(())
}

/// Names of finished stages hold no word of algorithms where PPO learns.
#[test]
fn a_policy_of_ppo_has_the_name_that_it_always_had() -> Result<(), Box<dyn std::error::Error>> {
    let of = |body: &str| -> Result<String, Box<dyn std::error::Error>> {
        let spec = ok(body, &Options::default())?.variants.remove(0).1;
        Ok(serde_json::to_string(&crate::spec::keyed::PolicyKey::of(&spec))?)
    };
    let ppo = of("")?;
    assert!(ppo.starts_with("{\"episodes\":") && !ppo.contains("algorithm"), "{ppo}");
    assert_eq!(of("policy.algorithm = \"ppo\"\n")?, ppo);
    let rloo = of("policy.algorithm = \"rloo\"\n")?;
    assert!(rloo.contains("[\"rloo\",4]"), "{rloo}");
    assert_eq!(of("policy.algorithm = \"rloo\"\npolicy.samples_per_query = 4\n")?, rloo);
    Ok(())
}
