"""Makes fixtures/*: what the trainer's own functions are compared with in tests/parity, computed by software that is
not ours: models and their gradients by transformers' GPT2LMHeadModel and torch's autograd in 64 bits, Adam's PyTorch
form by torch.optim.Adam, probabilities by torch. Written out here from the released code (openai/lm-human-preferences:
train_policy.py, train_reward.py, rewards.py, label_types.py, utils/core.py) and the paper, in 64 bits: the losses of PPO
and of the reward model, TensorFlow's form of Adam, the KL controllers.

Run from anywhere, offline once installed (Python 3.11):

    python -m pip install torch==2.15.0 transformers==5.23.0 numpy==2.4.6 scipy==1.17.1 safetensors==0.8.0
    python tests/parity/make_parity.py            # writes the fixtures
    python tests/parity/make_parity.py --check    # compares, without writing, what is there with what it makes

No weights are stored: both sides make them from their names with the same integer hash (`uniform` below and in
numbers.rs), as 32-bit numbers. Results are stored as 32-bit numbers too, weights after training as their change, so
that what is compared keeps seven digits of what training did.

--check allows a last-digit difference (1e-6 of a tensor's largest number): torch's 64-bit sums depend on the processor.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy import stats
from transformers import GPT2Config, GPT2LMHeadModel

OUT = Path(__file__).parent / "fixtures"
TEMPERATURE = 0.7
MASK = (1 << 64) - 1
# name: layers, heads, width, vocabulary, context. Three heads, odd head widths, prime vocabularies: sizes at which a
# kernel that assumes powers of two goes wrong.
MODELS = {
    "a": (3, 3, 48, 211, 40),
    "b": (2, 5, 35, 97, 24),
    "c": (2, 3, 18, 53, 24),
    "d": (1, 2, 12, 23, 12),
}
torch.set_default_dtype(torch.float64)


# ---- numbers that both sides make


def uniform(name, n):
    """n numbers in [0, 1) of 24 bits: splitmix64 from the FNV-1a hash of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / (1 << 24)


def f32(x):
    """Rounded to 32 bits, as 64-bit numbers."""
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def spread(name, shape, centre, scale):
    return f32(centre + scale * (2.0 * uniform(name, int(np.prod(shape))) - 1.0)).reshape(shape)


def weight(model, name, shape):
    """A weight of a model, by its name and shape: every bias and gain is away from its neutral value."""
    name_in = f"{model}/{name}"
    if name == "wte.weight":
        return spread(name_in, shape, 0.0, 1.0 if model == "d" else 0.5)
    if name == "wpe.weight":
        return spread(name_in, shape, 0.0, 0.3)
    if ".ln_" in name or name.startswith("ln_f"):
        return spread(name_in, shape, 1.0 if name.endswith("weight") else 0.0, 0.3)
    if name.endswith("bias"):
        return spread(name_in, shape, 0.0, 0.2)
    return spread(name_in, shape, 0.0, 1.2 * np.sqrt(3.0 / shape[0]))


class Model:
    """transformers' GPT-2 in 64 bits with our weights, and a scalar head [width, 1] on its final hidden states."""

    def __init__(self, name):
        layers, heads, width, vocab, context = MODELS[name]
        config = GPT2Config(
            n_layer=layers, n_head=heads, n_embd=width, vocab_size=vocab, n_positions=context, attn_pdrop=0.0,
            embd_pdrop=0.0, resid_pdrop=0.0, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
        )
        self.lm = GPT2LMHeadModel(config).double().eval()
        self.name, self.vocab, self.width = name, vocab, width
        self.weights = {n.removeprefix("transformer."): p for n, p in self.lm.named_parameters()}
        assert "lm_head.weight" not in self.weights
        with torch.no_grad():
            for n, p in self.weights.items():
                p.copy_(torch.tensor(weight(name, n, tuple(p.shape))))
        head = {"score.weight": (width, 1), "score.bias": (1,)}
        self.head = {n: torch.tensor(weight(name, n, s), requires_grad=True) for n, s in head.items()}

    def hidden(self, rows):
        """[rows, time, width] after ln_f; None in a row is padding."""
        real = torch.tensor([[t is not None for t in row] for row in rows]).long()
        ids = torch.tensor([[t or 0 for t in row] for row in rows])
        positions = (real.cumsum(1) - 1).clamp(min=0)
        h = self.lm.transformer(input_ids=ids, attention_mask=real, position_ids=positions).last_hidden_state
        assert not h.isnan().any()
        return h

    def logits(self, hidden):
        return self.lm.lm_head(hidden)

    def values(self, hidden):
        return (hidden @ self.head["score.weight"])[..., 0] + self.head["score.bias"]


def padded(rows, length, side):
    return [[None] * (length - len(r)) + r if side == "left" else r + [None] * (length - len(r)) for r in rows]


rng = np.random.default_rng(1909)


def tokens(n, vocab):
    return [int(t) for t in rng.integers(0, vocab, n)]


# ---- a. the forward pass


def forward(name):
    """All hidden states and logits of real tokens, padded on the left, on the right, on both sides and inside."""
    m = Model(name)
    time = MODELS[name][4]
    kinds = [(time // 3, 0), (0, time // 2), (time // 4, time // 3), (time - 1, 0), (2, time - 4)]
    rows = [[None] * l + tokens(time - l - r, m.vocab) + [None] * r for l, r in kinds]
    # Padding between tokens: a short query (padded on the right, as the released code pads) before a response.
    gap = tokens(time, m.vocab)
    gap[time // 4 : time // 2] = [None] * (time // 2 - time // 4)
    rows.append(gap)
    real = torch.tensor([[t is not None for t in row] for row in rows])
    with torch.no_grad():
        hidden = m.hidden(rows)
        logits = m.logits(hidden)
    return rows, {"hidden": hidden[real].numpy(), "logits": logits[real].numpy()}


def logprobs_of(m, hidden, responses, start, temperature):
    """log softmax(logits / temperature) of response tokens; the response starts at position `start`."""
    n = responses.shape[1]
    lp = torch.log_softmax(m.logits(hidden[:, start - 1 : start - 1 + n]) / temperature, dim=-1)
    return lp.gather(2, responses[:, :, None])[:, :, 0], lp


def temperatures(name):
    """Log-probabilities of responses of mixed lengths after queries of mixed lengths, each row alone (no padding)."""
    m = Model(name)
    pairs = [(tokens(q, m.vocab), tokens(r, m.vocab)) for q, r in [(1, 1), (2, 7), (9, 3), (5, 6), (12, 8), (3, 1)]]
    out = {}
    for t in [1.0, TEMPERATURE]:
        with torch.no_grad():
            out[str(t)] = [
                logprobs_of(m, m.hidden([q + r]), torch.tensor([r]), len(q), t)[0][0].tolist() for q, r in pairs
            ]
    return {"pairs": pairs, "logprobs": out}


def sampled(name):
    """What a cached sampler must do with given uniform numbers: the first token whose cumulative probability exceeds u,
    from full passes without a cache."""
    m = Model(name)
    length, k = 7, 3
    queries = padded([tokens(n, m.vocab) for n in (9, 1, 6, 8)], 9, "left")
    rows = [q for q in queries for _ in range(k)]
    u = f32(uniform("uniforms", length * len(rows))).reshape(length, len(rows))
    grown, logprobs, values, entropies = [list(r) for r in rows], [], [], []
    with torch.no_grad():
        for step in range(length):
            h = m.hidden(grown)[:, -1]
            lp = torch.log_softmax(m.logits(h) / TEMPERATURE, dim=-1)
            cumulative = lp.exp().cumsum(1).numpy()
            assert abs(cumulative - u[step][:, None]).min() > 1e-5, "a choice that rounding could change"
            chosen = (cumulative <= u[step][:, None]).sum(1)
            logprobs.append(lp[range(len(rows)), chosen].tolist())
            values.append(m.values(h).tolist())
            entropies.append(-(lp.exp() * lp).sum(1).mean().item())
            for row, token in zip(grown, chosen):
                row.append(int(token))
    turned = lambda x: [list(r) for r in zip(*x)]
    return {
        "queries": queries, "k": k, "responses": [r[9:] for r in grown], "logprobs": turned(logprobs),
        "values": turned(values), "entropy": float(np.mean(entropies)),
    }


# ---- b. gradients


def gradients(m, loss):
    loss.backward()
    out = {n: p.grad.numpy().copy() for n, p in {**m.weights, **m.head}.items() if p.grad is not None}
    assert len(out) >= len(m.weights)
    return out


def language_model_gradient(name):
    """Mean negative log-likelihood of rows of time + 1 tokens and its gradient for every tensor."""
    m = Model(name)
    time = MODELS[name][4]
    rows = [tokens(time + 1, m.vocab) for _ in range(20)]
    ids = torch.tensor(rows)
    logits = m.logits(m.hidden([r[:-1] for r in rows]))
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, m.vocab), ids[:, 1:].reshape(-1))
    return {"rows": rows, "loss": loss.item()}, gradients(m, loss)


def padded_gradient(name):
    """A weighted sum of padded rows' response log-probabilities and values, as a policy gradient is one; its gradient
    for every tensor, the head's too."""
    m = Model(name)
    lengths, n = [10, 1, 4, 7, 10, 2, 3, 9, 5, 6, 8, 10, 1, 2, 10, 3, 7, 9, 4, 10], 6
    queries = padded([tokens(l, m.vocab) for l in lengths], 10, "left")
    responses = [tokens(n, m.vocab) for _ in lengths]
    h = m.hidden([q + r for q, r in zip(queries, responses)])
    lp, _ = logprobs_of(m, h, torch.tensor(responses), 10, TEMPERATURE)
    values = m.values(h[:, 9 : 9 + n])
    of_logprobs, of_values = (spread(f"weights/{w}", (len(lengths), n), 0.0, 1.0) for w in ("logprobs", "values"))
    total = (lp * torch.tensor(of_logprobs)).sum() + (values * torch.tensor(of_values)).sum()
    return {"queries": queries, "responses": responses, "total": total.item()}, gradients(m, total)


# ---- c. Adam


class TensorflowAdam:
    """Adam as tf.train.AdamOptimizer documents it ("epsilon hat" of Kingma and Ba's section 2): epsilon is added to
    sqrt(v) before the bias correction, which scales the step."""

    def __init__(self, epsilon, beta1=0.9, beta2=0.999):
        self.epsilon, self.beta1, self.beta2, self.t, self.moments = epsilon, beta1, beta2, 0, {}

    def step(self, lr, weights, gradients):
        self.t += 1
        rate = lr * np.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        for name, w in weights.items():
            g = gradients[name]
            m, v = self.moments.get(name, (np.zeros_like(g), np.zeros_like(g)))
            m = self.beta1 * m + (1 - self.beta1) * g
            v = self.beta2 * v + (1 - self.beta2) * g * g
            self.moments[name] = (m, v)
            w -= rate * m / (np.sqrt(v) + self.epsilon)


def apply(adam, lr, tensors):
    """One step of TensorflowAdam on torch tensors with gradients, which it clears."""
    with torch.no_grad():
        values = {n: p.numpy() for n, p in tensors.items()}  # shares memory with p
        adam.step(lr, values, {n: p.grad.numpy() for n, p in tensors.items()})
    for p in tensors.values():
        p.grad = None


ADAM = {"epsilon": 1e-5, "lrs": [1e-2 * (1 - t / 10) for t in range(10)]}


def adam_gradient(step, name, shape, index):
    """Gradients whose size runs from 1 down to 1e-4 over tensors, so that epsilon matters for some and not for others;
    the third step has none at all."""
    scale = 0.0 if step == 2 else 10.0 ** -(index % 5)
    return spread(f"adam/{step}/{name}", shape, 0.0, scale)


def adam():
    made = {}
    for form in ("tensorflow", "torch"):
        m = Model("c")
        tensors = dict(sorted({**m.weights, **m.head}.items()))
        before = {n: p.detach().numpy().copy() for n, p in tensors.items()}
        ours = TensorflowAdam(ADAM["epsilon"])
        theirs = torch.optim.Adam(tensors.values(), lr=1.0, betas=(0.9, 0.999), eps=ADAM["epsilon"])
        for step, lr in enumerate(ADAM["lrs"]):
            for index, (name, p) in enumerate(tensors.items()):
                p.grad = torch.tensor(adam_gradient(step, name, tuple(p.shape), index))
            if form == "tensorflow":
                apply(ours, lr, tensors)
            else:
                theirs.param_groups[0]["lr"] = lr
                theirs.step()
        made[form] = changes(before, tensors)
    return made


def changes(before, after):
    return {n: p.detach().numpy() - before[n] for n, p in after.items()}


# ---- d. one PPO update

PPO = {
    "kl_coef": 0.15, "lr": 3e-4, "gamma": 1.0, "lam": 0.95, "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1,
    "epochs": 4, "query_length": 10, "response_length": 8, "batch_size": 24, "temperature": TEMPERATURE,
}
# Rounding to 32 bits moves ratios and values by about 1e-6, on some GPUs by 1e-5.
NEAR = 5e-5
VARIANTS = {
    "whitened": {"minibatches": 1, "whiten_rewards": True, "gamma": 1.0},
    "plain": {"minibatches": 1, "whiten_rewards": False, "gamma": 0.9},
    "minibatches": {"minibatches": 2, "whiten_rewards": True, "gamma": 1.0},
    # Each quarter of the minibatch by itself, as the released code's processes whiten their own rows.
    "blocks": {"minibatches": 1, "whiten_rewards": True, "gamma": 1.0, "blocks": 4},
}


def whiten(x, shift_mean=True):
    mean, var = x.mean(), x.var(correction=0)
    out = (x - mean) / torch.sqrt(var + 1e-8)
    return out if shift_mean else out + mean


def whiten_in(x, blocks, shift_mean=True):
    return torch.cat([whiten(block, shift_mean) for block in x.chunk(blocks)])


class Kink(Exception):
    """A token too near to a bound of a clip or maximum, where the gradient jumps: rounding would decide."""


def rollout(rng):
    """Queries padded on the left, responses, the policy's own log-probabilities and values of them, and given
    reference log-probabilities and scores. A third of the values are moved, as a value function's are by the updates
    that follow its rollout, so that value clipping happens from the first step."""
    m = Model("c")
    n, q, r = PPO["batch_size"], PPO["query_length"], PPO["response_length"]
    queries = padded([tokens(1 + i % q, m.vocab) for i in range(n)], q, "left")
    responses = [tokens(r, m.vocab) for _ in range(n)]
    with torch.no_grad():
        h = m.hidden([x + y for x, y in zip(queries, responses)])
        lp = logprobs_of(m, h, torch.tensor(responses), q, TEMPERATURE)[0].numpy()
        values = m.values(h[:, q - 1 : q - 1 + r]).numpy()
    moved = np.where(np.arange(n * r).reshape(n, r) % 3 == 0, rng.normal(0, 0.4, (n, r)), 0.0)
    return {
        "queries": queries, "responses": responses, "logprobs": f32(lp), "values": f32(values + moved),
        "ref_logprobs": f32(lp + rng.normal(-0.05, 0.3, (n, r))), "scores": f32(rng.normal(0.3, 1.5, n)),
    }


def ppo(given, variant, rng):
    """The released train_policy.py's step with the rollout given: rewards, then per minibatch whitening, GAE and one
    Adam step. Returns weights' changes and the statistics it logs, averaged over steps as it averages them."""
    p, m, adam = {**PPO, **VARIANTS[variant]}, Model("c"), TensorflowAdam(1e-5)
    tensors = {**m.weights, **m.head}
    before = {n: t.detach().numpy().copy() for n, t in tensors.items()}
    n, q, r = p["batch_size"], p["query_length"], p["response_length"]
    size = n // p["minibatches"]
    logprobs, ref, old_values = (torch.tensor(given[k]) for k in ("logprobs", "ref_logprobs", "values"))
    all_rewards = -p["kl_coef"] * (logprobs - ref)
    all_rewards[:, -1] += torch.tensor(given["scores"])
    orders = [[int(i) for i in rng.permutation(n)] for _ in range(p["epochs"])]
    steps = []
    for order in orders:
        for at in range(0, n, size):
            rows = order[at : at + size]
            values, old, rewards = old_values[rows], logprobs[rows], all_rewards[rows]
            if p["whiten_rewards"]:
                rewards = whiten_in(rewards, p.get("blocks", 1), shift_mean=False)
            advantages, last = torch.zeros(size, r), torch.zeros(size)
            for t in reversed(range(r)):
                following = values[:, t + 1] if t + 1 < r else 0.0
                last = rewards[:, t] + p["gamma"] * following - values[:, t] + p["gamma"] * p["lam"] * last
                advantages[:, t] = last
            returns = advantages + values
            advantages = whiten_in(advantages, p.get("blocks", 1))
            responses = torch.tensor(given["responses"])[rows]
            h = m.hidden([given["queries"][i] + given["responses"][i] for i in rows])
            lp, _ = logprobs_of(m, h, responses, q, p["temperature"])
            predicted = m.values(h[:, q - 1 : q - 1 + r])
            eps, eps_v = p["cliprange"], p["cliprange_value"]
            limited = torch.minimum(torch.maximum(predicted, values - eps_v), values + eps_v)
            error, error_limited = (predicted - returns) ** 2, (limited - returns) ** 2
            value_loss = 0.5 * torch.maximum(error, error_limited).mean()
            ratio = torch.exp(lp - old)
            direct, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - eps, 1 + eps)
            policy_loss = torch.maximum(direct, clipped).mean()
            loss = policy_loss + p["vf_coef"] * value_loss
            with torch.no_grad():
                kinks = [(ratio - 1).abs() - eps, (predicted - values).abs() - eps_v]
                kinks.append(torch.where(limited == predicted, 1.0, error - error_limited))
                if min(k.abs().min() for k in kinks) < NEAR:
                    raise Kink
                steps.append({
                    "ppo/loss/policy": policy_loss, "ppo/loss/value": value_loss, "ppo/loss/total": loss,
                    "ppo/policy/approxkl": 0.5 * ((lp - old) ** 2).mean(),
                    "ppo/policy/clipfrac": (clipped > direct).double().mean(),
                    "ppo/val/clipfrac": (error_limited > error).double().mean(),
                    "ppo/val/vpred": predicted.mean(), "ppo/val/error": error.mean(),
                    "ppo/returns/mean": returns.mean(), "ppo/returns/var": returns.var(correction=0),
                })
            loss.backward()
            apply(adam, p["lr"], tensors)
    means = {k: float(np.mean([s[k].item() for s in steps])) for k in steps[0]}
    means["ppo/val/var_explained"] = 1 - means["ppo/val/error"] / means["ppo/returns/var"]
    assert steps[0]["ppo/policy/clipfrac"] == 0 and 0.1 < steps[-1]["ppo/policy/clipfrac"] < 0.5, steps[-1]
    assert 0.05 < means["ppo/val/clipfrac"] < 0.5, means
    kl = (logprobs - ref).sum(1).mean().item()
    return {**VARIANTS[variant], "orders": orders, "kl": kl, "statistics": means}, changes(before, tensors)


def updates():
    """The first rollout of a sequence for which no variant meets a kink."""
    for attempt in range(1000):
        own = np.random.default_rng([1909, attempt])
        given = rollout(own)
        try:
            made = {v: ppo(given, v, own) for v in VARIANTS}
        except Kink:
            continue
        facts = {**PPO, "rollout": given, "variants": {v: of for v, (of, _) in made.items()}}
        return facts, {f"ppo_{v}": change for v, (_, change) in made.items()}
    raise Kink


# ---- e. reward model


def reward():
    """Three steps of the released train_reward.py: gain and bias set from samples, then trained with everything else,
    then set again after a reset to 1 and 0."""
    m, adam, lr, steps, size = Model("c"), TensorflowAdam(1e-5), 2e-3, 3, 6
    q, r = 8, 7
    with torch.no_grad():
        m.head["score.weight"] *= 0.25  # so that gain is far from 1, as it is for a new head
    tensors = {**m.weights, **m.head}
    tensors["reward_norm.gain"] = torch.ones(1, requires_grad=True)
    tensors["reward_norm.bias"] = torch.zeros(1, requires_grad=True)
    gain, bias = tensors["reward_norm.gain"], tensors["reward_norm.bias"]

    def row():
        kept = int(rng.integers(2, r + 1))
        return tokens(kept, m.vocab) + [None] * (r - kept)

    def query():
        return padded([tokens(int(rng.integers(1, q + 1)), m.vocab)], q, "left")[0]

    def raw(rows):
        h = m.hidden(rows)
        last = torch.tensor([max(i for i, t in enumerate(row) if t is not None) for row in rows])
        return m.values(h[range(len(rows)), last])

    samples = [query() + row() for _ in range(20)]

    def normalize():
        x = raw(samples).detach()
        g = 1.0 / x.std(correction=0)
        return g.item(), (-g * x.mean()).item()

    with torch.no_grad():
        before_gain, before_bias = normalize()
        gain.fill_(before_gain), bias.fill_(before_bias)
    before = {n: t.detach().numpy().copy() for n, t in tensors.items()}
    comparisons, losses = [], []
    for step in range(steps):
        batch = []
        for _ in range(size):
            x = query()
            batch.append({"rows": [x + row() for _ in range(4)], "best": int(rng.integers(0, 4))})
        scores = raw([y for c in batch for y in c["rows"]]).reshape(size, 4) * gain + bias
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor([c["best"] for c in batch]))
        loss.backward()
        apply(adam, lr * (1 - step / steps), tensors)
        comparisons.append(batch)
        losses.append(loss.item())
    after = normalize()
    final = (after[0] * raw(samples).detach() + after[1]).tolist()
    facts = {
        "lr": lr, "steps": comparisons, "samples": samples, "losses": losses, "final": final,
        "before": {"gain": before_gain, "bias": before_bias},
    }
    return facts, changes(before, tensors)


# ---- f. normalisation and the KL controllers


def controllers():
    samples = f32(rng.normal(2.5, 3.0, 256))
    near = f32(rng.normal(-40.0, 0.05, 64))
    targets = [(0.0, 1.0), (1.5, 0.5)]
    norms = []
    for x, (mean, std) in [(samples, targets[0]), (samples, targets[1]), (near, targets[0])]:
        # As the released code: the deviation is that of the population, from the mean of squares.
        gain = std / np.sqrt(np.mean(np.square(x)) - np.mean(x) ** 2)
        norms.append({"samples": x, "mean": mean, "std": std, "gain": gain, "bias": mean - gain * np.mean(x)})
    kls = [float(k) for k in rng.gamma(2.0, 4.0, 40)] + [0.0, -0.3, 6.0, 1e3]
    runs = []
    for target, init, episodes, gain, horizon in [(6.0, 0.15, 512, None, 10000.0), (8.0, 0.1, 1024, 0.1, 10000.0)]:
        coefs, value = [], init
        for kl in kls:
            error = np.clip(kl / target - 1, -0.2, 0.2) if gain is None else np.clip((kl - target) / target, -0.2, 0.2)
            value *= 1 + (error * episodes / horizon if gain is None else gain * error)
            coefs.append(value)
        runs.append({
            "target": target, "init": init, "episodes": episodes, "gain": gain, "horizon": horizon, "coefs": coefs,
        })
    return {"normalizations": norms, "kls": kls, "controllers": runs}


# ---- g. sampling frequencies


def frequencies():
    """Probabilities of the first token, and of the second given each first one, after three queries."""
    m = Model("d")
    queries = padded([tokens(n, m.vocab) for n in (4, 1, 3)], 4, "left")
    first, second = [], []
    with torch.no_grad():
        for query in queries:
            h = m.hidden([query])[:, -1]
            first.append(torch.softmax(m.logits(h) / TEMPERATURE, -1)[0].numpy())
            h = m.hidden([query + [t] for t in range(m.vocab)])[:, -1]
            second.append(torch.softmax(m.logits(h) / TEMPERATURE, -1).numpy())
    # The test's own tail probability of chi-square is checked with scipy's.
    tails = [[x, df, float(stats.chi2.sf(x, df))] for x, df in [(1.0, 1), (30.0, 22), (60.0, 22), (500.0, 400), (3.0, 9)]]
    tensors = {"first": np.array(first), "second": np.array(second)}
    return {"queries": queries, "tails": tails}, tensors


# ---- writing and comparing


def plain(x):
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, np.ndarray)):
        return [plain(v) for v in x]
    return float(f"{float(x):.12g}") if isinstance(x, (float, np.floating)) else x


def make():
    facts, tensors = {}, {}
    facts["forward"] = {"temperature": TEMPERATURE}
    for name in ("a", "b"):
        rows, tensors[f"forward_{name}"] = forward(name)
        facts["forward"][name] = {"rows": rows, **temperatures(name)}
    facts["forward"]["sampled"] = sampled("b")
    facts["gradient"] = {}
    facts["gradient"]["language_model"], tensors["gradient_language_model"] = language_model_gradient("b")
    facts["gradient"]["padded"], tensors["gradient_padded"] = padded_gradient("c")
    facts["adam"] = ADAM
    for form, change in adam().items():
        tensors[f"adam_{form}"] = change
    facts["ppo"], changed = updates()
    tensors |= changed
    facts["reward"], tensors["reward"] = reward()
    facts["controllers"] = controllers()
    facts["frequencies"], tensors["frequencies"] = frequencies()
    return plain(facts), tensors


def same(a, b):
    """JSON values that are equal but for the last digits of numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(1.0, abs(b))
    return a == b


def same_tensors(a, b):
    # A tensor whose gradient is 0 but for rounding (the reward's biases) has no digits to compare.
    close = lambda x, y: abs(x - y).max() <= 1e-6 * max(abs(y).max(), 1e-9)
    return a.keys() == b.keys() and all(a[k].shape == b[k].shape and close(a[k], b[k]) for k in a)


def main():
    facts, tensors = make()
    tensors = {f: {n: np.ascontiguousarray(t, dtype=np.float32) for n, t in ts.items()} for f, ts in tensors.items()}
    if "--check" in sys.argv:
        found = {f: same(json.loads((OUT / f"{f}.json").read_text()), v) for f, v in facts.items()}
        found |= {f"{f} (tensors)": same_tensors(load_file(OUT / f"{f}.safetensors"), t) for f, t in tensors.items()}
        for name, ok in found.items():
            print(name, "as committed" if ok else "DIFFERS")
        sys.exit(0 if all(found.values()) else 1)
    OUT.mkdir(exist_ok=True)
    for name, value in facts.items():
        lines = ",\n".join(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in value.items())
        (OUT / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")
    for name, value in tensors.items():
        save_file(value, OUT / f"{name}.safetensors")
        (OUT / f"{name}.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
