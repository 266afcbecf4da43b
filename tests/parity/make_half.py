"""Makes fixtures/half.json and fixtures/half_*.safetensors: what tests/parity/precision.rs compares products of float16
with. GPT-2 is written out here in torch, in 64 bits, but for the factors of its matrix products: each is rounded to IEEE
float16 before (x.float().half(), to nearest, ties to even), in the forward and in the backward pass, as torch.autocast does
on a GPU with float16; gradients are rounded at a loss scale, as torch.amp.GradScaler has it. Unlike autocast, results of
products stay as they are. Sums in 64 bits stand for float32's, of which they differ by 1e-7.

With nothing rounded the same code must be transformers' GPT-2 to 1e-12 (`agrees_with_transformers`): what is compared is
rounding alone.

    python -m pip install torch==2.15.0 transformers==5.23.0 numpy==2.4.6 scipy==1.17.1 safetensors==0.8.0
    python tests/parity/make_half.py            # writes the fixtures
    python tests/parity/make_half.py --check    # compares, without writing, what is there with what it makes

Inputs are those of make_parity.py's forward.json and gradient.json.
"""

import json
import sys

import numpy as np
import torch
from make_parity import MODELS, OUT, TEMPERATURE, Model, spread
from safetensors.numpy import load_file, save_file

ROUND = True
SCALE = 2.0**16


def half(x):
    return x.float().half().double() if ROUND else x


class Product(torch.autograd.Function):
    """a b with both factors rounded, and its gradients with theirs."""

    @staticmethod
    def forward(ctx, a, b):
        a, b = half(a), half(b)
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        g = half(g * SCALE) / SCALE
        return g @ b.mT, (a.mT @ g if b.dim() == a.dim() else a.flatten(0, -2).mT @ g.flatten(0, -2))


class Rounded(torch.autograd.Function):
    """A number that is kept in 16 bits; its gradient passes."""

    @staticmethod
    def forward(ctx, x):
        return half(x)

    @staticmethod
    def backward(ctx, g):
        return g


def norm(m, name, x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], m.weights[name + ".weight"], m.weights[name + ".bias"], 1e-5)


def linear(m, name, x):
    return Product.apply(x, m.weights[name + ".weight"]) + m.weights[name + ".bias"]


def hidden(m, rows):
    """[rows, time, width] after ln_f; None in a row is padding."""
    layers, heads, width, _, _ = MODELS[m.name]
    real = torch.tensor([[t is not None for t in row] for row in rows])
    ids = torch.tensor([[t or 0 for t in row] for row in rows])
    n, time = ids.shape
    x = m.weights["wte.weight"][ids] + m.weights["wpe.weight"][(real.long().cumsum(1) - 1).clamp(min=0)]
    # Keys that are not after the query and real, and its own.
    seen = (torch.ones(time, time).tril().bool() & real[:, None]) | torch.eye(time).bool()
    by_heads = lambda t: t.reshape(n, time, heads, width // heads).transpose(1, 2)
    for layer in range(layers):
        h = f"h.{layer}"
        q, k, v = (by_heads(t) for t in Rounded.apply(linear(m, f"{h}.attn.c_attn", norm(m, f"{h}.ln_1", x))).chunk(3, -1))
        scores = Product.apply(q * (width // heads) ** -0.5, k.mT)
        weights = scores.masked_fill(~seen[:, None], -1e9).softmax(-1)
        attended = Product.apply(weights, v).transpose(1, 2).reshape(n, time, width)
        x = x + linear(m, f"{h}.attn.c_proj", attended)
        inner = Rounded.apply(linear(m, f"{h}.mlp.c_fc", norm(m, f"{h}.ln_2", x)))
        inner = torch.nn.functional.gelu(inner, approximate="tanh")
        x = x + linear(m, f"{h}.mlp.c_proj", inner)
    return norm(m, "ln_f", x), real


def logits(m, h):
    return Product.apply(h, m.weights["wte.weight"].mT)


def forward(rows):
    with torch.no_grad():
        m = Model("b")
        h, real = hidden(m, rows)
        return {"hidden": h[real].numpy(), "logits": logits(m, h)[real].numpy()}


def gradient(facts):
    """A weighted sum of padded rows' response log-probabilities and values, as make_parity.py's `padded_gradient`. The loss
    scale is halved until no gradient overflows."""
    global SCALE
    queries, responses = facts["queries"], torch.tensor(facts["responses"])
    start, length = len(queries[0]), responses.shape[1]
    of_logprobs, of_values = (spread(f"weights/{w}", tuple(responses.shape), 0.0, 1.0) for w in ("logprobs", "values"))
    SCALE = 2.0**16
    while True:
        m = Model("c")
        h, _ = hidden(m, [q + r for q, r in zip(queries, facts["responses"])])
        h = h[:, start - 1 : start - 1 + length]
        lp = torch.log_softmax(logits(m, h) / TEMPERATURE, -1).gather(2, responses[:, :, None])[:, :, 0]
        total = (lp * torch.tensor(of_logprobs)).sum() + (m.values(h) * torch.tensor(of_values)).sum()
        total.backward()
        found = {n: p.grad.numpy().copy() for n, p in {**m.weights, **m.head}.items() if p.grad is not None}
        if all(np.isfinite(g).all() for g in found.values()):
            return total.item(), found
        SCALE /= 2


def agrees_with_transformers(rows):
    global ROUND
    ROUND = False
    found, real = hidden(Model("b"), rows)
    difference = (found - Model("b").hidden(rows))[real].abs().max()
    assert difference < 1e-12, difference
    ROUND = True


def main():
    read = lambda name: json.loads((OUT / name).read_text())
    rows, padded = read("forward.json")["b"]["rows"], read("gradient.json")["padded"]
    agrees_with_transformers(rows)
    total, found = gradient(padded)
    made = {"half_forward_b": forward(rows), "half_gradient_padded": found}
    facts = {"total": total, "scale": SCALE}
    if "--check" in sys.argv:
        there = read("half.json")
        assert abs(there["total"] - total) < 1e-6 * abs(total) and there["scale"] == SCALE
        for name, tensors in made.items():
            for key, value in load_file(OUT / f"{name}.safetensors").items():
                # Last digits of 64-bit sums decide here and there which float16 is nearest.
                assert np.abs(value - tensors[key]).max() <= 1e-4 * np.abs(value).max(), (name, key)
        return print("the fixtures are what this script makes")
    for name, tensors in made.items():
        path = OUT / f"{name}.safetensors"
        save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}, path)
        path.chmod(0o644)
    (OUT / "half.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
