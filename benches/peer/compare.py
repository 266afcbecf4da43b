"""Our PPO update beside the same update in PyTorch: checks that both compute the same function, then runs them in turns
and prints a Markdown table of medians and ratios.

    pip install -r benches/peer/requirements.txt
    python benches/peer/compare.py                               # all sizes and tasks, all cores
    python benches/peer/compare.py --threads 1 --only small/88   # one configuration on one core

Each side runs in a process of its own, `--repeats` times, in alternating order and on the same cores; the first update of
a process is not counted. Seconds are medians over updates, processor seconds (all threads, kernel included) and peak
resident memory medians over processes. A ratio is the peer's number through ours: above 1, ours is the smaller.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PHASES = ["sample", "reference", "score", "optimise", "total"]
VOCABULARY = {"test": 1024, "small": 50257, "124M": 50257}
# A matrix product's speed: through the clock, and through the processor time of all threads.
GEMM = ["flops", "flops_per_cpu_second"]
# (layers, width), as ModelSize::dimensions.
SHAPE = {"test": (2, 32), "small": (6, 384), "124M": (12, 768)}
# Largest differences allowed between the two sides' numbers. Log-probabilities have magnitude 10, so float32 itself is off
# by 1e-5; after an update Adam has divided gradients by their own size, rounding included. Gradient norms: as a share of
# the largest. sampling_z: difference of mean log-probabilities of sampled tokens, in standard errors.
LIMITS = {
    "logprobs": 1e-4, "ref_logprobs": 1e-4, "values": 1e-4, "scores": 1e-4, "loss": 1e-4, "policy_loss": 1e-4,
    "value_loss": 1e-4, "gradient_norms": 1e-3, "logprobs_after": 1e-3, "sampling_z": 5.0,
}  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    size: str
    query: int
    response: int
    batch: int
    # Timed updates of one process: more where they are short.
    updates: int
    # At most this many processes of each side.
    repeats: int

    @property
    def name(self):
        return f"{self.size}/{self.query + self.response}"

    def flops(self):
        """Floating-point operations of one episode, as few as the method needs.

        With L layers, width w, T tokens, R of them response, vocabulary V: a forward pass is 2 · 12 L w² per token in
        the blocks' weights and 4 L w per pair of query and key that causal attention allows, T (T + 1) / 2 pairs; the
        LM head is 2 V w per response token. Sampling with a cache, the reference and r are a forward pass each (r has
        no LM head); each of 4 epochs is one forward pass and twice that backward. Element-wise work counts as nothing.
        """
        (layers, width), length = SHAPE[self.size], self.query + self.response
        body = 24 * layers * width**2 * length + 4 * layers * width * length * (length + 1) / 2
        head = 2 * VOCABULARY[self.size] * width * self.response
        return 3 * body + 2 * head + 4 * 3 * (body + head)


CONFIGURATIONS = [
    Configuration("test", 64, 24, batch=64, updates=10, repeats=9),
    Configuration("test", 500, 75, batch=8, updates=5, repeats=9),
    Configuration("small", 64, 24, batch=32, updates=1, repeats=5),
    Configuration("small", 500, 75, batch=4, updates=1, repeats=5),
    Configuration("124M", 64, 24, batch=16, updates=1, repeats=3),
    Configuration("124M", 500, 75, batch=2, updates=1, repeats=3),
]


class Sides:
    """How the two sides are run: on the first `threads` of the cores that this process may use."""

    def __init__(self, ours, threads):
        self.ours, self.threads = ours, threads
        self.cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else None

    def run(self, command):
        pin = (lambda: os.sched_setaffinity(0, self.cores)) if self.cores else None
        environment = {**os.environ, "RAYON_NUM_THREADS": str(self.threads), "OMP_NUM_THREADS": str(self.threads)}
        done = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, preexec_fn=pin, env=environment
        )
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    def update(self, c, *more):
        size = ["--size", c.size, "--vocab", VOCABULARY[c.size], "--batch", c.batch]
        return self.run([self.ours, *size, "--query", c.query, "--response", c.response, *more])

    def peer(self, *more):
        return self.run([sys.executable, HERE / "peer.py", "--threads", self.threads, *more])

    def gemm(self, rows):
        """Speed of a matrix product on each side, the better of two turns, and the memory of the peer's libraries."""
        turns = [(self.run([self.ours, "--gemm", rows]), self.peer("--gemm", rows)) for _ in range(2)]
        best = lambda side, name: max(turn[side][name] for turn in turns)
        sides = {who: {n: best(i, n) for n in GEMM} for i, who in enumerate(("burn", "torch"))}
        return sides, turns[0][1]["library_bytes"] or float("nan")


def build():
    """Builds the update benchmark and returns the program's path."""
    command = ["cargo", "build", "--release", "--bench", "update", "--message-format", "json"]
    done = subprocess.run(command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("cargo could not build the benchmark `update`")
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "update")


def verify(sides, c, models):
    """Stops unless both sides compute the same function."""
    sides.update(c, "--check", models)
    for head in ("full", "response"):
        found = sides.peer("--models", models, "--check", "--head", head)
        numbers = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        print(f"{c.name}, peer with {head} logits: {numbers}", file=sys.stderr, flush=True)
        # Written so that NaN is too large.
        large = [name for name, limit in LIMITS.items() if not found[name] <= limit]
        if large:
            sys.exit(f"{c.name}: the peer computes another function: {', '.join(large)} above {LIMITS}")


def measure(sides, c, models, repeats):
    """Medians of each side: phases, processor seconds, bytes."""
    runs = {
        "ours": lambda: sides.update(c, "--updates", c.updates),
        "peer": lambda: sides.peer("--models", models, "--updates", c.updates),
        "peer, response logits": lambda: sides.peer("--models", models, "--updates", c.updates, "--head", "response"),
    }
    found = {side: [] for side in runs}
    for repeat in range(min(repeats, c.repeats)):
        for side in list(runs) if repeat % 2 == 0 else reversed(runs):
            found[side].append(runs[side]())
            print(f"{c.name} {repeat + 1} {side}: {json.dumps(found[side][-1])}", file=sys.stderr, flush=True)
    return {side: summary(results) for side, results in found.items()}


def summary(results):
    updates = [u for r in results for u in r["updates"]]
    return {
        **{phase: median(u[phase] for u in updates) for phase in PHASES},
        "cpu_seconds": median(r["cpu_seconds"] for r in results),
        "peak_bytes": median(r["peak_bytes"] or float("nan") for r in results),
        "processes": len(results),
    }


HEADINGS = ["configuration", "side", *PHASES[:-1], "update", "processor", "peak memory", "share of peak (clock / processor)"]


def rows(c, medians, peak):
    """Table rows of one configuration: each side's numbers, and under each peer's its ratios to ours.

    `peak`: the faster matrix product's FLOP per second, and per processor second.
    """
    ours = medians["ours"]
    numbers = [*PHASES, "cpu_seconds", "peak_bytes"]
    for side, m in medians.items():
        first = f"{c.name}, {c.batch} episodes" if side == "ours" else ""
        work = c.flops() * c.batch
        shares = [100 * work / m[n] / p for n, p in zip(("total", "cpu_seconds"), peak)]
        seconds = [f"{m[n]:.3g} s" for n in numbers[:-1]]
        yield [first, side, *seconds, f"{m['peak_bytes'] / 2**30:.2f} GiB", f"{shares[0]:.0f}% / {shares[1]:.0f}%"]
        if side != "ours":
            yield ["", "ratio", *(f"**{m[n] / ours[n]:.2f}**" for n in numbers), ""]


def line(cells):
    return f"| {' | '.join(cells)} |"


def machine(sides):
    """What the numbers depend on."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [v for v in Path("/proc/cpuinfo").read_text().splitlines() if v.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    version = lambda *c: subprocess.run(c, capture_output=True, text=True, cwd=HERE).stdout.strip()
    packages = version(
        sys.executable, "-c", "import torch, transformers as t; print(f'torch {torch.__version__}, transformers {t.__version__}')"
    )
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{cpu}, {os.cpu_count()} cores, {sides.threads} used{load}; {platform.system()} {platform.release()}; "
        f"{version('rustc', '--version')}; commit {version('git', 'rev-parse', '--short=12', 'HEAD')}; "
        f"Python {platform.python_version()}, {packages}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=9, help="processes of each side; fewer for large models")
    parser.add_argument("--only", nargs="*", help=", ".join(c.name for c in CONFIGURATIONS))
    parser.add_argument("--ours", help="the built benchmark `update`; default: cargo builds it")
    parser.add_argument("--check-only", action="store_true", help="verify, and measure nothing")
    parser.add_argument("--json", type=Path, help="also write the medians to this file")
    args = parser.parse_args()
    chosen = [c for c in CONFIGURATIONS if not args.only or c.name in args.only]
    sides = Sides(args.ours or build(), args.threads)
    about = machine(sides)
    gemm, libraries = sides.gemm(2048)
    peak = [max(side[n] for side in gemm.values()) for n in GEMM]
    table, everything = [line(HEADINGS), line(["---"] * len(HEADINGS))], {}
    for c in chosen:
        with tempfile.TemporaryDirectory() as models:
            verify(sides, c, Path(models))
            if args.check_only:
                continue
            everything[c.name] = measure(sides, c, Path(models), args.repeats)
        table += [line(row) for row in rows(c, everything[c.name], peak)]
    if args.check_only:
        print("both sides compute the same function")
        return
    print(f"{about}.\n")
    speeds = ", ".join(f"{who} {g[GEMM[0]] / 1e9:.0f} ({g[GEMM[1]] / 1e9:.0f})" for who, g in gemm.items())
    print(f"Matrix product 2048³, GFLOP per second (per processor second): {speeds}.")
    counts = ", ".join(f"{c.name} {c.flops() / 1e9:.3g}" for c in chosen)
    print(f"GFLOP per episode: {counts}.")
    print(f"The peer's libraries alone take {libraries / 2**30:.2f} GiB, counted in its peak memory.\n")
    print("\n".join(table))
    if args.json:
        args.json.write_text(json.dumps({"machine": about, "gemm": gemm, "medians": everything}, indent=1) + "\n")


if __name__ == "__main__":
    main()
