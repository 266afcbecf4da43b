#!/usr/bin/env bash
# The quickstart's model at batches of 64 and of 2,048 on a wgpu device against the CPU: two updates with a mock reward and with a learned
# one; what the first says of the same episodes has to agree. Meant for lavapipe, whose arrays end at 128 MiB: a batch that is too large for
# one pass has to be cut, and never to give numbers that nobody computed.
#
#   VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json scripts/check_batches.sh [target/release/runner [BATCH...]]
#
# A quarter of an hour on a quiet machine of two cores; needs python3. Another place for what it leaves: TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/.."
runner=${1:-target/release/runner}
batches=("${@:2}")
[ ${#batches[@]} -gt 0 ] || batches=(64 2048)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

small=(--set labeler.classifier.steps=20 --set collect.labels=64 --set collect.held_out=20
  --set evaluate.queries=16 --set evaluate.optimum_queries=2 --set evaluate.optimum_samples=8)

for batch in "${batches[@]}"; do
  for device in cpu wgpu; do
    started=$SECONDS
    RUNNER_CACHE=$place/cache "$runner" specs/quickstart.toml --device $device --out "$place/$device-$batch" --no-progress -q "${small[@]}" \
      --set policy.batch_size=$batch --set policy.episodes=$((2 * batch)) >"$place/log" 2>&1 || { cat "$place/log"; exit 1; }
    echo "$batch episodes an update on $device: $((SECONDS - started)) s"
  done
  python3 - "$place/cpu-$batch" "$place/wgpu-$batch" <<'PYTHON'
import json, pathlib, sys

# Rounding moves a reward by less than this; a token that is drawn otherwise for it moves a mean by as little.
LIMIT = 0.02
KEYS = ("objective/score", "objective/mock_score", "objective/kl", "objective/entropy", "ppo/policy/entropy", "ppo/loss/policy",
        "ppo/loss/value", "ppo/returns/mean", "ppo/policy/approxkl", "ppo/policy/clipfrac")
cpu, gpu = map(pathlib.Path, sys.argv[1:])
wrong = []
for run in sorted(path.parent.name for path in cpu.glob("runs/*/metrics.jsonl")):
    a, b = (json.loads((place / "runs" / run / "metrics.jsonl").read_text().splitlines()[0]) for place in (cpu, gpu))
    for key in KEYS:
        if key not in a and key not in b:
            continue
        if not abs(a[key] - b[key]) <= LIMIT * max(1, abs(a[key])):
            wrong.append(f"{run}, {key}: {a[key]} on the CPU, {b[key]} on the device")
    print(f"  {run}:", ", ".join(f"{key} {a[key]:.5f} and {b[key]:.5f}" for key in ("objective/score", "ppo/loss/value")))
sys.exit("\n".join(wrong) or 0)
PYTHON
done
