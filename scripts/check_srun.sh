#!/usr/bin/env bash
# Ranks under Slurm: one run over two nodes by `srun --mpi=pmix`, and a suite whose tasks are such runs (`ranks = 2`).
#
#     scripts/check_srun.sh RUNNER [FOLDER]          a runner built with --features mpi
#
# Debian or Ubuntu, as root; scripts/slurm.sh starts a controller and two nodes on this machine. Policies, labels, evaluations and
# tables must be the bytes of one process. A task that is told in the middle of PPO that its time is up saves, queues itself again
# and goes on; one that a person cancels saves and does not. Everything is below FOLDER, a new one without it; about a minute.
set -euo pipefail
runner=$(realpath "${1:?the program to check, built with --features mpi}")
specs=$(realpath "$(dirname "$0")/../specs")
work=${2:-$(mktemp -d)}
mkdir -p "$work" && work=$(realpath "$work")
port=${SLURM_CHECK_PORT:-16927}
. "$(dirname "$0")/slurm.sh"
# Ranks that wait let the others have the processor.
export RUST_LOG=info OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

up() {
  slurm_up
  cat >"$work/config/runner/cluster.toml" <<'CONF'
cluster_version = 1

[cluster.pairs]
submit = { nodes = 2, cpus-per-task = 1, mem = "1500M" }
gather = { nodes = 1, mem = "500M" }
setup = "export RAYON_NUM_THREADS=1"
device = "cpu"
ranks = 2
grace = 60
CONF
}


# Every file of $1 that counts is the one of $2; at least $3 of them.
same_bytes() {
  local file count=0
  while read -r file; do
    cmp "$1/$file" "$2/$file" || fail "$file differs from the run of one process"
    count=$((count + 1))
  done < <(cd "$1" && find . -path '*/logs/*' -prune -o \( -name '*.md' -o -name '*.csv' -o -name 'table*.json' -o -name evaluation.json \
    -o -name samples.jsonl -o -name '*.safetensors' -o -path '*/labels/*.jsonl' \) -print | grep -v 'report\.md')
  [ $count -ge "$3" ] || fail "only $count files were compared"
  echo "$count files are the bytes of one process"
}

spec=("$specs/quickstart.toml" --profile smoke --device cpu --threads 1 --no-progress --set policy.blocks=2)
short=("$specs/table10_no_kl.toml" --profile smoke --seeds 1 --set policy.blocks=2)
suite=("${short[@]}" --set member.no_kl.policy.episodes=4096)

# One process each, beside the cluster's jobs.
one_process() {
  "$runner" "${spec[@]}" --out "$work/alone/run"
  "$runner" "${suite[@]}" --device cpu --threads 1 --no-progress --out "$work/alone/suite"
}

one_run() {
  srun --mpi=pmix -N2 -n2 "$runner" "${spec[@]}" --out "$work/site/run" >"$work/run.log" 2>&1 || { cat "$work/run.log"; fail "srun"; }
  # Two processes that know nothing of one another would have made the same.
  grep -q "one run by 2 ranks" "$work/run.log" || fail "no ranks: $(cat "$work/run.log")"
}

a_suite() {
  local job out=$work/site/results/t
  "$runner" cluster submit "${suite[@]}" --cluster pairs --out results/t | tee "$work/submitted"
  job=$(awk '/members/ { print $1 }' "$work/submitted")
  until_true "PPO" in_ppo "$out/members/no_kl-seed-1"
  # What Slurm does `grace` seconds before the time limit.
  timeout 2 scancel --batch --signal=TERM "${job}_0" || true
  until_true "the member that saved" grep -qs "saved before the time was up; queued again" "$out"/cluster/1-members-*_0.log
  until_true "the suite" idle
  "$runner" cluster status results/t
  grep -q "continuing after update" "$out/members/no_kl-seed-1/log.txt" || fail "the queued one began anew"
  state "$out" done || fail "the suite is not done"
}

cancelled() {
  local job out=$work/site/results/cancelled
  "$runner" cluster submit "${short[@]}" --set policy.episodes=65536 --members no_kl --cluster pairs --out results/cancelled >"$work/submitted"
  job=$(awk '/members/ { print $1 }' "$work/submitted")
  until_true "PPO" in_ppo "$out/members/no_kl-seed-1"
  scancel "${job}_0"
  until_true "the cancelled job" idle
  state "$out/members/no_kl-seed-1" stopped || fail "scancel: the ranks did not save"
  ! grep -qs "queued again" "$out"/cluster/*.log || fail "scancel: the member queued itself again"
}

compared() {
  wait "$alone" || fail "one process: $(tail -n 5 "$work/alone.log")"
  alone=
  same_bytes "$work/alone/run" "$work/site/run" 8
  same_bytes "$work/alone/suite" "$work/site/results/t" 12
}

part slurm_install
part up
cd "$work/site"
one_process >"$work/alone.log" 2>&1 &
alone=$!
part one_run
part a_suite
part compared
part cancelled
