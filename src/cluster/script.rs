//! The script of a job: bash, readable, and complete, so that a person may hand it to sbatch alone.

use super::config::ClusterSpec;
use super::ledger::{Job, Kind};
use crate::printed::shell_word;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What all scripts of a submission have in common.
pub struct Common<'a> {
    pub cluster: &'a ClusterSpec,
    /// Where `submit` was called, and jobs work.
    pub directory: String,
    /// `runner SUITE` with all that was said of it; `--member`, `--until` and `--gather` follow.
    pub command: Vec<String>,
    /// The folder of scripts and logs, from there.
    pub folder: String,
    /// Absolute; a file in it says that it is the same one everywhere.
    pub cache: String,
    pub mark: String,
    pub at_most: Option<u32>,
}

/// The name under which a wait for the program ended because this script was told something, and not the program.
const TOLD: &str = "143";

/// Starts the ranks of a run. It does not know by itself how many processors of the job are a task's (since Slurm 22.05), and
/// waits for ever for ranks whose others have died. All of them ending with one code takes less than a minute.
const SRUN: &str = r#"srun --mpi=pmix --wait=60 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}"#;
/// How the program is told to save and end. srun would kill its tasks at the first signal; of Slurm they hear it. While other
/// tasks of the array wait, Slurm 22.05 answers "try again later" though it has told them, and scancel would try again.
const TELL: &str = r#"kill -TERM "$program" 2>/dev/null"#;
const TELL_RANKS: &str = r#"timeout 4 scancel --quiet --signal=TERM "$SLURM_JOB_ID""#;

impl Common<'_> {
    /// Whether a job's command runs as several processes.
    fn has_ranks(&self, job: &Job) -> bool {
        self.cluster.ranks > 1 && job.kind != Kind::Gather
    }

    /// The script of a job.
    pub fn script(&self, job: &Job) -> String {
        let mut text = String::from("#!/bin/bash\n");
        self.header(&mut text, job);
        let directory = shell_word(&self.directory);
        // Slurm goes on in /tmp where it finds no working directory.
        let _ = writeln!(
            text,
            "\ncd {directory} && [ -e {folder}/jobs.json ] && [ -e {cache}/{mark} ] || {{\n  echo \"$(hostname): {gone}\" >&2\n  exit 1\n}}",
            folder = shell_word(&self.folder),
            cache = shell_word(&self.cache),
            mark = shell_word(&self.mark),
            gone = self.gone(),
        );
        let _ = writeln!(text, "export RUNNER_CACHE={}", shell_word(&self.cache));
        if !self.cluster.setup.trim().is_empty() {
            let _ = writeln!(text, "{}", self.cluster.setup.trim_end());
        }
        let command: Vec<String> = self.command.iter().map(|word| shell_word(word).into_owned()).collect();
        let mut command = command.join(" ");
        if self.has_ranks(job) {
            command = format!("{} -n {} {command}", SRUN, self.cluster.ranks);
        }
        match job.kind {
            Kind::Gather => {
                let _ = writeln!(text, "exec {command} --gather");
            }
            Kind::Wave | Kind::Members => self.tasks(&mut text, job, &command),
        }
        text
    }

    fn gone(&self) -> String {
        let plain = |text: &str| text.replace(['"', '$', '`', '\\'], "?");
        let (directory, folder, cache) = (plain(&self.directory), plain(&self.folder), plain(&self.cache));
        format!(
            "{directory}/{folder} or the cache {cache} is not here: is the file system that the jobs share mounted on this host? Nothing was begun"
        )
    }

    fn header(&self, text: &mut String, job: &Job) {
        let mut options: BTreeMap<&str, &Value> =
            self.cluster.submit.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let ranks = Value::from(self.cluster.ranks);
        if self.has_ranks(job) {
            options.entry("ntasks").or_insert(&ranks);
        }
        if job.kind == Kind::Gather {
            options.extend(self.cluster.gather.iter().map(|(name, value)| (name.as_str(), value)));
        }
        let mut line = |option: String| {
            let _ = writeln!(text, "#SBATCH {option}");
        };
        line(format!("--job-name={}", job.name));
        let log = match job.kind {
            Kind::Gather => "%j",
            _ => "%A_%a",
        };
        line(format!("--output=\"{}/{}-{log}.log\"", self.folder, job.file));
        line("--open-mode=append".into());
        if job.kind != Kind::Gather {
            let last = job.tasks.len().saturating_sub(1);
            let limit = self.at_most.map(|limit| format!("%{limit}")).unwrap_or_default();
            line(format!("--array=0-{last}{limit}"));
            line("--requeue".into());
            line(format!("--signal=B:TERM@{}", self.cluster.grace));
        }
        for (name, value) in options {
            match value {
                Value::Bool(false) => {}
                Value::Bool(true) => line(format!("--{name}")),
                Value::String(text) => line(format!("--{name}=\"{text}\"")),
                other => line(format!("--{name}={other}")),
            }
        }
    }

    fn tasks(&self, text: &mut String, job: &Job, command: &str) {
        let list = |words: &[String]| words.iter().map(|w| shell_word(w).into_owned()).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "tasks=({})\ntask=${{tasks[$SLURM_ARRAY_TASK_ID]}}", list(&job.tasks));
        let mut until = "";
        if job.kind == Kind::Wave {
            let _ = writeln!(text, "stages=({})", list(&job.until));
            until = " --until \"${stages[$SLURM_ARRAY_TASK_ID]}\"";
        }
        let folder = shell_word(&self.folder);
        let tell = if self.has_ranks(job) { TELL_RANKS } else { TELL };
        let _ = write!(
            text,
            r#"
# The program saves and ends with code 4 at the first signal, and at once at a second one. As a process group of its own it
# has the first from here alone.
set -m
{command} --member "$task"{until} &
program=$!
told=
trap 'if [ -z "$told" ]; then told=yes; {tell}; fi' TERM
while wait "$program"; code=$?; [ "$code" = {TOLD} ]; do :; done

# Told to end while Slurm goes on with the job (its time is nearly up): in the next slot it goes on where it is. Not where
# a person cancelled it, nor where a person or a guard stopped the run.
if [ "$code" = 4 ] && [ -n "$told" ] && [ ! -e {folder}/cancelled ] &&
  [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
  echo "$task: saved before the time was up; queued again" >&2
  scontrol requeue "$SLURM_JOB_ID" && sleep 300
fi
exit "$code"
"#
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::config::of_text;

    /// bash reads every script, whatever names and paths are in it.
    #[test]
    fn scripts_are_bash_and_their_options_are_quoted() {
        let file = of_text(
            "cluster_version = 1\n[cluster.a]\nsubmit = { partition = \"gpu\", gres = \"gpu:1\", exclusive = true, comment = \"it's # 1\", nodes = 2 }\n\
             gather = { gres = false, partition = \"cpu\" }\nsetup = \"module() { :; }\\nmodule load x\"\nranks = 4\ngrace = 30\n",
        )
        .unwrap();
        let common = Common {
            cluster: &file.cluster["a"],
            directory: "/home/ada's $(files)".into(),
            command: ["runner", "my suite.toml", "--set", "name='$x'"].map(String::from).to_vec(),
            folder: "results/t/cluster".into(),
            cache: "/scratch/a b".into(),
            mark: ".cluster-1".into(),
            at_most: Some(3),
        };
        let job = |kind, file: &str| Job {
            name: format!("runner-t-1-{file}"),
            file: file.into(),
            kind,
            tasks: vec!["a-seed-1".into(), "b-seed-1".into()],
            until: vec!["pretrain".into(), "reward".into()],
            id: None,
        };
        let scripts = [Kind::Wave, Kind::Members, Kind::Gather].map(|kind| common.script(&job(kind, "x")));
        for script in &scripts {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.sh");
            std::fs::write(&path, script).unwrap();
            let read = std::process::Command::new("bash").arg("-n").arg(&path).output().unwrap();
            assert!(read.status.success(), "{}\n{script}", String::from_utf8_lossy(&read.stderr));
        }
        let [wave, members, gather] = &scripts;
        for line in [
            "--array=0-1%3",
            "--signal=B:TERM@30",
            "--gres=\"gpu:1\"",
            "--exclusive",
            "--comment=\"it's # 1\"",
            "--nodes=2",
            "--ntasks=4",
        ] {
            assert!(members.lines().any(|l| l == format!("#SBATCH {line}")), "{line}: {members}");
        }
        assert!(
            members.contains(
                "\"$SLURM_CPUS_PER_TASK\"} -n 4 runner 'my suite.toml' --set 'name='\\''$x'\\''' --member \"$task\" &"
            ),
            "{members}"
        );
        assert!(wave.contains("stages=(pretrain reward)") && wave.contains("--until"), "{wave}");
        assert!(
            gather.contains("--partition=\"cpu\"")
                && !["gres", "array", "ntasks", "srun"].iter().any(|w| gather.contains(w)),
            "{gather}"
        );
        // srun kills at the first signal.
        assert!(members.contains("scancel --quiet --signal=TERM") && !members.contains("kill -TERM"), "{members}");
        assert!(gather.contains("exec runner 'my suite.toml'") && gather.ends_with("--gather\n"), "{gather}");
    }
}
