"""Throws wrong input at `runner math`, by hand (Python's standard library only, 3.9 or later):

    python scripts/fuzz_math.py --runner target/release/runner [--count 5000] [--seed 1] [--large]

Whatever comes in, the exit code must be 0 (then one JSON object of finite numbers is printed) or 2 (then nothing is
printed, and one short message names the field or the place), and never may the program panic. First come the fixtures
of tests/fixtures/math with every field taken out, renamed, doubled, or given every kind of wrong value; then hostile
bytes; then random changes of fixtures. --large adds ten million numbers and texts of many megabytes, with their times.
Prints what broke a rule and exits 1 if anything did.
"""

import argparse
import copy
import json
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "tests/fixtures/math"
OPTIONAL = {("rouge", "stemmer"), ("kl_controller", "end"), ("kl_controller", "target"), ("kl_controller", "gain"),
            ("kl_controller", "horizon"), ("kl_controller", "episodes_per_update")}
# Written into JSON as they are: json.dumps would not make some of them.
NO_JSON = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", ".5", "1.", "+1", "'a'", "[1,]", "{", "[", "\"", "\"\\ud800\"",
           "\"\\x\"", "tru", "nul", "--1", "1e", "0x10", "1_000", "", ",", "\x00", "\"\t\"", "//"]
WRONG = [None, True, 0, -1, 0.5, 1e308, 1e-320, 2**53 + 1, 2**64, "", "1", "\u0000\ud83d\ude00", "x" * 5000, [], [[]], [[], [1]],
         [[1], []], [1, [1]], {}, {"a": 1}, [None], [["x"]], [True], [[1, 2], [3]], [[[1]]], [1e308, -1e308], [[1e38, -1e38]], [0], [-1],
         [0.5], [2**63], [[0] * 3] * 3, [1] * 1000]
INSIDE = [None, False, -1, 0.5, 1e39, 2**64, "x", [], [1], {}]


def cases():
    found = {}
    for file in sorted(FIXTURES.glob("*.json")):
        if file.stem != "stems":
            found[file.stem] = [c["in"] for c in json.loads(file.read_text("utf-8"))]
    return found


class Checker:
    def __init__(self, runner):
        self.runner, self.count, self.problems, self.codes = runner, 0, [], {0: 0, 2: 0}

    def run(self, op, data, names=(), code=None, timeout=60):
        """One call; `names`: of which one must be in the message of a refusal."""
        try:
            done = subprocess.run([self.runner, "math", op], input=data, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return self.problem(op, data, f"takes more than {timeout} s")
        self.count += 1
        out, error = done.stdout, done.stderr.decode("utf-8", "replace")
        self.codes[done.returncode] = self.codes.get(done.returncode, 0) + 1
        if done.returncode not in (0, 2) or "panicked" in error:
            return self.problem(op, data, f"exit code {done.returncode}: {error[:300]}")
        if code is not None and done.returncode != code:
            return self.problem(op, data, f"exit code {done.returncode}, not {code}: {error[:300]}")
        if done.returncode == 0:
            def no_constant(name):
                raise ValueError(name)
            try:
                answer = json.loads(out, parse_constant=no_constant)
                if not isinstance(answer, dict) or error:
                    self.problem(op, data, f"prints {out[:100]} and {error[:100]}")
            except ValueError as e:
                self.problem(op, data, f"prints no JSON: {e}: {out[:100]}")
        else:
            if out or not error.startswith("error: ") or error.count("\n") != 1 or len(error) > 1000:
                self.problem(op, data, f"not a short message: {len(error)} characters, {error[:300]!r}, {out[:100]!r}")
            names = () if "this result is not finite" in error else names  # names what comes out, not what went in
            if names and not any(re.search(rf"\b{re.escape(name)}\b", error) for name in names):
                self.problem(op, data, f"none of {list(names)[:9]} is in: {error[:300]!r}")
        return done.returncode

    def problem(self, op, data, what):
        shown = data if len(data) < 400 else data[:200] + b" ... " + data[-100:]
        self.problems.append(f"{op} < {shown.decode('utf-8', 'replace')}\n    {what}")
        print("FAIL", self.problems[-1], flush=True)


def dump(value):
    return json.dumps(value).encode()


def systematic(found):
    """(op, bytes, names, code): every field of an example wrong in every way."""
    for op, inputs in found.items():
        example = min((c for c in inputs if len(dump(c)) > 20), key=lambda c: len(dump(c)), default=inputs[-1])
        fields = sorted({k for c in inputs for k in c})
        for key in example:
            rest = {k: v for k, v in example.items() if k != key}
            yield op, dump(rest), [key, *fields], None if (op, key) in OPTIONAL else 2
            yield op, dump({**rest, key + "z": example[key]}), [key], 2
            yield op, b'{"%s": %s, %s' % (key.encode(), dump(example[key]), dump(example)[1:]), [key], 2
            for value in WRONG:
                yield op, dump({**example, key: value}), fields, None
            for text in NO_JSON:
                body = dump({**rest, key: "@"}).replace(b'"@"', text.encode("utf-8", "surrogatepass"))
                yield op, body, ["not JSON"], 2
            if isinstance(example[key], list):
                for value in INSIDE:
                    yield op, dump({**example, key: example[key] + [value]}), [*fields], None
                    if example[key] and isinstance(example[key][0], list):
                        changed = copy.deepcopy(example[key])
                        changed[-1].append(value)
                        yield op, dump({**example, key: changed}), fields, None
        yield op, dump({**example, "surprise": 1}), ["surprise"], 2


def hostile(found):
    """Bytes that are no such object at all."""
    for op in found:
        example = dump(found[op][-1])
        for data in [b"", b" ", b"\n", b"null", b"0", b"true", b'"x"', b"[]", b"[{}]", b"{}", b"{} {}", b"{}x", example + example,
                     example[:-1], example[: len(example) // 2], b"\xff\xfe" + example.decode().encode("utf-16-le"), b"\x80", b"\x00",
                     example.replace(b"{", b"{\xc3", 1), b"[" * 200_000, b'{"a":' * 200_000, b"[" * 100 + b"]" * 100,
                     b'{"' + b"k" * 100_000 + b'": 1}', b'{"values": ' + b"9" * 100_000 + b"}", b"\x1f\x8b\x08\x00" + bytes(range(256))]:
            if data != b"{}" or op:
                yield op, data, (), 2
        yield op, b"\xef\xbb\xbf" + example.replace(b"\n", b"\r\n"), (), 0
        yield op, b"\n\t " + example + b"\r\n", (), 0


def mutated(found, count, seed):
    r = random.Random(seed)
    ops = list(found)

    def places(value, at=()):
        yield at
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for k, v in items:
            yield from places(v, (*at, k))

    def change(value):
        at = r.choice(list(places(value)))
        if not at:
            return r.choice(WRONG)
        parent = value
        for k in at[:-1]:
            parent = parent[k]
        kind, k = r.randrange(7), at[-1]
        if kind == 0:
            del parent[k]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(k, copy.deepcopy(r.choice(WRONG)))
        elif kind == 2 and isinstance(parent[k], (int, float)):
            parent[k] = parent[k] * 10.0 ** r.choice([-300, -30, -3, 3, 30, 37, 250]) * r.choice([1, -1])
        elif kind == 3 and isinstance(parent[k], str):
            parent[k] = "".join(chr(r.choice([r.randrange(128), r.randrange(0xD800), r.randrange(0xE000, 0x110000)])) for _ in range(r.randrange(50)))
        elif kind == 4 and isinstance(parent[k], list):
            parent[k] = parent[k] * r.randrange(4)
        elif kind == 5 and isinstance(parent, dict):
            parent[r.choice([k.upper(), k + "s", k[:-1], ""])] = parent.pop(k)
        else:
            parent[k] = copy.deepcopy(r.choice(WRONG))
        return value

    for _ in range(count):
        op = r.choice(ops)
        value = copy.deepcopy(r.choice(found[op]))
        for _ in range(r.choice([1, 1, 1, 2, 5])):
            if isinstance(value, (dict, list)):
                value = change(value)
        data = dump(value)
        if r.random() < 0.3:  # and now the bytes
            data = bytearray(data)
            for _ in range(r.choice([1, 1, 3, 20])):
                if data:
                    at, how = r.randrange(len(data)), r.randrange(4)
                    if how == 0:
                        data[at] = r.randrange(256)
                    elif how == 1:
                        del data[at : at + r.choice([1, 1, 10])]
                    elif how == 2:
                        data[at:at] = r.choice([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"-", b"e", b"0", b"\xf0\x9f", b"null"])
                    else:
                        data[at : at + 1] = data[at : at + 1] * r.randrange(30)
        yield op, bytes(data), (), None


def large(check):
    """Sizes that nobody means, and their times."""
    numbers = ",".join(["0.125", "-1.5", "2", "3e-2", "0"] * 2_000_000)
    ids = ",".join(["50256", "11", "262"] * 3_333_333)
    text = json.dumps("the quick brown fox, naïve and 日本. " * 300_000)
    rows = ",".join(["[0.5,1.5,-2.5,3]"] * 2_500_000)
    for name, op, data, code in [
        ("whiten, ten million numbers in a row", "whiten", f'{{"values": [{numbers}], "shift_mean": true}}', 0),
        ("whiten, 2.5 million rows of four", "whiten", f'{{"values": [{rows}], "shift_mean": true}}', 0),
        ("whiten, ten million numbers and then a text", "whiten", f'{{"values": [{numbers},"x"], "shift_mean": true}}', 2),
        ("reward_loss, 2.5 million comparisons", "reward_loss", f'{{"rewards": [{rows}], "best": [{",".join("0" * 2_500_000)}]}}', 0),
        ("optimum, 2.5 million contexts", "optimum", f'{{"rewards": [{rows}], "betas": [1, 0.1]}}', 0),
        ("ppo_loss, a wrong length after ten million", "ppo_loss", f'{{"logprobs": [{numbers}], "old_logprobs": [1]}}', 2),
        ("detokenize, ten million ids", "detokenize", f'{{"ids": [{ids}]}}', 0),
        ("tokenize, 11 MB of text", "tokenize", f'{{"text": {text}}}', 0),
        ("tokenize, 40 MB of one letter", "tokenize", '{"text": "' + "a" * 40_000_000 + '"}', 0),
        ("tokenize, 40 MB of spaces", "tokenize", '{"text": "' + " " * 40_000_000 + '"}', 0),
        ("sentences, 11 MB", "sentences", f'{{"text": {text}}}', 0),
        ("novelty, 11 MB", "novelty", f'{{"source": {text}, "summary": "the quick red fox."}}', 0),
        ("rouge, 20,000 words against 20,000", "rouge", json.dumps({"prediction": "a b c d " * 5000, "reference": "a c b d " * 5000}), 0),
    ]:
        start = time.time()
        check.run(op, data.encode(), code=code, timeout=600)
        print(f"     {name} ({len(data) / 1e6:.0f} MB): {time.time() - start:.1f} s", flush=True)


def streams(check):
    """Standard streams that are closed, or not what they should be."""
    for what, shell in [("no standard input", '"$0" math interval <&-'), ("a directory as input", '"$0" math interval < /'),
                        ("empty input", '"$0" math interval < /dev/null'), ("unknown operation", "echo '{}' | \"$0\" math whitten"),
                        ("no operation", 'echo "{}" | "$0" math')]:
        done = subprocess.run(["sh", "-c", shell, check.runner], capture_output=True, text=True)
        if done.returncode != 2 or "panicked" in done.stderr or done.stdout:
            check.problem("interval", what.encode(), f"exit code {done.returncode}: {done.stderr[:200]}")
    big = json.dumps({"text": "word " * 200_000})
    for what, shell in [("output closed early", '"$0" math tokenize | head -c 10'), ("output closed", '"$0" math tokenize >&-'),
                        ("a full disk", '"$0" math tokenize > /dev/full')]:
        done = subprocess.run(["sh", "-c", shell, check.runner], input=big, capture_output=True, text=True)
        if "panicked" in done.stderr or ("full" in what) != (done.returncode == 1):
            check.problem("tokenize", what.encode(), f"exit code {done.returncode}: {done.stderr[:200]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", default="target/release/runner")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    check, found = Checker(args.runner), cases()
    for op, inputs in found.items():
        for given in inputs[:20]:
            check.run(op, dump(given), code=0)
    with ThreadPoolExecutor(4) as pool:
        for part in (systematic(found), hostile(found), mutated(found, args.count, args.seed)):
            list(pool.map(lambda case: check.run(*case), part))
    streams(check)
    if args.large:
        large(check)
    print(f"{check.count} calls of {len(found)} operations, exit codes {check.codes}: {len(check.problems)} broke a rule")
    sys.exit(bool(check.problems))


if __name__ == "__main__":
    main()
