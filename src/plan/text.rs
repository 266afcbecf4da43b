//! A plan for people: the answer in one sentence, then tables.

use super::room::Misfit;
use super::units::{bytes, count, duration, flops};
use super::{Plan, RunPlan, StagePlan, StageState, Totals};
use std::fmt::Write;

/// Arrays above this are refused by Vulkan and DX12 through wgpu.
const COMMON_BUFFER: f64 = 2_147_483_647.0;
/// Rounds that are listed one by one.
const MOST_ROUNDS: usize = 6;
/// What stands for an unknown number.
const UNKNOWN: &str = "?";

/// The whole plan. `all_values`: also those that are defaults.
pub fn text(plan: &Plan, all_values: bool) -> String {
    let mut out = String::new();
    line(&mut out, &answer(plan));
    for what in &plan.missing {
        line(&mut out, &format!("missing: {what}"));
    }
    for misfit in once_per_member(&plan.misfits) {
        line(&mut out, &format!("no room: {misfit}"));
    }
    about(&mut out, plan);
    fetches(&mut out, plan);
    reads(&mut out, plan);
    match plan.totals.members {
        Some(_) => suite(&mut out, plan),
        None => plan.runs.iter().for_each(|run| stages_of(&mut out, plan, run)),
    }
    unknown(&mut out, plan);
    values(&mut out, plan, all_values);
    out
}

/// Misfits of a member's seeds, which are alike, as one.
fn once_per_member(misfits: &[Misfit]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for misfit in misfits {
        let member = misfit.run.split_once("-seed-").map_or(misfit.run.as_str(), |(member, _)| member);
        let said = Misfit { run: member.into(), ..misfit.clone() }.to_string();
        if !found.contains(&said) {
            found.push(said);
        }
    }
    found
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// One sentence: what is to do, how long it takes, and what it needs.
pub fn answer(plan: &Plan) -> String {
    let t = &plan.totals;
    let at_least = if t.unknown > 0 { "at least " } else { "" };
    let runs = match (t.members, t.seeds) {
        (Some(members), Some(seeds)) => {
            format!("{} ({}, {}) on ", count(t.runs, "run"), count(members, "member"), count(seeds, "seed"))
        }
        _ if t.runs > 1 => format!("{} on ", count(t.runs, "run")),
        _ => "on ".into(),
    };
    let mut parts = vec![match (t.cached == t.stages, t.cached) {
        (true, _) => "everything is done".into(),
        (false, 0) => format!("{at_least}{} in {}", flops(t.flops_to_do), count(t.stages, "stage")),
        (false, cached) => {
            format!("{at_least}{} in {} ({cached} are done)", flops(t.flops_to_do), count(t.stages - cached, "stage"))
        }
    }];
    if t.cached < t.stages {
        parts.push(match t.seconds_to_do {
            Some(seconds) => format!("{at_least}{}", duration(seconds)),
            None => "time not known".into(),
        });
        parts.push(memory(plan));
        parts.push(format!("{at_least}{} of disk", bytes(disk(t))));
    }
    parts.push(to_fetch(t));
    format!("{}: {runs}{}: {}.", plan.name, plan.device.name, parts.join(", "))
}

fn memory(plan: &Plan) -> String {
    let Some((needed, stage)) = plan.totals.memory_bytes.zip(plan.totals.memory_stage.as_deref()) else {
        return "memory not known".into();
    };
    let of = plan.device.memory_bytes.map_or_else(String::new, |has| format!(" of {}", bytes(has as f64)));
    format!("{}{of} of memory ({stage})", bytes(needed))
}

/// Bytes that the disk needs at the worst moment.
fn disk(t: &Totals) -> f64 {
    t.cache_bytes + t.cache_while_running_bytes + t.results_bytes
}

fn to_fetch(t: &Totals) -> String {
    match (t.fetch_bytes > 0.0, t.fetch_unknown) {
        (false, 0) => "nothing to fetch".into(),
        (true, 0) => format!("{} to fetch", bytes(t.fetch_bytes)),
        (false, n) => format!("{} of unknown size to fetch", count(n, "source")),
        (true, n) => format!("{} and {} of unknown size to fetch", bytes(t.fetch_bytes), count(n, "source")),
    }
}

fn about(out: &mut String, plan: &Plan) {
    let (d, t) = (&plan.device, &plan.totals);
    let has = match d.memory_bytes {
        Some(has) => format!("{} of memory, {}", bytes(has as f64), d.memory_from),
        None => d.memory_from.clone(),
    };
    line(out, "");
    line(out, &format!("device    {}; {has}", d.name));
    line(out, &format!("speed     {}", plan.throughput.from));
    if !d.here {
        line(out, "cache     of another machine: which stages are done there cannot be known here");
    }
    let models = unique(plan.runs.iter().map(|run| run.model.as_str()));
    models.iter().for_each(|model| line(out, &format!("model     {model}")));
    let ranks: Vec<String> = plan.runs.iter().filter_map(|run| Some(run.ranks.as_ref()?.text())).collect();
    unique(ranks.iter().map(String::as_str)).iter().for_each(|ranks| line(out, &format!("ranks     {ranks}")));
    largest_memory(out, plan);
    let kept = format!(
        "{} in {}, of which {} while a stage is at work; {} in {}",
        bytes(t.cache_bytes + t.cache_while_running_bytes),
        plan.cache,
        bytes(t.cache_while_running_bytes),
        bytes(t.results_bytes),
        plan.results
    );
    line(out, &format!("disk      {kept}"));
    let largest = plan.stages.iter().filter_map(|s| Some((s.largest_buffer_bytes?, &s.stage)));
    if let Some((largest, stage)) = largest.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(b, _)| *b > COMMON_BUFFER) {
        let remark = format!(
            "arrays    the largest has {} ({stage}); Vulkan and DX12 take at most {}",
            bytes(largest),
            bytes(COMMON_BUFFER)
        );
        line(out, &remark);
    }
}

/// What the stage that needs most memory has there.
fn largest_memory(out: &mut String, plan: &Plan) {
    let left = plan.stages.iter().filter(|s| s.state != StageState::Cached);
    let most = left.filter_map(|s| Some((s.memory?, &s.stage))).max_by(|a, b| a.0.total().total_cmp(&b.0.total()));
    let Some((m, stage)) = most else { return };
    let parts = [
        ("weights", m.weights),
        ("gradients", m.gradients),
        ("Adam", m.adam),
        ("activations", m.activations),
        ("KV cache", m.kv_cache),
        ("logits", m.logits),
    ];
    let said: Vec<String> =
        parts.iter().filter(|(_, b)| *b > 0.0).map(|(what, b)| format!("{what} {}", bytes(*b))).collect();
    line(out, &format!("memory    {stage}: {}", said.join(", ")));
}

/// Each once, in the order of their first mention.
fn unique<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    all.for_each(|one| {
        if !seen.contains(&one) {
            seen.push(one);
        }
    });
    seen
}

fn fetches(out: &mut String, plan: &Plan) {
    if plan.fetches.is_empty() {
        return;
    }
    let rows = plan.fetches.iter().map(|f| {
        let size = f.bytes.map_or_else(|| "size unknown".into(), |b| bytes(b as f64));
        let state = if f.present { "is here" } else { "to fetch" };
        vec![f.name.clone(), f.key.clone(), size, state.into(), f.place.clone()]
    });
    table(out, &["source", "for", "size", "", "from"], rows.collect());
}

/// What is kept of every source's records, and why the rest is dropped.
fn reads(out: &mut String, plan: &Plan) {
    if plan.reads.is_empty() {
        return;
    }
    line(out, "\nread");
    plan.reads.iter().for_each(|read| line(out, &read.to_string()));
}

fn state(stage: &StagePlan) -> String {
    let word = match stage.state {
        StageState::Cached => "cached",
        StageState::Begun => "begun",
        StageState::ToDo => "to do",
        StageState::AfterPeople => "after people's answers",
        StageState::Unknown => "not known",
    };
    match &stage.key {
        Some(key) => format!("{word} {key}"),
        None => word.into(),
    }
}

/// A number, or a question mark.
fn or_unknown(value: Option<f64>, of: fn(f64) -> String) -> String {
    value.map_or_else(|| UNKNOWN.into(), of)
}

/// The stages of one run; those of many rounds together.
fn stages_of(out: &mut String, plan: &Plan, run: &RunPlan) {
    line(out, &format!("\nrun {}", run.name));
    let stages: Vec<&StagePlan> = run.stages.iter().map(|i| &plan.stages[*i]).collect();
    let rounds = stages.iter().filter_map(|s| s.round).max().unwrap_or(0);
    let mut rows = Vec::new();
    let mut summed: Vec<&str> = Vec::new();
    for stage in &stages {
        if rounds > MOST_ROUNDS && stage.round.is_some() {
            if !summed.contains(&stage.stage.as_str()) {
                summed.push(&stage.stage);
                let same: Vec<&StagePlan> = stages.iter().filter(|s| s.stage == stage.stage).copied().collect();
                rows.push(of_rounds(&same));
            }
            continue;
        }
        let name = stage.round.map_or_else(|| stage.stage.clone(), |round| format!("{} round {round}", stage.stage));
        rows.push(vec![
            name,
            or_unknown(stage.flops, flops),
            or_unknown(stage.seconds, duration),
            or_unknown(stage.memory_bytes, bytes),
            or_unknown(stage.disk_bytes, bytes),
            stage.what.clone(),
            state(stage),
        ]);
    }
    table(out, &["stage", "work", "time", "memory", "disk", "what", "state"], rows);
}

/// A stage that many rounds have.
fn of_rounds(stages: &[&StagePlan]) -> Vec<String> {
    let sum = |of: &dyn Fn(&StagePlan) -> Option<f64>| stages.iter().map(|s| of(s)).sum::<Option<f64>>();
    let most = stages.iter().filter_map(|s| s.memory_bytes).max_by(f64::total_cmp);
    let cached = stages.iter().filter(|s| s.state == StageState::Cached).count();
    vec![
        stages.first().map_or_else(String::new, |s| s.stage.clone()),
        or_unknown(sum(&|s| s.flops), flops),
        or_unknown(sum(&|s| s.seconds), duration),
        or_unknown(most, bytes),
        or_unknown(sum(&|s| s.disk_bytes), bytes),
        format!("in {} rounds, the last: {}", stages.len(), stages.last().map_or("", |s| &s.what)),
        format!("{cached} of {} cached", stages.len()),
    ]
}

/// Members with what they add, and what several runs share.
fn suite(out: &mut String, plan: &Plan) {
    let names = unique(plan.runs.iter().filter_map(|r| r.member.as_deref()).map(without_seed));
    let mut rows = Vec::new();
    for name in names {
        let of = |run: &usize| plan.runs[*run].member.as_deref().is_some_and(|m| without_seed(m) == name);
        let runs = (0..plan.runs.len()).filter(of).count();
        let needed: Vec<&StagePlan> = plan.stages.iter().filter(|s| s.runs.iter().any(of)).collect();
        // Each stage counts for the member that needs it first.
        let own: Vec<&StagePlan> = needed.iter().filter(|s| s.runs.first().is_some_and(of)).copied().collect();
        let to_do: Vec<&StagePlan> = own.iter().filter(|s| s.state != StageState::Cached).copied().collect();
        let missing = if to_do.iter().any(|s| s.flops.is_none()) { "at least " } else { "" };
        let work: f64 = to_do.iter().filter_map(|s| s.flops).sum();
        let seconds = to_do.iter().filter(|s| s.flops.is_some()).map(|s| s.seconds).sum::<Option<f64>>();
        let most = needed.iter().filter_map(|s| s.memory_bytes).max_by(f64::total_cmp);
        rows.push(vec![
            name.into(),
            runs.to_string(),
            format!("{} of {}", to_do.len(), needed.len()),
            (needed.len() - own.len()).to_string(),
            format!("{missing}{}", flops(work)),
            or_unknown(seconds, duration),
            or_unknown(most, bytes),
        ]);
    }
    line(out, "\nmembers, each stage at the first that needs it");
    table(out, &["member", "runs", "stages to do", "of others", "work", "time", "memory"], rows);
    let shared: Vec<&StagePlan> = plan.stages.iter().filter(|s| s.runs.len() > 1).collect();
    if shared.is_empty() {
        return line(out, "\nno two runs share a stage");
    }
    line(out, &format!("\nshared stages, which save {}", flops(plan.totals.flops_shared)));
    let rows = shared.iter().map(|s| {
        let first = s.runs.first().and_then(|i| plan.runs[*i].member.clone()).unwrap_or_default();
        vec![
            s.stage.clone(),
            s.runs.len().to_string(),
            first,
            or_unknown(s.flops, flops),
            or_unknown(s.seconds, duration),
            s.what.clone(),
            state(s),
        ]
    });
    table(out, &["stage", "runs", "first in", "work", "time", "what", "state"], rows.collect());
}

/// `NAME-seed-3` is of NAME.
fn without_seed(member: &str) -> &str {
    member.rsplit_once("-seed-").map_or(member, |(name, _)| name)
}

/// Why numbers are missing.
fn unknown(out: &mut String, plan: &Plan) {
    let mut lines: Vec<String> = Vec::new();
    for stage in &plan.stages {
        let Some(why) = &stage.unknown else { continue };
        let text = format!("not known: {}: {why}", stage.stage);
        if !lines.contains(&text) {
            lines.push(text);
        }
    }
    if !lines.is_empty() {
        line(out, "");
        lines.iter().for_each(|text| line(out, text));
    }
}

/// Values with their origins: what the spec sets, or all.
fn values(out: &mut String, plan: &Plan, all: bool) {
    let shown: Vec<&super::PlanValue> = plan.values.iter().filter(|v| all || v.set).collect();
    if shown.is_empty() {
        return;
    }
    let hidden = plan.values.len() - shown.len();
    let more = if all { String::new() } else { format!("; {hidden} more are defaults or the preset's (--values)") };
    line(out, &format!("\nvalues and where each comes from{more}"));
    for value in shown {
        let _ = writeln!(out, "{:<60} # {}", format!("{} = {}", value.key, value.value), value.origin);
    }
}

/// Columns as wide as they need to be; those of numbers are right-aligned.
fn table(out: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(i, head)| rows.iter().map(|row| width(&row[i])).chain([width(head)]).max().unwrap_or(0))
        .collect();
    let right = |head: &str| ["size", "runs", "of others", "work", "time", "memory", "disk"].contains(&head);
    let put = |out: &mut String, cells: &[String]| {
        let mut text = String::new();
        for ((cell, wide), head) in cells.iter().zip(&widths).zip(heads) {
            let space = " ".repeat(wide - width(cell));
            let (before, after) = if right(head) { (space.as_str(), "") } else { ("", space.as_str()) };
            text.push_str(&format!("{before}{cell}{after}  "));
        }
        line(out, text.trim_end());
    };
    line(out, "");
    put(out, &heads.iter().map(|h| h.to_string()).collect::<Vec<_>>());
    rows.iter().for_each(|row| put(out, row));
}
