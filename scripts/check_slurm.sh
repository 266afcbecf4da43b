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
slurm=$work/slurm
port=${SLURM_CHECK_PORT:-16917}
export SLURM_CONF=$slurm/slurm.conf XDG_CONFIG_HOME=$work/config RUST_LOG=info
unset RUNNER_CACHE "${!SLURM_JOB@}" "${!SLURM_ARRAY@}"

fail() {
  echo "check_slurm: $*" >&2
  tail -n 30 "$slurm"/log/* "$work"/site/results/*/cluster/*.log 2>/dev/null >&2 || true
  exit 1
}

# Ends what this script started, by the numbers that it wrote down.
down() {
  local file signal second
  set +e
  if [ -e "$slurm/slurmctld.pid" ]; then
    timeout 10 scancel --quiet --user="$(id -un)" 2>/dev/null
    # While its daemons live, Slurm kills what does not end by itself.
    for second in $(seq 20); do
      idle && break
      sleep 1
    done
  fi
  [ -z "${alone:-}" ] || kill "$alone" 2>/dev/null
  for signal in TERM KILL; do
    sleep 1
    for file in slurmd-n1 slurmd-n2 slurmctld munged; do
      [ -e "$slurm/$file.pid" ] && kill -$signal "$(cat "$slurm/$file.pid")" 2>/dev/null
    done
  done
}
trap down EXIT

install() {
  command -v slurmctld slurmd sbatch munged >/dev/null && return
  local policy=/usr/sbin/policy-rc.d made=
  # Packages would start services, which this machine may have no use for.
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=yes; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
  [ -z "$made" ] || rm $policy
}

up() {
  local host
  host=$(hostname -s)
  mkdir -p "$slurm"/{state,log} "$work/config/runner" "$work/site"
  cat >"$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool-%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd-%n.pid
SlurmctldLogFile=$slurm/log/slurmctld
SlurmdLogFile=$slurm/log/slurmd-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
ReturnToService=2
MailProg=/bin/true
KillWait=10
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 2))] CPUs=1 RealMemory=3000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  head -c 128 /dev/urandom >"$slurm/munge.key"
  chmod 400 "$slurm/munge.key"
  munged --force --key-file="$slurm/munge.key" --socket="$slurm/munge.socket" --pid-file="$slurm/munged.pid" \
    --log-file="$slurm/log/munged" --seed-file="$slurm/munge.seed" --num-threads=1
  slurmctld -c
  slurmd -N n1
  slurmd -N n2
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

# Waits until a command succeeds.
until_true() {
  local what=$1 end=$((SECONDS + 240))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "$what: not within 240 s"
    sleep 0.2
  done
}
idle() {
  local queue
  queue=$(timeout 10 squeue --noheader) && [ -z "$queue" ]
}
# Whether a member is in the middle of PPO.
in_ppo() { grep -q '"stage":"policy' "$1/progress.json" && sleep 1; }
state() { grep -q "\"state\": \"$2\"" "$1/manifest.json"; }

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
  cd "$site"
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

# Members that a person ends are not queued again, lose nothing, and go on when they are submitted again.
ended_by_people() {
  local job place=$site/results/ended submit
  submit=("$runner" cluster submit "$suite" --profile smoke --set policy.episodes=65536 --members no_kl --cluster here --out results/ended)
  "${submit[@]}" >"$work/ended"
  job=$(awk '/members/ { print $1 }' "$work/ended")
  until_true "PPO" in_ppo "$place/members/no_kl-seed-1"
  scancel "${job}_0"
  until_true "the cancelled job" idle
  state "$place/members/no_kl-seed-1" stopped || fail "scancel: the member did not save"
  ! grep -q "queued again" "$place"/cluster/*.log || fail "scancel: the member queued itself again"
  "${submit[@]}" >"$work/ended"
  until_true "the member that goes on" grep -q "continuing after update" "$place/members/no_kl-seed-1/log.txt"
  "$runner" cluster cancel results/ended
  until_true "what was cancelled" idle
  state "$place/members/no_kl-seed-1" stopped || fail "cancel: the member did not save"
  ! grep -q "queued again" "$place"/cluster/*.log || fail "cancel: the member queued itself again"
  "${submit[@]}" >"$work/ended"
  until_true "the member that goes on" state "$place/members/no_kl-seed-1" running
  sleep 1
  "$runner" stop "$place/members/no_kl-seed-1" --by Ada --reason "a check"
  until_true "the stopped member" idle
  tail -n 1 "$place/members/no_kl-seed-1/stops.jsonl" | grep -q '"by":"Ada"' || fail "stop: nobody knows who stopped it"
  ! grep -q "queued again" "$place"/cluster/*.log || fail "stop: the member queued itself again"
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

part() {
  local start=$SECONDS
  "$@"
  echo "-- $1: $((SECONDS - start)) s"
}
part install
part up
one_machine &
alone=$!
part collision
part submitted
part same_bytes
part ended_by_people
part refused
part file_system
