# A Slurm cluster on this machine's loopback, a controller and two nodes of one processor each, for the scripts that are checks
# of it (Debian or Ubuntu, as root; read by them, not run). They say where: `work`, a folder of theirs, and `port`, the first
# of three. No cgroups, no systemd, and no services but those that `slurm_up` starts and `slurm_down` ends.
slurm=$work/slurm
export SLURM_CONF=$slurm/slurm.conf XDG_CONFIG_HOME=$work/config
unset RUNNER_CACHE "${!SLURM_JOB@}" "${!SLURM_ARRAY@}"

fail() {
  echo "$(basename "$0" .sh): $*" >&2
  tail -n 30 "$slurm"/log/* "$work"/site/results/*/cluster/*.log 2>/dev/null >&2 || true
  exit 1
}

# Ends what this script started, by the numbers that it wrote down, and the run beside the cluster, `alone`.
slurm_down() {
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
  [ -z "${alone:-}" ] || kill "$alone" $(pgrep -P "$alone") 2>/dev/null
  for signal in TERM KILL; do
    sleep 1
    for file in slurmd-n1 slurmd-n2 slurmctld munged; do
      [ -e "$slurm/$file.pid" ] && kill -$signal "$(cat "$slurm/$file.pid")" 2>/dev/null
    done
  done
}
trap slurm_down EXIT

slurm_install() {
  command -v slurmctld slurmd sbatch munged >/dev/null && ldconfig -p | grep -q libpmix.so.2 && return
  local policy=/usr/sbin/policy-rc.d made=
  # Packages would start services, which this machine may have no use for.
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=yes; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge libpmix2 >/dev/null
  [ -z "$made" ] || rm $policy
}

slurm_up() {
  local host
  host=$(hostname -s)
  mkdir -p "$slurm"/{state,log,tmp-n1,tmp-n2} "$work/config/runner" "$work/site"
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
TmpFS=$slurm/tmp-%n
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

# Of a member's directory: its manifest says this; it is in the middle of PPO.
state() { grep -q "\"state\": \"$2\"" "$1/manifest.json"; }
in_ppo() { grep -q '"stage":"policy' "$1/progress.json" && sleep 1; }

part() {
  local start=$SECONDS
  "$@"
  echo "-- $1: $((SECONDS - start)) s"
}
