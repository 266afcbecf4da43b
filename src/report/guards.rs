//! What the guards of a run saw: the worst value of each over all updates beside its limit, and who or what stopped the
//! run.

use super::Results;
use super::html::{escape, scrolling};
use super::tables::show;
use crate::results::number;
use crate::rl::guards::{GUARDS, Guard, Limits};
use crate::spec::Spec;
use serde_json::{Map, Value};

/// A guard's worst update.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    pub guard: &'static str,
    pub value: f64,
    /// The update, counted from 1.
    pub update: u64,
    pub limit: f64,
}

impl Worst {
    /// Share of the limit that was used up.
    pub fn used(&self) -> f64 {
        self.value / self.limit
    }
}

/// The guards that compare a number of each update with a limit.
pub fn worst(spec: &Spec, metrics: &[Map<String, Value>]) -> Vec<Worst> {
    let limits = Limits { policy: &spec.policy, guards: &spec.guards };
    let of = |guard: &Guard| {
        let limit = (guard.limit)(&limits)?;
        let values = metrics
            .iter()
            .enumerate()
            .filter_map(|(i, line)| Some((i as u64 + 1, guard.sign * number(line, guard.metric)?)));
        let (update, value) = values.max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Worst { guard: guard.watches, value, update, limit })
    };
    GUARDS.iter().filter_map(of).collect()
}

/// The page's section; nothing where there is nothing to say.
pub fn section(results: &Results) -> String {
    let rows: String = results
        .runs
        .iter()
        .filter_map(|run| Some((run, results.spec_of(&run.name)?)))
        .flat_map(|(run, spec)| worst(&spec, &run.metrics).into_iter().map(move |w| (run, w)))
        .map(|(run, w)| {
            format!(
                "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.0}%</td></tr>\n",
                escape(&run.name),
                w.guard,
                show(Some(w.value)),
                w.update,
                show(Some(w.limit)),
                100.0 * w.used().max(0.0)
            )
        })
        .collect();
    let stops: String = results
        .stops
        .iter()
        .map(|s| {
            let update = s.update.map_or_else(String::new, |u| format!(", after step {u}"));
            let reason = if s.reason.is_empty() { "no reason given" } else { &s.reason };
            format!("<li>{}{update}: <strong>{}</strong>, {}</li>\n", escape(&s.at), escape(&s.by), escape(reason))
        })
        .collect();
    if rows.is_empty() && stops.is_empty() {
        return String::new();
    }
    let stops = match stops.as_str() {
        "" => "<p>Nobody and nothing has stopped this run.</p>\n".to_owned(),
        list => format!("<p>Stopped:</p><ul>{list}</ul>\n"),
    };
    let table = match rows.as_str() {
        "" => String::new(),
        rows => {
            let head = "<tr><th>run</th><th>guard</th><th class=\"n\">worst</th><th class=\"n\">at update</th>\
                        <th class=\"n\">limit</th><th class=\"n\">used</th></tr>";
            scrolling("Guards", head, rows)
        }
    };
    format!("<h2>Guards</h2>\n{stops}{table}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_worst_update_of_each_guard_is_found() {
        let spec: Spec = serde_json::from_value(json!({"spec_version": 1, "name": "x",
            "policy": {"kl": {"target": 4.0}}, "guards": {"kl_times_target": 5.0, "negative_kl": 0.5}}))
        .unwrap();
        let metrics: Vec<Map<String, Value>> = [(0.1, 1e-6), (-0.2, 2e-6), (7.0, 1e-7)]
            .into_iter()
            .map(|(kl, ratio)| json!({"objective/kl": kl, "ppo/ratio_error": ratio}).as_object().unwrap().clone())
            .collect();
        let found = worst(&spec, &metrics);
        let brief: Vec<(f64, u64, f64)> = found.iter().map(|w| (w.value, w.update, w.limit)).collect();
        assert_eq!(brief, [(2e-6, 2, 0.01), (0.2, 2, 0.5), (7.0, 3, 20.0)]);
        assert!(worst(&spec, &[]).is_empty());
    }
}
