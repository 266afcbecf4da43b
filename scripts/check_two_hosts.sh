#!/usr/bin/env bash
# Two hosts and a network file system on one machine, by hand (root, Debian; a few minutes):
#
#     scripts/check_two_hosts.sh target/release/runner
#
# Network namespaces with a cable between them, each with its own name, /tmp and boot number, so that neither can look for
# the other's processes; GlusterFS, served by the first and mounted by both. The file system is tried; two tasks collide on
# a stage; a run that is killed -9 on one host goes on from its checkpoint on the other, half a minute later; one that is
# only stopped (SIGSTOP) and cut off is not taken over while its lock is held.
set -euo pipefail
work=$(mktemp -d /var/tmp/two-hosts-XXXX)
# Each host has a /tmp of its own, in which neither may be.
cp "$(realpath "${1:?the program to check}")" "$work/runner"
cp -r "$(dirname "$0")/../specs" "$work/specs"
runner=$work/runner
suite=$work/specs/table10_no_kl.toml
shared=/mnt/runner-check

fail() { echo "check_two_hosts: $*" >&2; tail -n 5 "$work"/*.log >&2; exit 1; }

# on HOST COMMAND...
on() {
  local host=$1
  shift
  nsenter --net --uts --mount -t "$(cat "$work/$host.pid")" env -C / RUST_LOG=info RAYON_NUM_THREADS=1 "$@"
}

down() {
  local host
  set +e
  for host in rc1 rc2; do
    [ -e "$work/$host.pid" ] || continue
    on $host umount -l $shared 2>/dev/null || true
  done
  on rc1 gluster --mode=script volume stop runnercheck force >/dev/null 2>&1 || true
  [ -e "$work/glusterd.pid" ] && kill "$(cat "$work/glusterd.pid")" 2>/dev/null
  for host in rc1 rc2; do
    [ -e "$work/$host.pid" ] && kill "$(cat "$work/$host.pid")" 2>/dev/null
    ip netns del $host 2>/dev/null
  done
  true
}
trap down EXIT

up() {
  local i
  command -v glusterd glusterfs >/dev/null ||
    { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends glusterfs-server glusterfs-client >/dev/null; }
  for i in 1 2; do ip netns add rc$i; ip -n rc$i link set lo up; done
  ip link add rcv1 netns rc1 type veth peer name rcv2 netns rc2
  for i in 1 2; do
    ip -n rc$i addr add 10.78.0.$i/24 dev rcv$i
    ip -n rc$i link set rcv$i up
    mkdir -p "$work/tmp$i" $shared
    # Another machine was started another time.
    printf '%08d-0000-4000-8000-000000000000\n' $i >"$work/boot$i"
    nsenter --net=/run/netns/rc$i unshare --uts --mount --propagation private bash -c \
      "hostname rc$i; mount --bind $work/tmp$i /tmp; mount --bind $work/boot$i /proc/sys/kernel/random/boot_id; echo \$\$ >$work/rc$i.pid; exec sleep 100000" \
      </dev/null >/dev/null 2>&1 &
    disown
  done
  sleep 1
  mkdir -p "$work/brick" "$work/glusterd"
  # A brick wants a file system with extended attributes, which an overlay has not.
  on rc1 mount -t tmpfs tmpfs "$work/brick"
  on rc1 mkdir -p "$work/brick/b"
  rm -rf /var/lib/glusterd/vols/runnercheck
  on rc1 glusterd --pid-file="$work/glusterd.pid" --log-file="$work/glusterd.log"
  sleep 3
  on rc1 gluster --mode=script volume create runnercheck 10.78.0.1:"$work/brick/b" force >/dev/null
  on rc1 gluster --mode=script volume start runnercheck >/dev/null
  sleep 2
  for i in 1 2; do on rc$i mount -t glusterfs 10.78.0.1:/runnercheck $shared; done
}

doctor() {
  on rc2 "$runner" doctor --shared $shared --as second &
  on rc1 "$runner" doctor --shared $shared --as first | tee "$work/doctor.log"
  wait $!
  grep -q "fuse.glusterfs" "$work/doctor.log" || fail "this is not GlusterFS"
  grep -q "rc1 and rc2" "$work/doctor.log" && grep -q "results and cache can be here" "$work/doctor.log" || fail "doctor"
}

task() {
  echo "$runner" "$suite" --profile smoke --device cpu --no-progress --out $shared/results/t --set policy.episodes=16384 --member "$@"
}

collision() {
  on rc1 $(task 0 --until classifier) >"$work/one.log" 2>&1 &
  on rc2 $(task 1 --until classifier) >"$work/two.log" 2>&1
  wait $!
  grep -q "waiting for rc[12] pid" "$work/one.log" "$work/two.log" || fail "nobody waited"
}

# Until task 0 has a checkpoint behind it, which it has after ten updates.
in_ppo() {
  local i
  for i in $(seq 600); do
    [ "$(on rc1 cat $shared/results/t/members/no_kl-seed-1/runs/main/metrics.jsonl 2>/dev/null | wc -l)" -gt 11 ] && return
    sleep 0.2
  done
  fail "no PPO"
}

# The program that `on rc1` started: the newest of this name.
pid() { pgrep -n -f -x "$(task 0)"; }

killed() {
  local code=0 began
  on rc1 $(task 0) >"$work/killed.log" 2>&1 &
  in_ppo
  # While it lives it is refused on the other host.
  on rc2 $(task 0) >"$work/refused.log" 2>&1 || code=$?
  [ $code = 1 ] && grep -q "another runner (rc1 pid" "$work/refused.log" || fail "code $code"
  # Stopped, its lease stands still, and its lock is held: nobody takes it.
  kill -STOP "$(pid)"
  sleep 45
  code=0
  on rc2 $(task 0) >"$work/refused.log" 2>&1 || code=$?
  [ $code = 1 ] || fail "a stopped run was taken over"
  kill -KILL "$(pid)"
  wait $! || true
  began=$SECONDS
  on rc2 $(task 0) >"$work/taken.log" 2>&1 || fail "the other host does not go on"
  grep -q "has ended without releasing it; taken over" "$work/taken.log" && grep -q "continuing after update" "$work/taken.log" ||
    fail "it began anew"
  echo "taken over and finished in $((SECONDS - began)) s"
}

for part in up doctor collision killed; do
  start=$SECONDS
  $part
  echo "-- $part: $((SECONDS - start)) s"
done
down
trap - EXIT
rm -rf "$work"
