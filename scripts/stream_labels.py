"""Measures that label files are read as streams: `runner labels status` on a small and a large generated file of each
format, with its time and peak memory (Linux or macOS; no packages).

    python scripts/stream_labels.py target/release/runner [--megabytes 300]

Entries have the shapes of the released ones: of lm_human_preferences 500 query ids and 4 samples of 75, of
summarize_from_feedback posts of about 1,200 characters. Exits 1 if the large file takes 64 MB more than the small one.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PADDING = 50259
SLACK = 64e6
WORDS = "the of and to a in is it you that he was for on are with as I his they be at one have this from".split()


def ids(r, n):
    kept = r.randrange(n // 2, n)
    return [r.randrange(50257) for _ in range(kept)] + [PADDING] * (n - kept)


def text(r, characters):
    words, length = [], 0
    while length < characters:
        word = r.choice(WORDS) if r.random() < 0.6 else "".join(r.choices("etaoinshrdlu", k=r.randint(3, 9)))
        words.append(word)
        length += len(word) + 1
    return " ".join(words)


def array(path, size, r):
    with open(path, "w") as f:
        f.write("[")
        while f.tell() < size:
            entry = {"query": ids(r, 500), **{f"sample{i}": ids(r, 75) for i in range(4)}, "best": r.randrange(4)}
            f.write((", " if f.tell() > 1 else "") + json.dumps(entry))
        f.write("]")


def lines(path, size, r):
    with open(path, "w") as f:
        while f.tell() < size:
            f.write(json.dumps({
                "info": {"id": "t3_1", "post": text(r, r.randrange(600, 1800)), "title": text(r, 60), "subreddit": "tifu"},
                "split": "train", "summaries": [{"text": " " + text(r, 130), "policy": "ref", "note": None} for _ in "ab"],
                "choice": r.randrange(2), "worker": f"w{r.randrange(30)}", "batch": "batch9",
                "extra": {"confidence": r.randrange(1, 10)}}) + "\n")


def measure(runner, path):
    started = time.monotonic()
    process = subprocess.Popen([runner, "labels", "status", str(path)], stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, process.returncode
    return time.monotonic() - started, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("runner")
    arguments.add_argument("--megabytes", type=int, default=300)
    arguments = arguments.parse_args()
    flat = True
    with tempfile.TemporaryDirectory() as folder:
        for write, name in [(array, "lm_human_preferences.json"), (lines, "summarize_from_feedback.jsonl")]:
            path, memory = Path(folder) / name, []
            for megabytes in [3, arguments.megabytes]:
                write(path, megabytes * 1e6, random.Random(1))
                seconds, peak = measure(arguments.runner, path)
                memory.append(peak)
                print(f"{name}: {path.stat().st_size / 1e6:.0f} MB in {seconds:.2f} s, "
                      f"{path.stat().st_size / 1e6 / seconds:.0f} MB/s, peak memory {peak / 1e6:.0f} MB", flush=True)
            flat &= memory[1] < memory[0] + SLACK
            path.unlink()
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
