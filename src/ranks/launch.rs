//! How a process learns that a launcher (mpirun, srun) started it as one of several.

/// What launchers say of how many processes there are, and the variable that only they set. Slurm alone sets SLURM_*
/// for every task, MPI or not: its number counts only beside PMIx's.
fn started_as(variable: &dyn Fn(&str) -> Option<String>) -> Option<(&'static str, usize)> {
    let number = |name: &str| variable(name).and_then(|value| value.trim().parse::<usize>().ok());
    let named = [("OMPI_COMM_WORLD_SIZE", None), ("PMI_SIZE", None), ("SLURM_STEP_NUM_TASKS", Some("PMIX_RANK"))];
    let found = named.into_iter().filter(|(_, beside)| beside.is_none_or(|name| variable(name).is_some()));
    found.filter_map(|(name, _)| Some((name, number(name)?))).find(|(_, size)| *size > 1)
}

/// Which of the processes of this machine this one is, from 0, where a launcher says so.
pub fn local() -> Option<usize> {
    let names = ["OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID"];
    names.into_iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}

/// Joins the other processes that a launcher started with this one; without a launcher there is nothing to join.
/// On the main thread, which alone speaks to the others from then on; before anything is written.
///
/// # Errors
/// The program was built without MPI, or MPI does not start.
pub fn start() -> Result<(), String> {
    match started_as(&|name| std::env::var(name).ok()) {
        None => Ok(()),
        Some((variable, size)) => join(variable, size),
    }
}

#[cfg(feature = "mpi")]
fn join(_: &str, _: usize) -> Result<(), String> {
    use std::sync::atomic::Ordering;
    let world = super::mpi::join()?;
    super::NOT_FIRST.store(super::World::rank(&world) > 0, Ordering::Relaxed);
    super::enter(std::rc::Rc::new(world));
    Ok(())
}

#[cfg(not(feature = "mpi"))]
fn join(variable: &str, size: usize) -> Result<(), String> {
    Err(format!(
        "a launcher started {size} processes for one run ({variable} = {size}), and this build has no MPI: all of them \
         would do the same work into the same directory. Build with `cargo build --release --features mpi` (docs/mpi.md), \
         or, for {size} runs that have nothing to do with each other, start them without MPI (`srun --mpi=none`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_known_and_a_plain_task_of_slurm_is_none() {
        let with = |set: &'static [(&'static str, &'static str)]| {
            started_as(&|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string()))
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "1")]), None);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some(("OMPI_COMM_WORLD_SIZE", 4)));
        assert_eq!(with(&[("PMI_SIZE", "2"), ("PMI_RANK", "0")]), Some(("PMI_SIZE", 2)));
        let array = [("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_LOCALID", "1"), ("SLURM_PROCID", "1")];
        assert_eq!(started_as(&|name| array.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into())), None);
        assert_eq!(with(&[("SLURM_STEP_NUM_TASKS", "8"), ("PMIX_RANK", "3")]), Some(("SLURM_STEP_NUM_TASKS", 8)));
        assert_eq!(with(&[("SLURM_STEP_NUM_TASKS", "1"), ("PMIX_RANK", "0")]), None);
    }
}
