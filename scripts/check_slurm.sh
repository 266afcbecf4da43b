#!/usr/bin/env bash
# A suite on a real Slurm cluster: a controller and two nodes on this machine's loopback, started and ended here.
#
#     scripts/check_slurm.sh target/release/runner [FOLDER]
#
# Debian or Ubuntu, as root (it installs Slurm and munge where they are missing, without their services). Two tasks collide on
# a shared stage, a suite is submitted (and once more, which finds it), one member is told in the middle of PPO that its
# time is up and queues itself again, another by hand; the gathered table, evaluations, samples and weights must be the
# bytes of a run on one machine. Then what ends badly: a job cancelled by hand and by command, a person's stop, a partition
# that is not there, a cache that is not mounted. Everything is below FOLDER, a new one without it; about two minutes on two cores.
set -euo pipefail
runner=$(realpath "${1:?the program to check}")
suite=$(realpath "$(dirname "$0")/../specs/table10_no_kl.toml")
work=${2:-$(mktemp -d)}
mkdir -p "$work" && work=$(realpath "$work")
port=${SLURM_CHECK_PORT:-16917}
export RUST_LOG=info
. "$(dirname "$0")/slurm.sh"

up() {
  slurm_up
  cat >"$work/config/runner/cluster.toml" <<'CONF'
cluster_version = 1

[cluster.here]
submit = { cpus-per-task = 1, mem = "1500M", comment = "it's a check # 1" }
gather = { mem = "500M" }
setup = "export RAYON_NUM_THREADS=1"
device = "cpu"
grace = 60

[cluster.nowhere]
submit = { partition = "there-is-none" }
CONF
}


smoke=(--profile smoke --seeds 1,2)
longer=(--set member.no_kl.policy.episodes=8192)
site=$work/site
out=$site/results/table10_no_kl-smoke

# Beside the cluster's jobs: each waits for the other's processor, and the whole ends sooner.
one_machine() {
  RAYON_NUM_THREADS=2 "$runner" "$suite" "${smoke[@]}" "${longer[@]}" --device cpu --no-progress --out "$work/alone/t" >"$work/alone.log" 2>&1
}

# Two tasks that need the same ρ and r_s begin at once: one makes them, the other waits, and says for whom.
collision() {
  local task
  sbatch --parsable --array=0,2 --output="$work/collision-%a.log" --wrap \
    "RAYON_NUM_THREADS=1 exec $runner $suite ${smoke[*]} ${longer[*]} --device cpu --no-progress --member \$SLURM_ARRAY_TASK_ID --until classifier" >/dev/null
  until_true "the collision" idle
  grep -q "waiting for $(hostname) pid [0-9]*, Slurm job [0-9]*_[02], which makes" "$work"/collision-*.log || fail "nobody waited"
  for task in no_kl-seed-1 entropy_bonus-seed-1; do
    grep -q "ready as far as .classifier." "$out/members/$task/log.txt" || fail "$task did not get as far as r_s"
  done
  grep -q '"waited"' "$out"/members/*/manifest.json || fail "no manifest says who was waited for"
}

submitted() {
  local second job
  "$runner" cluster submit "$suite" "${smoke[@]}" "${longer[@]}" --cluster here | tee "$work/submitted"
  [ "$(wc -l <"$work/submitted")" = 3 ] || fail "a wave, the members and the drawing were to be submitted"
  second=$("$runner" cluster submit "$suite" "${smoke[@]}" "${longer[@]}" --cluster here 2>&1)
  grep -q "4 waiting or running from before, 0 submitted" <<<"$second" || fail "a second submit does not find the first: $second"
  job=$(awk '/members/ { print $1 }' "$work/submitted")
  until_true "PPO" in_ppo "$out/members/no_kl-seed-1"
  # What Slurm does `grace` seconds before the time limit. The first of its calls arrives; while other tasks of the array
  # wait, Slurm 22.05 answers "try again later" all the same, and scancel would.
  timeout 2 scancel --batch --signal=TERM "${job}_0" || true
  # What an administrator does.
  until_true "the second seed" state "$out/members/no_kl-seed-2" running
  scontrol requeue "${job}_1"
  until_true "the member that saved" state "$out/members/no_kl-seed-1" stopped
  "$runner" cluster status "$out" --cluster here
  until_true "the suite" idle
  "$runner" cluster status "$suite" --profile smoke
  grep -q "saved before the time was up; queued again" "$out"/cluster/1-members-*_0.log || fail "nothing was queued again"
  grep -q "continuing after update" "$out/members/no_kl-seed-1/log.txt" || fail "the queued one began anew"
  grep -q '"kind":"signal"' "$out/members/no_kl-seed-1/stops.jsonl" || fail "no signal was recorded"
  state "$out" done || fail "the suite is not done"
}

same_bytes() {
  local file count=0
  wait "$alone" || fail "the run on one machine: $(tail -n 5 "$work/alone.log")"
  alone=
  cd "$work/alone/t"
  while read -r file; do
    cmp "$file" "$out/$file" || fail "$file differs from the run on one machine"
    count=$((count + 1))
  done < <(find tables members -path '*/logs/*' -prune -o \( -name '*.md' -o -name '*.csv' -o -name 'table*.json' -o -name evaluation.json \
    -o -name samples.jsonl -o -name '*.safetensors' -o -path '*/labels/*.jsonl' \) -print)
  [ $count -ge 30 ] || fail "only $count files were compared"
  echo "$count files are the bytes of the run on one machine"
  cd "$site"
}

once() { [ "$(cat "$1"/cluster/*.log | grep -c "queued again")" = 1 ]; }

# A run that is longer than its time limit goes from slot to slot. Members that a person ends are not queued again, lose nothing, and go on when they are submitted again.
ended_by_people() {
  local job place=$site/results/ended submit
  submit=("$runner" cluster submit "$suite" --profile smoke --set policy.episodes=65536 --members no_kl --cluster here --out results/ended)
  "${submit[@]}" >"$work/ended"
  job=$(awk '/members/ { print $1 }' "$work/ended")
  until_true "PPO" in_ppo "$place/members/no_kl-seed-1"
  # Slurm looks every 30 s, and tells the task `grace` and half a minute before the limit.
  scontrol update "JobId=${job}_0" TimeLimit=2
  until_true "the time limit" grep -q "queued again" "$place/cluster/1-members-${job}_0.log"
  scontrol update "JobId=${job}_0" TimeLimit=UNLIMITED
  until_true "the next slot" grep -q "continuing after update" "$place/members/no_kl-seed-1/log.txt"
  scancel "${job}_0"
  until_true "the cancelled job" idle
  state "$place/members/no_kl-seed-1" stopped || fail "scancel: the member did not save"
  once "$place" || fail "scancel: the member queued itself again"
  "${submit[@]}" >"$work/ended"
  until_true "the member that goes on" state "$place/members/no_kl-seed-1" running
  "$runner" cluster cancel results/ended
  until_true "what was cancelled" idle
  state "$place/members/no_kl-seed-1" stopped || fail "cancel: the member did not save"
  once "$place" || fail "cancel: the member queued itself again"
  "${submit[@]}" >"$work/ended"
  until_true "the member that goes on" state "$place/members/no_kl-seed-1" running
  sleep 1
  "$runner" stop "$place/members/no_kl-seed-1" --by Ada --reason "a check"
  until_true "the stopped member" idle
  tail -n 1 "$place/members/no_kl-seed-1/stops.jsonl" | grep -q '"by":"Ada"' || fail "stop: nobody knows who stopped it"
  once "$place" || fail "stop: the member queued itself again"
}

refused() {
  local said code=0
  said=$("$runner" cluster submit "$suite" --profile smoke --cluster nowhere --out results/refused 2>&1) || code=$?
  [ $code = 1 ] && grep -qi "sbatch refuses.*partition" <<<"$said" || fail "code $code: $said"
  code=0
  said=$(PATH=$work "$runner" cluster submit "$suite" --profile smoke --cluster here --out results/refused 2>&1) || code=$?
  [ $code = 1 ] && grep -q "there is no sbatch here" <<<"$said" || fail "code $code: $said"
  code=0
  "$runner" cluster submit "$suite" --profile smoke --cluster elsewhere >"$work/said" 2>&1 || code=$?
  [ $code = 2 ] && grep -q 'there is no cluster "elsewhere"' "$work/said" || fail "code $code: $(cat "$work/said")"
  # A host that does not see the cache.
  rm "$site"/results/.cache/.cluster-*
  sbatch --wait "$site"/results/ended/cluster/1-members.sh >/dev/null 2>&1 && fail "a task began without its cache"
  cat "$site"/results/ended/cluster/1-members-*.log | grep -q "is the file system that the jobs share mounted" || fail "nobody says that the cache is not there"
}

# Two tasks of a job try the file system together.
file_system() {
  srun -N2 -n2 "$runner" doctor --shared "$site" | tee "$work/doctor"
  grep -q "results and cache can be here" "$work/doctor" || fail "doctor"
  "$runner" doctor --shared "$site" >/dev/null || fail "doctor with a process of its own"
}

part slurm_install
part up
cd "$site"
one_machine &
alone=$!
part collision
part submitted
part same_bytes
part ended_by_people
part refused
part file_system
