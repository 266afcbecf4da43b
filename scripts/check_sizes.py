"""Checks `runner logprobs` against transformers on random models of GPT-2's shapes, with memory and time, by hand (Linux):

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    python scripts/check_sizes.py --runner target/release/runner [--shapes tiny 6x384 124M 355M 774M] [--work DIR] [--keep]

Each shape in float32 (one file, and sharded by save_pretrained), float16 and bfloat16: lines of mixed lengths, which are
padded, and each of some lines alone, at several temperatures; transformers computes in float32 on the CPU without padding.
Weights are N(0, 0.02) as GPT-2's initialisation has them, LayerNorms and biases random too, so that one that is forgotten
shows. The largest difference must be at most 1e-4. Memory: the largest resident size while one short line is computed,
as a multiple of the numbers' size in float32, which is what the model is computed in. Needs 3 GB of disk for each number type of
774M, and 8 GB of memory. Prints a Markdown table; exits 1 where a difference is too large or memory above 1.2 times.
"""

import argparse
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/fixtures"))
from make_weights import logprobs, random_model  # noqa: E402

# layers, heads, width, vocabulary, context
SHAPES = {"test": (1, 2, 16, 300, 64), "tiny": (4, 4, 128, 5000, 128), "6x384": (6, 6, 384, 20000, 256),
          "124M": (12, 12, 768, 50257, 1024), "355M": (24, 16, 1024, 50257, 1024), "774M": (36, 20, 1280, 50257, 1024)}
LIMIT, MEMORY = 1e-4, 1.2
TEMPERATURES = (1.0, 0.7, 0.01, 100.0)


def run(runner, directory, rows, temperature, device="cpu"):
    """Log-probabilities, seconds, and the largest resident size in bytes."""
    command = [runner, "logprobs", "--device", device, "--model", str(directory), "--input", "-", "--temperature", str(temperature)]
    with tempfile.TemporaryFile("w+") as inp, tempfile.TemporaryFile("w+") as out:
        inp.writelines(json.dumps({"query": q, "response": r}) + "\n" for q, r in rows)
        inp.seek(0)
        start = time.time()
        done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, *command], stdin=inp, stdout=out,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{command}: exit code {done.returncode}: {done.stderr}")
        out.seek(0)
        peak = int(done.stderr.split()[-1]) * 1024
        return [json.loads(line)["logprobs"] for line in out], time.time() - start, peak


# A process starts with its parent's peak memory; this one is small.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def largest(a, b):
    assert [len(x) for x in a] == [len(y) for y in b], "different lengths"
    return max(abs(x - y) for p, q in zip(a, b) for x, y in zip(p, q))


def lines(vocab, context, count):
    rng = random.Random(vocab + context)
    ids = lambda n: [rng.randrange(vocab) for _ in range(n)]
    rows = [(ids(rng.randint(1, context // 4)), ids(rng.randint(1, context // 8))) for _ in range(count)]
    return [*rows, (ids(context - 1), ids(1)), (ids(1), ids(context - 1)), (ids(1), ids(1))]


def save(shape, work):
    """The model in every form that it comes in on the hub -> names."""
    model = random_model(*SHAPES[shape], seed=len(shape), std=0.02)
    size = sum(p.numel() for p in model.parameters()) * 4
    model.save_pretrained(work / "float32", max_shard_size="100GB")
    model.save_pretrained(work / "float32 sharded", max_shard_size=max(size // 5, 20000))
    assert list((work / "float32 sharded").glob("*.index.json")), "not sharded"
    model.half().save_pretrained(work / "float16", max_shard_size="100GB")
    del model
    gc.collect()
    model = AutoModelForCausalLM.from_pretrained(work / "float32", dtype=torch.bfloat16)
    model.save_pretrained(work / "bfloat16", max_shard_size="100GB")
    return ["float32", "float32 sharded", "float16", "bfloat16"], size


def check(runner, shape, work, device, tables):
    names, size = save(shape, work)
    count = 4 if shape.endswith("M") else 60
    rows = lines(SHAPES[shape][3], SHAPES[shape][4], count)
    failed, expected = False, {}
    for name in names:
        on_disk = sum(f.stat().st_size for f in (work / name).glob("*.safetensors"))
        if name != "float32 sharded":  # the same numbers as float32
            model = AutoModelForCausalLM.from_pretrained(work / name, dtype=torch.float32).eval()
            expected = {t: [logprobs(model, q, r, t) for q, r in rows] for t in TEMPERATURES}
            del model
            gc.collect()
        worst = {}
        for t in TEMPERATURES if name == "float32" else (1.0, 0.7):
            own, _, _ = run(runner, work / name, rows, t, device)
            # At a small temperature log-probabilities are as many times larger, and so is their rounding.
            worst[t] = largest(own, expected[t]) * min(1.0, t)
        alone = [run(runner, work / name, [row], 1.0, device)[0][0] for row in (rows[0], rows[-1])]
        worst["alone"] = largest(alone, [expected[1.0][0], expected[1.0][-1]])
        _, seconds, memory = run(runner, work / name, rows[-1:], 1.0, device)
        bad = max(worst.values()) > LIMIT or (size > 100e6 and device == "cpu" and memory > MEMORY * size)
        failed |= bad
        shown = ", ".join(f"{k}: {v:.1e}" for k, v in worst.items())
        tables.append(f"| {shape} {name} | {on_disk / 1e6:.0f} MB | {shown} | {memory / 1e6:.0f} MB, {memory / size:.2f}x float32, {memory / on_disk:.2f}x file | "
                      f"{seconds:.1f} s |{' FAIL' if bad else ''}")
        print(tables[-1], flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", default="target/release/runner")
    parser.add_argument("--shapes", nargs="*", default=["test", "tiny", "6x384", "124M", "355M", "774M"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", default=None)
    parser.add_argument("--keep", action="store_true", help="leave the models in --work")
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    failed, tables = False, ["| model | on disk | largest difference at each temperature (times it where below 1), and alone | memory, one short line | time |", "|---|---|---|---|---|"]
    for shape in args.shapes:
        work = Path(args.work or tempfile.gettempdir()) / f"check_sizes_{shape}"
        work.mkdir(parents=True, exist_ok=True)
        try:
            failed |= check(args.runner, shape, work, args.device, tables)
        finally:
            if not args.keep:
                shutil.rmtree(work, ignore_errors=True)
    print("\n".join(tables))
    sys.exit(failed)


if __name__ == "__main__":
    main()
