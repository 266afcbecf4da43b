//! Figure 3's curve over the policies of all members at one seed: they share ρ, task and r_s, and stand at several KLs,
//! so that their samples together show an optimum that ρ's alone do not reach.

use super::input;
use super::writers::ReadyMember;
use crate::context::{Context, StageError};
use crate::results::{Frontier, Judge};
use crate::stage::frontier::{FrontierInputs, run};
use crate::stage::keys::Keys;
use crate::stage::sources;
use crate::store::atomic::hash_file;
use crate::suite::results::MemberResults;
use std::path::PathBuf;

/// The frontier of members that have results; those with another ρ, task or r_s than the first's are left out of it.
pub fn measure(context: &Context, members: &[&MemberResults]) -> Result<Frontier, StageError> {
    let first = members.first().ok_or_else(|| input("there is no member"))?;
    let (dir, spec) = home(first)?;
    let contexts = spec.1.evaluate.optimum_queries;
    let desk = ReadyMember::open(context, &first.name, &dir, spec, contexts)?;
    let scorer = desk.classifier()?.ok_or_else(|| input(format!("member {} has no r_s", first.name)))?;
    let shared = setting(context, first)?;
    let mut writers = vec![("reference".to_string(), desk.reference_dir())];
    for member in members {
        if setting(context, member)? == shared {
            let (dir, (run, _)) = home(member)?;
            writers.push((member.name.clone(), dir.join("runs").join(run).join("models/policy")));
        } else {
            tracing::warn!(
                "{}: has another ρ, task or r_s than {}: no part of the frontier, and not compared with it",
                member.name,
                first.name
            );
        }
    }
    let queries = desk.queries();
    let inputs = FrontierInputs {
        spec: &desk.spec,
        task: desk.task_rules(),
        queries: &queries,
        writers: &writers,
        judge: Judge::Mock,
        scorer: &scorer,
        scorer_key: shared.1,
    };
    run(context, Some(first.name.as_str()), &inputs)
}

fn home(member: &MemberResults) -> Result<(PathBuf, &(String, crate::spec::Spec)), StageError> {
    let missing = || input(format!("member {} has no results", member.name));
    let spec = member.run.as_ref().ok_or_else(missing)?;
    Ok((member.results.as_ref().map(|r| r.dir.clone()).ok_or_else(missing)?, spec))
}

/// What must be the same: ρ's weights, r_s, and how responses are sampled and cut.
fn setting(context: &Context, member: &MemberResults) -> Result<(String, String, String), StageError> {
    let (dir, (run, spec)) = home(member)?;
    let spec = sources::cached(spec)?;
    let keys = Keys::new(&spec, run, &context.device_kind)?;
    let weights = dir.join("models/reference/model.safetensors");
    let hash = hash_file(&weights).map_err(StageError::io(weights))?;
    let r_s = keys.classifier.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok((hash, r_s, serde_json::to_string(&spec.task.without_place())?))
}
