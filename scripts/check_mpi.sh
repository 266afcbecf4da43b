#!/usr/bin/env bash
# One run over several processes, by a real MPI: the same bytes for 1, 2 and 4 ranks, and what happens when a rank is
# killed, panics, has no disk, is told to stop, or is unlike the others. Nothing may hang.
#   apt-get install openmpi-bin libopenmpi-dev libclang-dev
#   cargo build --release --features mpi && scripts/check_mpi.sh ~/target/release/runner
set -euo pipefail
cd "$(dirname "$0")/.."
runner=$(realpath "${1:?the runner, built with --features mpi}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun=(mpirun --oversubscribe --mca mpi_yield_when_idle 1)
# Forty updates, a checkpoint after each third: a kill lands between two of them.
spec=(specs/quickstart.toml --profile smoke --device cpu --threads 1 --no-progress
  --set policy.blocks=4 --set policy.episodes=320 --set policy.checkpoint_every=3)

fail() { echo "check_mpi: $*" >&2; exit 1; }

# Everything a run made, without the times at which it made it.
content() {
  python3 - "$1" <<'PY'
import hashlib, json, pathlib, sys
out = pathlib.Path(sys.argv[1])
names = ("model.safetensors", "with_value_head.safetensors", "evaluation.json", "samples.jsonl", "metrics.jsonl", "reward.json")
files = sorted(p for p in out.rglob("*") if p.name in names or p.parent.name == "labels")
for path in files:
    data = path.read_bytes()
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in data.splitlines()]
        data = json.dumps([{k: v for k, v in l.items() if k not in ("elapsed/time", "elapsed/fps")} for l in lines]).encode()
    print(hashlib.md5(data).hexdigest(), path.relative_to(out))
assert len(files) > 8, files
PY
}

# The run on $1 ranks, in the place of that name ($2), with further arguments.
over() {
  local ranks=$1 name=$2
  shift 2
  RUNNER_CACHE=$scratch/cache-$name timeout 300 "${mpirun[@]}" -n "$ranks" "$runner" "${spec[@]}" --out "$scratch/$name" "$@"
}

# What `over` says, and its exit code, which must be $1 within $2 seconds.
ends() {
  local code=0 wanted=$1 seconds=$2 began=$SECONDS
  shift 2
  "$@" >"$scratch/said" 2>&1 || code=$?
  [ "$code" = "$wanted" ] || { cat "$scratch/said"; fail "exit code $code and not $wanted: $*"; }
  [ $((SECONDS - began)) -le "$seconds" ] || fail "took $((SECONDS - began)) s: $*"
}

says() { grep -q -- "$1" "$scratch/said" || { cat "$scratch/said"; fail "does not say \"$1\""; }; }

# Waits until the metrics of $1 have $2 lines.
updates() {
  for _ in $(seq 600); do
    [ "$(cat "$scratch/$1/runs/direct/metrics.jsonl" 2>/dev/null | wc -l)" -ge "$2" ] && return
    sleep 0.1
  done
  fail "$1 does not train"
}

echo "== the same bytes for 1, 2 and 4 ranks"
RUNNER_CACHE=$scratch/cache-one "$runner" "${spec[@]}" --out "$scratch/one" >/dev/null 2>&1
content "$scratch/one" >"$scratch/expected"
for ranks in 1 2 4; do
  began=$SECONDS
  ends 0 300 over "$ranks" "ranks-$ranks"
  content "$scratch/ranks-$ranks" | diff "$scratch/expected" - || fail "$ranks ranks give other bytes"
  diff <(ls "$scratch/cache-one") <(ls "$scratch/cache-ranks-$ranks") || fail "$ranks ranks make other stages"
  echo "   $ranks ranks: $((SECONDS - began)) s, $(wc -l <"$scratch/expected") files"
done

echo "== a rank killed in PPO; continued by another number of ranks"
RUNNER_CACHE=$scratch/cache-killed timeout 300 "${mpirun[@]}" -n 2 "$runner" "${spec[@]}" --out "$scratch/killed" >"$scratch/said" 2>&1 &
job=$!
updates killed 5
began=$SECONDS
kill -9 "$(pgrep -f -- "--out $scratch/killed" | while read -r pid; do
  tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx OMPI_COMM_WORLD_RANK=1 && echo "$pid"
done | head -1)"
code=0; wait "$job" || code=$?
[ "$code" != 0 ] && [ $((SECONDS - began)) -le 15 ] || fail "killed: exit code $code after $((SECONDS - began)) s"
ends 0 300 over 4 killed
says "continuing after update"
content "$scratch/killed" | diff "$scratch/expected" - || fail "killed and continued by 4 ranks: other bytes"

echo "== told to stop: by a file, then by a signal to one rank that is not the first; then to the end alone"
RUNNER_CACHE=$scratch/cache-stopped timeout 300 "${mpirun[@]}" -n 4 "$runner" "${spec[@]}" --out "$scratch/stopped" >"$scratch/said" 2>&1 &
job=$!
updates stopped 4
"$runner" stop "$scratch/stopped" --reason "a look" >/dev/null 2>&1
code=0; wait "$job" || code=$?
[ "$code" = 4 ] || { cat "$scratch/said"; fail "stopped by a file: exit code $code"; }
"$runner" stop "$scratch/stopped" --undo >/dev/null 2>&1
before=$(wc -l <"$scratch/stopped/runs/direct/metrics.jsonl")
RUNNER_CACHE=$scratch/cache-stopped timeout 300 "${mpirun[@]}" -n 2 "$runner" "${spec[@]}" --out "$scratch/stopped" >"$scratch/said" 2>&1 &
job=$!
updates stopped $((before + 3))
kill -TERM "$(pgrep -f -- "--out $scratch/stopped" | while read -r pid; do
  tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx OMPI_COMM_WORLD_RANK=1 && echo "$pid"
done | head -1)"
code=0; wait "$job" || code=$?
[ "$code" = 4 ] || { cat "$scratch/said"; fail "SIGTERM to rank 1: exit code $code"; }
says "stopped by SIGTERM"
RUNNER_CACHE=$scratch/cache-stopped "$runner" "${spec[@]}" --out "$scratch/stopped" >/dev/null 2>&1
content "$scratch/stopped" | diff "$scratch/expected" - || fail "stopped twice and continued: other bytes"

echo "== a panic on one rank ends all within 10 seconds"
for where in 1:3 0:3; do
  code=0; began=$SECONDS
  RUNNER_TEST_PANIC=$where over 2 "panic-$where" >"$scratch/said" 2>&1 || code=$?
  last=$(stat -c %Y "$scratch/panic-$where/runs/direct/metrics.jsonl")
  [ "$code" != 0 ] && [ "$code" != 124 ] || fail "a panic: exit code $code"
  [ $(($(date +%s) - last)) -le 10 ] || fail "a panic: ended $(($(date +%s) - last)) s after the last update"
  says "a panic that a test asked for"
done

echo "== what cannot work is refused by all ranks at once"
ends 2 60 over 3 three
says "3 ranks do not divide policy.blocks = 4"
[ ! -e "$scratch/three" ] || fail "a refused run left a directory"
ends 2 60 env RUNNER_CACHE="$scratch/cache-two" "${mpirun[@]}" -n 1 "$runner" "${spec[@]}" --out "$scratch/two" \
  : -n 1 "$runner" "${spec[@]}" --set policy.lr=1e-3 --out "$scratch/two"
says "rank 1: its spec or suite is"
ends 2 60 env "${mpirun[@]}" -n 1 "$runner" "${spec[@]}" --out "$scratch/two" : -n 1 "$runner" no_such_spec.toml
says "no_such_spec"
echo "a file" >"$scratch/file"
code=0
over 2 file >"$scratch/said" 2>&1 || code=$?
[ "$code" = 1 ] || [ "$code" = 2 ] || fail "results in place of a file: exit code $code"

echo "== a disk that is full for the first rank only"
small="trap '' XFSZ; ulimit -f 300; exec"
ends 1 120 env RUNNER_CACHE="$scratch/cache-full" "${mpirun[@]}" -n 1 bash -c "$small $runner ${spec[*]} --out $scratch/full" \
  : -n 1 "$runner" "${spec[@]}" --out "$scratch/full"
says "File too large"
ends 0 300 over 2 full
content "$scratch/full" | diff "$scratch/expected" - || fail "after a full disk: other bytes"

echo "== a rank that does not see the first one's cache"
ends 2 120 env "${mpirun[@]}" -n 1 env RUNNER_CACHE="$scratch/cache-here" "$runner" "${spec[@]}" --out "$scratch/unseen" \
  : -n 1 env RUNNER_CACHE="$scratch/cache-there" "$runner" "${spec[@]}" --out "$scratch/unseen"
says "RUNNER_CACHE"
echo "== all of it: $SECONDS s"
