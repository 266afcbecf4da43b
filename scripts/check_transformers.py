"""Checks `runner logprobs` and the models that runner writes against transformers, by hand:

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 tokenizers==0.23.3
    python scripts/check_transformers.py --runner target/release/runner [--large] [--ours MODEL_DIR ...] [--reward DIR ...]

Prints the largest difference of each check; exits 1 if one is above 1e-4 (float32 rounding at logits of magnitude 10 to
30 is about 1e-5). --large adds a 124M-shaped model.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2ForSequenceClassification

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/fixtures"))
from make_weights import logprobs, random_model  # noqa: E402

LIMIT = 1e-4
failed = False


def report(what, difference):
    global failed
    bad = not difference <= LIMIT
    failed |= bad
    print(f"{'FAIL' if bad else 'ok':5}{what}: {difference:.2e}", flush=True)


def run(command, rows=None):
    text = None if rows is None else "".join(json.dumps({"query": q, "response": r}) + "\n" for q, r in rows)
    done = subprocess.run([*map(str, command)], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: exit code {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(runner, directory, rows, temperature=1.0):
    command = [runner, "logprobs", "--device", "cpu", "--model", directory, "--input", "-", "--temperature", temperature]
    return [line["logprobs"] for line in run(command, rows)]


def largest(a, b):
    assert [len(x) for x in a] == [len(y) for y in b], "different lengths"
    return max(abs(x - y) for p, q in zip(a, b) for x, y in zip(p, q))


@torch.no_grad()
def padded(model, rows, temperature):
    """transformers' own values of the whole batch, queries padded on the left and responses on the right."""
    q, r = max(len(x) for x, _ in rows), max(len(y) for _, y in rows)
    ids = torch.tensor([[0] * (q - len(x)) + x + y + [0] * (r - len(y)) for x, y in rows])
    mask = torch.tensor([[0] * (q - len(x)) + [1] * len(x + y) + [0] * (r - len(y)) for x, y in rows])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(ids, attention_mask=mask, position_ids=positions).logits[:, q - 1 : -1]
    lp = torch.log_softmax(logits / temperature, -1).gather(2, ids[:, q:, None])[..., 0]
    return [lp[i, : len(y)].tolist() for i, (_, y) in enumerate(rows)]


def variants(model, work):
    """The model in every layout and number type that we read."""
    model.save_pretrained(work / "float32")
    model.save_pretrained(work / "sharded", max_shard_size=sum(p.numel() for p in model.parameters()) * 4 // 3)
    model.save_pretrained(work / "unprefixed")
    file = work / "unprefixed/model.safetensors"
    save_file({n.removeprefix("transformer."): t for n, t in load_file(file).items()}, file, metadata={"format": "pt"})
    AutoModelForCausalLM.from_pretrained(work / "float32", dtype=torch.float16).save_pretrained(work / "float16")
    AutoModelForCausalLM.from_pretrained(work / "float32", dtype=torch.bfloat16).save_pretrained(work / "bfloat16")
    return ["float32", "sharded", "unprefixed", "float16", "bfloat16"]


def check_reading(runner, layers, heads, width, vocab, context, count, std=0.15):
    rng = random.Random(layers * width)
    ids = lambda n: [rng.randrange(vocab) for _ in range(n)]
    rows = [(ids(rng.randint(1, context // 2)), ids(rng.randint(1, context // 4))) for _ in range(count - 2)]
    rows += [(ids(context - 1), ids(1)), (ids(1), ids(context - 1))]
    with tempfile.TemporaryDirectory() as work:
        print(f"-- {layers}x{width}, vocabulary {vocab}, weights of standard deviation {std}")
        work = Path(work)
        for name in variants(random_model(layers, heads, width, vocab, context, seed=width, std=std), work):
            model = AutoModelForCausalLM.from_pretrained(work / name, dtype=torch.float32).eval()
            for temperature in (1.0, 0.7) if name == "float32" else (1.0,):
                expected = [logprobs(model, q, r, temperature) for q, r in rows]
                what = f"{layers}x{width} {name}, temperature {temperature}"
                report(f"{what}, {count} lines of mixed lengths", largest(ours(runner, work / name, rows, temperature), expected))
            if name == "float32":
                exact = AutoModelForCausalLM.from_pretrained(work / name, dtype=torch.float64).eval()
                exact = [logprobs(exact, q, r, 0.7) for q, r in rows]
                theirs, own = largest(expected, exact), largest(ours(runner, work / name, rows, 0.7), exact)
                print(f"     against float64: transformers' float32 {theirs:.2e}, ours {own:.2e}")
                alone = [ours(runner, work / name, [row])[0] for row in rows[:3]]
                report(f"{layers}x{width} {name}, each line alone", largest(alone, [logprobs(model, q, r, 1.0) for q, r in rows[:3]]))
                small = [row for row in rows if len(row[0]) + len(row[1]) < context][:8]
                report(f"{layers}x{width} {name}, transformers' own padded batch", largest(ours(runner, work / name, small), padded(model, small, 1.0)))


def check_written(runner, directory):
    """Whole distributions and token ids of a model that runner wrote."""
    model, info = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    assert model.dtype == torch.float32 and type(model).__name__ == "GPT2LMHeadModel"
    # Text is never read as control tokens here.
    tokenizer = AutoTokenizer.from_pretrained(directory, split_special_tokens=True)
    assert tokenizer.eos_token_id == model.config.eos_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    worst = 0.0
    for text in ["The cat sat.", "He said: \"Where's 2024?\"\n\nÜber — 日本 ", "a  b\tc <|endoftext|> d"]:
        (sample,) = run([runner, "sample", "--device", "cpu", "--model", directory, "--prompt", text, "--length", "2", "--format", "json"])
        assert sample["query"] == tokenizer(text)["input_ids"], (text, sample["query"], tokenizer(text)["input_ids"])
        assert sample["text"] == tokenizer.decode(sample["response"], skip_special_tokens=True)
        query = sample["query"]
        rows = [(query, [token]) for token in range(min(model.config.vocab_size, 2000))]
        with torch.no_grad():
            expected = torch.log_softmax(model.eval()(torch.tensor([query])).logits[0, -1], -1)
        worst = max(worst, largest(ours(runner, directory, rows), [[p] for p in expected[: len(rows)].tolist()]))
        expected = [logprobs(model, query, sample["response"], 1.0)]
        worst = max(worst, largest([sample["logprobs"]], expected))
    report(f"{directory}: transformers' log-probabilities of all tokens; ids equal", worst)


def check_scalar(directory):
    model, info = GPT2ForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    assert not info["missing_keys"] and set(info["unexpected_keys"]) <= {"score.bias"}, info
    tensors = load_file(Path(directory) / "model.safetensors")
    state = model.state_dict()
    report(f"{directory}: tensors in GPT2ForSequenceClassification", max((state[n] - t).abs().max().item() for n, t in tensors.items() if n in state))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", default="target/release/runner")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--ours", nargs="*", default=[])
    parser.add_argument("--reward", nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(2)
    for directory in args.ours:
        check_written(args.runner, directory)
    for directory in args.reward:
        check_scalar(directory)
    check_reading(args.runner, 1, 4, 32, 300, 64, 40)
    check_reading(args.runner, 2, 4, 64, 1000, 128, 40)
    check_reading(args.runner, 4, 4, 128, 5000, 128, 600)
    if args.large:
        # Wider models need smaller weights: at 0.15 the attention is so sharp that float32 itself is off by 1e-3.
        check_reading(args.runner, 12, 12, 768, 50257, 1024, 6, std=0.04)
    sys.exit(failed)


if __name__ == "__main__":
    main()
