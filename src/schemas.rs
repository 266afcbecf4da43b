//! Every JSON Schema in `schemas/`: the spec's, and one for each kind of file in a results directory.

use crate::cluster::{Ledger, cluster_schema};
use crate::label::Label;
use crate::label::batch::quality::BatchQuality;
use crate::label::batch::status::BatchesReport;
use crate::label::batch::{Answer, Batch, Item, LabelerEvent};
use crate::label::human::HumanReport;
use crate::label::report::LabelsReport;
use crate::plan::Plan;
use crate::results::stops::StopRecord;
use crate::results::{
    AnyMetricsLine, Evaluation, Frontier, JudgeReport, Manifest, Rounds, Sample, SimulatedReport, Table,
};
use crate::sources::sources_schema;
use crate::spec::spec_schema;
use crate::stage::reward::RewardSummary;
use crate::suite::asked::agreement::Agreed;
use crate::suite::asked::comparison::Compared;
use crate::suite::asked::scores::Scored;
use crate::suite::{SuiteManifest, suite_schema};
use serde_json::Value;
use std::path::Path;

/// File name and schema.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("spec.schema.json", spec_schema()),
        ("suite.schema.json", suite_schema()),
        ("sources.schema.json", sources_schema()),
        ("cluster.schema.json", cluster_schema()),
        ("cluster_jobs.schema.json", schemars::schema_for!(Ledger).to_value()),
        ("suite_manifest.schema.json", schemars::schema_for!(SuiteManifest).to_value()),
        ("compared.schema.json", schemars::schema_for!(Compared).to_value()),
        ("scored.schema.json", schemars::schema_for!(Scored).to_value()),
        ("agreed.schema.json", schemars::schema_for!(Agreed).to_value()),
        ("manifest.schema.json", schemars::schema_for!(Manifest).to_value()),
        ("metrics.schema.json", schemars::schema_for!(AnyMetricsLine).to_value()),
        ("samples.schema.json", schemars::schema_for!(Sample).to_value()),
        ("evaluation.schema.json", schemars::schema_for!(Evaluation).to_value()),
        ("frontier.schema.json", schemars::schema_for!(Frontier).to_value()),
        ("rounds.schema.json", schemars::schema_for!(Rounds).to_value()),
        ("table.schema.json", schemars::schema_for!(Table).to_value()),
        ("labels.schema.json", schemars::schema_for!(Label).to_value()),
        ("labels_report.schema.json", schemars::schema_for!(LabelsReport).to_value()),
        ("judge.schema.json", schemars::schema_for!(JudgeReport).to_value()),
        ("simulated.schema.json", schemars::schema_for!(SimulatedReport).to_value()),
        ("batch.schema.json", schemars::schema_for!(Batch).to_value()),
        ("items.schema.json", schemars::schema_for!(Item).to_value()),
        ("answers.schema.json", schemars::schema_for!(Answer).to_value()),
        ("labelers.schema.json", schemars::schema_for!(LabelerEvent).to_value()),
        ("quality.schema.json", schemars::schema_for!(BatchQuality).to_value()),
        ("batches_report.schema.json", schemars::schema_for!(BatchesReport).to_value()),
        ("stops.schema.json", schemars::schema_for!(StopRecord).to_value()),
        ("human.schema.json", schemars::schema_for!(HumanReport).to_value()),
        ("plan.schema.json", schemars::schema_for!(Plan).to_value()),
        ("reward.schema.json", schemars::schema_for!(RewardSummary).to_value()),
    ]
}

fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// Writes all of them into `dir`.
pub fn write_schemas(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    schemas().iter().try_for_each(|(name, schema)| std::fs::write(dir.join(name), text(schema)))
}

/// Err: which files differ from the types.
pub fn check_schemas(dir: &Path) -> Result<(), String> {
    let stale: Vec<String> = schemas()
        .iter()
        .filter(|(name, schema)| std::fs::read_to_string(dir.join(name)).ok().as_deref() != Some(text(schema).as_str()))
        .map(|(name, _)| dir.join(name).display().to_string())
        .collect();
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("out of date: {}; write them with `runner schema`", stale.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_written_checked_and_valid() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert!(check_schemas(dir.path()).is_err());
        write_schemas(dir.path()).expect("written");
        check_schemas(dir.path()).expect("just written");
        std::fs::write(dir.path().join("table.schema.json"), "{}").expect("written");
        assert!(check_schemas(dir.path()).is_err_and(|m| m.contains("table.schema.json")));
        assert!(schemas().iter().all(|(_, schema)| jsonschema::meta::is_valid(schema)));
    }
}
