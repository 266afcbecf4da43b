//! Stages that several tasks share come first, each made by one of them: the others would wait for it, and hold a node
//! while they do.

use std::collections::{BTreeMap, BTreeSet};

/// The stages of a task's runs, in order: name, and what tells it from others.
pub type Stages = Vec<Vec<(&'static str, String)>>;

/// One task as far as a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub task: String,
    pub until: &'static str,
}

/// A stretch of stages that the same tasks share.
struct Stretch {
    tasks: BTreeSet<usize>,
    /// Its last stage.
    until: &'static str,
}

/// What runs before the tasks, wave after wave: of every stretch of stages that the same two or more tasks need, one
/// task as far as its end. `skip`: tasks that are done, with all that they share.
pub fn waves(tasks: &[(String, Stages)], skip: &[String]) -> Vec<Vec<Step>> {
    let mut users: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (i, (_, stages)) in tasks.iter().enumerate() {
        for (_, key) in stages.iter().flatten() {
            users.entry(key).or_default().insert(i);
        }
    }
    let done = |set: &BTreeSet<usize>| set.iter().any(|i| skip.contains(&tasks[*i].0));
    // By their first task; the order of stages is that in which they depend on each other.
    let mut by_depth: Vec<Vec<Stretch>> = Vec::new();
    for (_, stages) in tasks {
        for run in stages {
            let mut depth = 0;
            let shared = run.iter().filter_map(|(stage, key)| Some((*stage, users.get(key.as_str())?)));
            let shared: Vec<_> = shared.filter(|(_, set)| set.len() > 1 && !done(set)).collect();
            for stretch in shared.chunk_by(|a, b| a.1 == b.1) {
                let Some((until, set)) = stretch.last() else { continue };
                if by_depth.len() == depth {
                    by_depth.push(Vec::new());
                }
                let known = by_depth.iter().flatten().any(|known| known.tasks == **set && known.until == *until);
                if !known {
                    by_depth[depth].push(Stretch { tasks: (*set).clone(), until });
                }
                depth += 1;
            }
        }
    }
    let mut waves: Vec<Vec<Step>> = Vec::new();
    for stretches in by_depth {
        let mut wave: Vec<Step> = Vec::new();
        for Stretch { tasks: set, until } in stretches {
            // A task runs once at a time; where all of a stretch are taken, its tasks make or wait for it themselves.
            let free = set.iter().map(|i| &tasks[*i].0).find(|task| wave.iter().all(|step| step.task != **task));
            wave.extend(free.map(|task| Step { task: task.clone(), until }));
        }
        if !wave.is_empty() {
            waves.push(wave);
        }
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, runs: &[&str]) -> (String, Stages) {
        let stage = |word: &str| {
            let stage = match word.as_bytes()[0] {
                b'p' => "pretrain",
                b'c' => "classifier",
                b'l' => "labels",
                b'r' => "reward",
                _ => "policy",
            };
            (stage, word.to_string())
        };
        (name.into(), runs.iter().map(|run| run.split(' ').map(stage).collect()).collect())
    }

    fn said(waves: &[Vec<Step>]) -> Vec<Vec<(&str, &str)>> {
        waves.iter().map(|wave| wave.iter().map(|s| (s.task.as_str(), s.until)).collect()).collect()
    }

    #[test]
    fn each_shared_stretch_is_made_once_before_what_stands_on_it() {
        // Two seeds, each with a ρ and an r_s of its own, two members.
        let seeds = [
            task("a1", &["p1 c1 z1"]),
            task("b1", &["p1 c1 z2"]),
            task("a2", &["p2 c2 z3"]),
            task("b2", &["p2 c2 z4"]),
        ];
        assert_eq!(said(&waves(&seeds, &[])), [[("a1", "classifier"), ("a2", "classifier")]]);
        // What a task that is done shares is there.
        assert_eq!(said(&waves(&seeds, &["b1".into()])), [[("a2", "classifier")]]);
        // A branch: all share ρ, two of three its labels and reward model.
        let branch = [task("a", &["p c1 l1 r1 z1"]), task("b", &["p c1 l1 r1 z2"]), task("c", &["p c2 l2 r2 z3"])];
        assert_eq!(said(&waves(&branch, &[])), [[("a", "pretrain")], [("a", "reward")]]);
        assert!(waves(&[task("a", &["p z1"]), task("b", &["p2 z2"])], &[]).is_empty());
    }

    #[test]
    fn no_task_is_twice_in_a_wave() {
        // Two runs of a share with b and with c.
        let tasks = [task("a", &["p1 z1", "p2 z2"]), task("b", &["p1 z3"]), task("c", &["p2 z4"])];
        assert_eq!(said(&waves(&tasks, &[])), [[("a", "pretrain"), ("c", "pretrain")]]);
    }
}
