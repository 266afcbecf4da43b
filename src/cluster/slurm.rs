//! Slurm's commands: what they are asked, and what they answer.

use super::ClusterError;
use std::path::Path;
use std::process::{Command, Output};

/// A job that Slurm has not forgotten yet: one task of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// As scancel takes it: `34_2`, or `34`.
    pub id: String,
    /// Of the array, or of the job itself.
    pub array: String,
    /// Its place in the array.
    pub index: Option<usize>,
    pub name: String,
    /// PENDING, RUNNING, ...
    pub state: String,
    /// Why it waits.
    pub reason: String,
    /// Where it runs.
    pub nodes: String,
}

impl Live {
    /// Whether it waits to be started.
    pub fn is_pending(&self) -> bool {
        self.state == "PENDING"
    }

    /// Whether its processes have ended, and Slurm is still clearing up.
    pub fn is_ending(&self) -> bool {
        ["COMPLETING", "COMPLETED", "STAGE_OUT"].contains(&self.state.as_str())
    }
}

fn output(program: &str, arguments: &[&str]) -> Result<Output, ClusterError> {
    Command::new(program).args(arguments).output().map_err(|e| {
        ClusterError::Engine(match e.kind() {
            std::io::ErrorKind::NotFound => format!(
                "there is no {program} here: `runner cluster` calls Slurm's own commands, so call it where they are (a login node); `submit --dry-run` prints the scripts anywhere"
            ),
            _ => format!("{program}: {e}"),
        })
    })
}

/// What a command prints, or what it says against it.
fn said(program: &str, arguments: &[&str]) -> Result<String, ClusterError> {
    let output = output(program, arguments)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => {
            let why = text(&output.stderr);
            let why = if why.is_empty() { output.status.to_string() } else { why.replace('\n', "; ") };
            Err(ClusterError::Engine(format!("{program} refuses: {why}")))
        }
    }
}

/// Hands a script to Slurm, to be started when all jobs `after` have ended in whatever way; the job's number.
pub fn submit(script: &Path, after: &[String]) -> Result<String, ClusterError> {
    let dependency = format!("--dependency=afterany:{}", after.join(":"));
    let script = script.to_string_lossy();
    let mut arguments = vec!["--parsable"];
    if !after.is_empty() {
        arguments.push(&dependency);
    }
    arguments.push(&script);
    let said = said("sbatch", &arguments).map_err(|e| match e {
        ClusterError::Engine(message) => ClusterError::Engine(format!("{script}: {message}")),
        other => other,
    })?;
    // With several clusters, `34;name`.
    let id = said.lines().next_back().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_string();
    match !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(id),
        false => Err(ClusterError::Engine(format!("{script}: sbatch answers {said:?}, which is no job's number"))),
    }
}

/// The jobs of these names that wait or run.
pub fn live(names: &[String]) -> Result<Vec<Live>, ClusterError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names = format!("--name={}", names.join(","));
    let text = said("squeue", &["--noheader", "--array", &names, "--format=%i|%F|%K|%j|%T|%r|%N"])?;
    Ok(text.lines().filter_map(line).collect())
}

fn line(text: &str) -> Option<Live> {
    let parts: Vec<&str> = text.split('|').map(str::trim).collect();
    let [id, array, index, name, state, reason, nodes] = parts[..] else { return None };
    Some(Live {
        id: id.into(),
        array: array.into(),
        index: index.parse().ok(),
        name: name.into(),
        state: state.into(),
        reason: reason.into(),
        nodes: nodes.into(),
    })
}

/// Takes jobs that have not begun out of the queue.
pub fn withdraw(ids: &[String]) -> Result<(), ClusterError> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    if ids.is_empty() { Ok(()) } else { said("scancel", &[&["--state=PENDING"], &ids[..]].concat()).map(drop) }
}

/// Tells jobs that run to save and end. Their scripts hear it, and pass it on.
pub fn tell(ids: &[String]) -> Result<(), ClusterError> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    if ids.is_empty() { Ok(()) } else { said("scancel", &[&["--batch", "--signal=TERM"], &ids[..]].concat()).map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_squeue_are_read_with_and_without_an_array() {
        let task = line("34_2|34|2|runner-t-1-members|PENDING|(Resources)|").unwrap();
        assert_eq!((task.id.as_str(), task.array.as_str(), task.index), ("34_2", "34", Some(2)));
        assert!(task.is_pending());
        let alone = line("35|35|N/A|runner-t-1-gather|RUNNING|None|n1").unwrap();
        assert_eq!((alone.index, alone.nodes.as_str()), (None, "n1"));
        assert_eq!(line("slurm_load_jobs error"), None);
    }
}
