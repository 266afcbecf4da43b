//! The device that is planned for: one of this machine, or a GPU that is somewhere else and of which only the memory is
//! known.

use super::memory::Hardware;
use crate::model::ModelError;
use crate::model::device::{ChosenDevice, adapters, choose, is_cpu};
use crate::model::gpu::Limits;
use crate::ranks;
use std::path::Path;

/// What a plan is made for.
#[derive(Debug, Clone)]
pub struct Target {
    /// For people.
    pub name: String,
    pub hardware: Hardware,
    /// Processes that share a run, each with a device of this kind.
    pub ranks: usize,
    /// Part of every key; none of a device that is not in this machine.
    pub kind: Option<String>,
    /// Bytes, where known.
    pub memory: Option<u64>,
    /// How the memory is known, or why not.
    pub memory_from: &'static str,
    /// Bytes of the largest buffer that a kernel can read, where known.
    pub largest_buffer: Option<u64>,
    /// What throughput is kept under.
    pub measured_as: Option<String>,
}

impl Target {
    /// `name` as for a run. `memory`: what the user says that the device has; with it a GPU need not be here.
    pub fn find(name: &str, memory: Option<u64>) -> Result<Self, ModelError> {
        let gpu = name == "wgpu" || name.starts_with("wgpu:");
        if gpu && memory.is_some() && !adapters().iter().any(|a| a.real_gpu) {
            return Ok(Self::elsewhere(memory));
        }
        match choose(name) {
            Ok(chosen) => Ok(Self::of(&chosen, memory)),
            Err(ModelError::Device(message)) if gpu => Err(ModelError::Device(format!(
                "{message}; to plan for a GPU that is not in this machine, say how much memory it has: --memory 80GB"
            ))),
            Err(e) => Err(e),
        }
    }

    fn elsewhere(memory: Option<u64>) -> Self {
        Self {
            name: "a GPU that is not in this machine".into(),
            hardware: Hardware::Gpu(Limits::known(memory, None)),
            ranks: ranks::size(),
            kind: None,
            memory,
            memory_from: "as --memory says",
            largest_buffer: None,
            measured_as: None,
        }
    }

    /// A device of this machine.
    pub fn of(chosen: &ChosenDevice, memory: Option<u64>) -> Self {
        let cpu = is_cpu(&chosen.device);
        let threads = rayon::current_num_threads();
        let (found, from) = match (memory, cpu) {
            (Some(said), _) => (Some(said), "as --memory says"),
            (None, true) => match machine_memory() {
                Some(bytes) => (Some(bytes), "of this machine or its control group"),
                None => (None, "this system does not say how much memory it has; --memory does"),
            },
            (None, false) => (None, "wgpu does not say how much memory a GPU has; --memory does"),
        };
        Self {
            name: if cpu {
                format!("the CPU, {}", super::units::count(threads, "thread"))
            } else {
                chosen.name.clone()
            },
            hardware: if cpu {
                Hardware::Cpu { threads }
            } else {
                Hardware::Gpu(Limits::known(memory, chosen.largest_buffer))
            },
            ranks: ranks::size(),
            kind: Some(chosen.kind()),
            memory: found,
            memory_from: from,
            largest_buffer: chosen.largest_buffer,
            measured_as: Some(super::throughput::name_of(chosen)),
        }
    }
}

/// Bytes of main memory that this process can have: the machine's, or less where a control group says so. Linux only.
pub fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let total = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(limits(Path::new("/sys/fs/cgroup"), &groups).into_iter().fold(total, u64::min))
}

/// The limits of a process's control groups and of those above, as `/proc/self/cgroup` names them (both versions of the
/// interface). In a container the names may be the host's, and only the root is there.
fn limits(root: &Path, groups: &str) -> Vec<u64> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            c if c.split(',').any(|c| c == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let whole = base.join(group.trim_start_matches('/'));
        let dirs = whole.ancestors().take_while(|dir| dir.starts_with(&base));
        let read = |dir: &Path| std::fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
        found.extend(dirs.filter_map(read));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_are_those_of_all_above() {
        let root = tempfile::tempdir().unwrap();
        let write = |dir: &str, file: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
            std::fs::write(root.path().join(dir).join(file), text).unwrap();
        };
        write("job/step", "memory.max", "max\n");
        write("job", "memory.max", "8000000000\n");
        write("memory/old", "memory.limit_in_bytes", "3000000000\n");
        assert_eq!(limits(root.path(), "0::/job/step\n"), [8_000_000_000]);
        assert_eq!(limits(root.path(), "9:cpu:/x\n4:cpuset,memory:/old\n0::/\n"), [3_000_000_000]);
        // Names of the host, of which this container sees nothing.
        assert!(limits(root.path(), "0::/kubepods/pod7\nnonsense\n").is_empty());
    }

    #[test]
    fn a_gpu_somewhere_else_needs_no_adapter_but_its_memory() {
        let elsewhere = Target::find("wgpu", Some(80_000_000_000)).unwrap();
        let limits = Limits { memory: 80_000_000_000, ..Limits::default() };
        assert_eq!((elsewhere.hardware, elsewhere.memory), (Hardware::Gpu(limits), Some(80_000_000_000)));
        let message = Target::find("abacus", None).unwrap_err().to_string();
        assert!(message.contains("is not a device"), "{message}");
    }
}
