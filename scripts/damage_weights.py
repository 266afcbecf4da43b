"""Damages model directories in every way and gives them to `runner logprobs`, by hand (Python's standard library, Linux):

    python scripts/damage_weights.py --runner target/release/runner [--count 400] [--seed 1]

From the fixtures in tests/fixtures/weights: files cut at many places, changed headers and data, tensors missing, added,
renamed, doubled, of other shapes and types, indices that point elsewhere, directories and pipes in the place of files,
configs with absurd sizes, changed tokenizers. The program must refuse with exit code 2 or 1 and one message that names
the file (and the tensor, where one is to blame), or, where a random change leaves a valid model, answer with exit code
0; never panic, never take more than 60 seconds or 300 MB. Exits 1 if anything broke a rule.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "tests/fixtures/weights"
MEMORY = 300 << 20
IDS = '{"query": [1, 2, 3], "response": [4, 5]}\n'
TEXT = '{"query": "The cat", "response": " sat on the mat."}\n'
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def read(path):
    """Header and data of a safetensors file."""
    data = Path(path).read_bytes()
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def write(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)


class Checker:
    def __init__(self, runner):
        self.runner, self.problems, self.count, self.codes, self.largest, self.slowest = runner, [], 0, {}, 0, 0.0

    def run(self, directory, what, names=(), codes=(1, 2), lines=IDS):
        """`names`: all of which must be in the message."""
        command = [self.runner, "logprobs", "--device", "cpu", "--model", str(directory), "--input", "-"]
        with tempfile.TemporaryFile() as inp, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            inp.write(lines.encode())
            inp.seek(0)
            start = time.time()
            child = subprocess.Popen(command, stdin=inp, stdout=out, stderr=err)
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                if time.time() - start > 60:
                    child.kill()
                    os.wait4(child.pid, 0)
                    return self.problem(what, "takes more than 60 s")
                time.sleep(0.005)
            child.returncode = code = os.waitstatus_to_exitcode(status)
            err.seek(0), out.seek(0)
            error, answer = err.read().decode("utf-8", "replace"), out.read()
        self.count += 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.largest, self.slowest = max(self.largest, usage.ru_maxrss * 1024), max(self.slowest, time.time() - start)
        if code not in codes or "panicked" in error:
            return self.problem(what, f"exit code {code}, {error[:500]!r}")
        if usage.ru_maxrss * 1024 > MEMORY:
            self.problem(what, f"takes {usage.ru_maxrss / 1024:.0f} MB")
        if code and (error.count("\n") != 1 or len(error) > 1000 or answer):
            self.problem(what, f"not one message: {error[:500]!r} {answer[:100]!r}")
        for name in names if code else ():
            if name not in error:
                self.problem(what, f"{name!r} is not in {error[:500]!r}")

    def problem(self, what, message):
        self.problems.append(what)
        print(f"FAIL {what}: {message}", flush=True)


def fresh(work, name="base"):
    directory = work / "model"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(FIXTURES / name, directory)
    return directory


def cut(check, work):
    """Files that end early, or late."""
    whole = (FIXTURES / "base" / WEIGHTS).read_bytes()
    n = 8 + int.from_bytes(whole[:8], "little")
    places = {*range(0, 20), n - 1, n, n + 1, len(whole) - 1, *range(0, n, 97), *range(n, len(whole), len(whole) // 40)}
    for keep in sorted(places):
        (fresh(work) / WEIGHTS).write_bytes(whole[:keep])
        check.run(work / "model", f"cut to {keep} bytes", [WEIGHTS])
    for more in (1, 8, 5000):
        (fresh(work) / WEIGHTS).write_bytes(whole + b"\0" * more)
        check.run(work / "model", f"{more} more bytes", [WEIGHTS])
    for name in ("config.json", "tokenizer.json"):
        whole = (FIXTURES / "base" / name).read_bytes()
        for keep in range(0, len(whole) - 2, len(whole) // 25):
            (fresh(work) / name).write_bytes(whole[:keep])
            check.run(work / "model", f"{name} cut to {keep} bytes", [name], lines=TEXT)


def edited(check, work):
    """One change of the header each."""
    tensor = "transformer.h.0.mlp.c_fc.weight"
    short = "h.0.mlp.c_fc.weight"

    def change(what, edit, names=(short,), codes=(2,)):
        directory = fresh(work)
        header, data = read(directory / WEIGHTS)
        data = edit(header, data) or data
        write(directory / WEIGHTS, header, data)
        check.run(directory, what, [WEIGHTS, *names], codes)

    def setting(key, value):
        return lambda header, data: header[tensor].__setitem__(key, value)

    begin, end = read(FIXTURES / "base" / WEIGHTS)[0][tensor]["data_offsets"]
    for shape in ([], [0], [32], [128, 32], [32, 128, 1], [4096], [32, 127], [2**32, 2**32], [2**63, 2], [2**64 - 1], [1] * 10_000 + [32, 128]):
        change(f"shape {str(shape)[:60]}", setting("shape", shape))
    for shape in ([-1], [1.5, 2], "32", None, {}, [[32, 128]], [2**64], ["32", "128"]):
        change(f"shape {shape}", setting("shape", shape))
    for dtype in ("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "I16", "F16", "BF16", "I32", "U32", "I64", "F64", "C64",
                  "f32", "float32", "Q4_0", "", None, 7, ["F32"]):
        change(f"type {dtype} of the same bytes", setting("dtype", dtype))
    for offsets in ([0, 0], [end, begin], [begin + 1, end + 1], [begin, end - 4], [0, 2**63], [2**63, 2**64 - 1], [2**64, 2**65], [-4, 4], [begin],
                    [begin, end, end], "ab", None, [1.5, 2.5]):
        change(f"offsets {offsets}", setting("data_offsets", offsets), names=())
    for key in ("shape", "dtype", "data_offsets"):
        change(f"no {key}", lambda header, data: header[tensor].pop(key) and None)
    for value in (None, 3, "x", [], {}, True):
        change(f"an entry that is {value}", lambda header, data: header.__setitem__(tensor, value))
    for dtype, size in (("F64", 8), ("I8", 1), ("U8", 1), ("I64", 8), ("F8_E4M3", 1), ("F8_E5M2", 1), ("I32", 4), ("BOOL", 1)):
        def retyped(header, data):
            """The tensor as a real one of that type, and all that follow moved."""
            n = 32 * 128 * size
            for info in header.values():
                if "data_offsets" in info and info["data_offsets"][0] >= end:
                    info["data_offsets"] = [x + n - (end - begin) for x in info["data_offsets"]]
            header[tensor].update(dtype=dtype, data_offsets=[begin, begin + n])
            return data[:begin] + bytes(n) + data[end:]
        change(f"a tensor of {dtype}", retyped)
    def taken(header, data):
        gone = header.pop(tensor)["data_offsets"]
        for info in header.values():
            if "data_offsets" in info and info["data_offsets"][0] >= gone[1]:
                info["data_offsets"] = [x - gone[1] + gone[0] for x in info["data_offsets"]]
        return data[: gone[0]] + data[gone[1] :]
    change("a missing tensor", taken)
    change("a gap", lambda header, data: header.pop(tensor) and None, names=())
    for name in ("h.0.mlp.c_fc.weights", "h.2.ln_1.weight", "stray", "x" * 300, "", "\u0000", "score.weight", "lm_head.bias", "transformer.transformer.ln_f.bias"):
        def added(header, data):
            header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
            return data + b"\0\0\0\0"
        change(f"an extra tensor {name[:40]!r}", added, names=(name[:200].removeprefix("transformer.").replace("\0", ""),))
    def both(header, data):
        header["ln_f.bias"] = {"dtype": "F32", "shape": [32], "data_offsets": [len(data), len(data) + 128]}
        return data + bytes(128)
    change("a tensor with and without prefix", both, names=("ln_f.bias",))
    directory = fresh(work)
    header, data = read(directory / WEIGHTS)
    entry = json.dumps(header[tensor])
    for what, text in [("a name there twice", json.dumps(header)[:-1] + f', "{tensor}": {entry}}}'), ("metadata that is a list", json.dumps({**header, "__metadata__": [1]})),
                       ("no object", "[1, 2]"), ("nothing", ""), ("half an object", json.dumps(header)[:500]), ("blanks", " " * 1000), ("depth", "[" * 100_000),
                       ("deep metadata", json.dumps(header)[:-1] + ', "__metadata__": ' + "[" * 90_000 + "}"), ("a byte order mark", "\ufeff" + json.dumps(header)),
                       ("a list of a million zeros for a shape", json.dumps(header).replace("[32, 128]", f"[{'0, ' * 1_000_000}32]", 1))]:
        write(directory / WEIGHTS, text.encode(), data)
        check.run(directory, f"a header with {what}", [WEIGHTS], (0,) if "that is a list" in what else (2,))
    for size in (0, 1, 7, len(json.dumps(header)) - 1, len(json.dumps(header)) + 1, 10_000_001, 2**31, 2**63, 2**64 - 1):
        (directory / WEIGHTS).write_bytes(size.to_bytes(8, "little") + json.dumps(header).encode() + data)
        check.run(directory, f"a header length of {size}", [WEIGHTS])
    # Sparse files: large on paper.
    with open(directory / WEIGHTS, "wb") as file:
        file.write((90_000_000).to_bytes(8, "little"))
        file.truncate(100_000_000)
    check.run(directory, "a header of 90 MB", [WEIGHTS])
    huge = {"wte.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    with open(directory / WEIGHTS, "wb") as file:
        text = json.dumps(huge).encode()
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 2**42)
    check.run(directory, "one tensor of 4 TB", [WEIGHTS])


def places(check, work):
    """Things that are not files where files are expected, and indices that point elsewhere."""
    for name in (WEIGHTS, "config.json", "tokenizer.json"):
        directory = fresh(work)
        (directory / name).unlink()
        check.run(directory, f"no {name}", [name], lines=TEXT)
        (directory / name).mkdir()
        check.run(directory, f"{name} is a directory", [name], lines=TEXT)
        (directory / name).rmdir()
        (directory / name).symlink_to("nowhere")
        check.run(directory, f"{name} is a broken link", [name], lines=TEXT)
    directory = fresh(work)
    (directory / WEIGHTS).unlink()
    os.mkfifo(directory / WEIGHTS)
    check.run(directory, "weights are a pipe", [WEIGHTS])
    (directory / WEIGHTS).unlink()
    (directory / WEIGHTS).symlink_to("/dev/zero")
    check.run(directory, "weights are /dev/zero", [WEIGHTS])
    check.run(FIXTURES / "base" / WEIGHTS, "the model is a file", [WEIGHTS])
    check.run(work / "nowhere", "no model", ["nowhere"])
    check.run(work, "an empty directory", ["config.json"])

    def index(what, edit, names=(), codes=(2,)):
        directory = fresh(work, "sharded")
        value = json.loads((directory / INDEX).read_text())
        text = edit(value, directory)
        (directory / INDEX).write_text(text if isinstance(text, str) else json.dumps(value))
        check.run(directory, what, names, codes)

    def pointing(name, at):
        return lambda value, directory: value["weight_map"].__setitem__(name, at)

    name = "transformer.h.0.ln_1.weight"
    for at in ("../../etc/passwd", "/etc/passwd", "..", ".", "", "sub/x.safetensors", "../sharded/model-00001-of-00002.safetensors", "./x", "a\u0000b", None, 3, ["x"]):
        index(f"a tensor in {at!r}", pointing(name, at), [INDEX, "h.0.ln_1.weight"] if at != "a\u0000b" else ["a"])
    index("a tensor in a missing shard", pointing(name, "model-00009-of-00009.safetensors"), ["model-00009-of-00009.safetensors"])
    index("a tensor in config.json", pointing(name, "config.json"), ["config.json"])
    index("an index of itself", pointing(name, INDEX), [INDEX])
    index("a listed tensor that is not there", pointing("h.7.ln_1.weight", "model-00001-of-00003.safetensors"), [])
    index("an unlisted tensor", lambda value, _: value["weight_map"].pop(name) and None, ["h.0.ln_1.weight"])
    index("no map", lambda value, _: value.pop("weight_map") and None, [INDEX])
    for text in ("", "[]", "null", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": "b"}', "[" * 100_000, "\x00", "\ufeff{}"):
        index(f"an index of {text[:20]!r}", lambda value, _: text, [INDEX])
    def removed(value, directory):
        (directory / value["weight_map"][name]).unlink()
    index("a shard that is gone", removed, ["safetensors"])
    def as_directory(value, directory):
        (directory / value["weight_map"][name]).unlink()
        (directory / value["weight_map"][name]).mkdir()
    index("a shard that is a directory", as_directory, ["safetensors"])
    def swapped(value, directory):
        files = sorted(set(value["weight_map"].values()))
        os.rename(directory / files[0], directory / "x")
        os.rename(directory / files[1], directory / files[0])
        os.rename(directory / "x", directory / files[1])
    index("two shards swapped", swapped, ["safetensors"])
    def doubled(value, directory):
        files = sorted(set(value["weight_map"].values()))
        shutil.copy(directory / files[0], directory / files[1])
    index("a shard twice", doubled, ["safetensors"])


def configs(check, work):
    """config.json: absurd numbers, wrong types; and numbers that are not the weights'."""
    keys = ["n_layer", "n_head", "n_embd", "n_positions", "vocab_size", "n_inner", "layer_norm_epsilon", "model_type", "activation_function", "tie_word_embeddings",
            "scale_attn_weights", "quantization_config"]
    for key in keys:
        for value in (None, 0, -1, 1, 3, 1.5, 2**24, 2**24 + 1, 2**31, 2**64, 1e308, "x", [], {}, True, False):
            directory = fresh(work)
            config = json.loads((directory / "config.json").read_text())
            config[key] = value
            (directory / "config.json").write_text(json.dumps(config))
            check.run(directory, f"{key} = {value}", (), (0, 1, 2))
    for text in ("", "[]", "null", "{}", "{", "\x00", "[" * 100_000, '"x"'):
        directory = fresh(work)
        (directory / "config.json").write_text(text)
        check.run(directory, f"a config of {text[:20]!r}", ["config.json"])


def random_changes(check, work, count, seed):
    """Random bytes of any file: an answer, or a refusal that names a file."""
    r = random.Random(seed)
    for i in range(count):
        name = r.choice([WEIGHTS, WEIGHTS, "config.json", "tokenizer.json", "tokenizer.json"])
        directory = fresh(work)
        data = bytearray((directory / name).read_bytes())
        span = 8 + int.from_bytes(data[:8], "little") if name == WEIGHTS and r.random() < 0.8 else len(data)
        for _ in range(r.choice([1, 1, 1, 3, 30])):
            at, how = r.randrange(min(span, len(data))), r.randrange(4)
            if how == 0:
                data[at] = r.randrange(256)
            elif how == 1:
                data[at] ^= 1 << r.randrange(8)
            elif how == 2:
                del data[at : at + r.choice([1, 1, 8, 100])]
            else:
                data[at:at] = r.choice([b"0", b"9" * 20, b"[", b"]", b"{", b"}", b'"', b",", b"-", b"null", b"\xff", b"\\u0000"])
        (directory / name).write_bytes(data)
        check.run(directory, f"{name}, random change {i} of seed {seed}", (), (0, 1, 2), TEXT)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runner", default="target/release/runner")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    check = Checker(args.runner)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for name in sorted(p.name for p in FIXTURES.iterdir() if p.is_dir()):
            check.run(FIXTURES / name, f"{name} as it is", (), (0,))
        for part in (cut, edited, places, configs):
            part(check, work)
        random_changes(check, work, args.count, args.seed)
    print(f"{check.count} directories, exit codes {check.codes}, at most {check.largest / 2**20:.0f} MB and {check.slowest:.1f} s: "
          f"{len(check.problems)} broke a rule")
    sys.exit(bool(check.problems))


if __name__ == "__main__":
    main()
