"""Opens a results directory's event files with TensorBoard itself and compares every scalar with metrics.jsonl.

    pip install tensorboard==2.21.0
    python scripts/check_tensorboard.py results/quickstart

Fails when TensorBoard reads another number of steps, another tag or another value (float32, as event files hold them).
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Names of the released code (lm_human_preferences/train_policy.py) that people's dashboards know.
KNOWN = {
    "objective/kl", "objective/kl_coef", "objective/entropy", "objective/score", "objective/score_total",
    "ppo/loss/policy", "ppo/loss/value", "ppo/loss/total", "ppo/policy/entropy", "ppo/policy/approxkl", "ppo/policy/clipfrac",
    "ppo/returns/mean", "ppo/returns/var", "ppo/val/vpred", "ppo/val/error", "ppo/val/clipfrac", "ppo/val/mean", "ppo/val/var",
    "ppo/val/var_explained", "elapsed/updates", "elapsed/episodes", "elapsed/fps", "elapsed/time",
}  # fmt: skip


def single(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def check(results):
    runs = sorted(p for p in (results / "tensorboard").iterdir() if p.is_dir())
    assert runs, f"{results}/tensorboard holds no run"
    for run in runs:
        lines = [json.loads(line) for line in (results / "runs" / run.name / "metrics.jsonl").read_text().splitlines()]
        events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
        tags = set(events.Tags()["scalars"])
        numeric = {key for line in lines for key, value in line.items() if isinstance(value, (int, float))}
        assert tags == numeric, f"{run}: {tags ^ numeric}"
        assert KNOWN <= tags, f"{run}: no {KNOWN - tags}"
        for tag in tags:
            expected = [(int(line["elapsed/updates"]), single(line[tag])) for line in lines if tag in line]
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            assert found == expected, f"{run}: {tag}"
        print(f"{run}: {len(tags)} tags, {len(lines)} steps, equal")


if __name__ == "__main__":
    for directory in sys.argv[1:] or sys.exit(__doc__):
        check(Path(directory))
