"""Makes fixtures/learners.json and fixtures/learners_*.safetensors, RLOO and DPO as TRL 1.16 computes them, and from the
same numbers what `runner math` is compared with (tests/fixtures/math: rloo_advantages, dpo_loss; best_of over all subsets).

TRL's own methods are called on trainers that have only what they read: `RLOOTrainer._generate_and_score_completions` with
responses, log-probabilities and rewards that are given (the KL penalty and leave-one-out advantages are its own lines),
`RLOOTrainer._compute_loss`, and `DPOTrainer._compute_loss` with `loss_type="sigmoid"`, one pair of the best and another
candidate for each other candidate. The model is make_parity.py's in 64 bits; its log-probabilities are at the task's
temperature, as TRL's head has them, and gradients are torch's autograd through TRL's losses. Beside each the formula is
written out by hand, and must agree to 1e-12.

Offline once installed (Python 3.11):

    python -m pip install trl==1.16.0 torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0 \\
        numpy==2.4.6 scipy==1.17.1 safetensors==0.8.0
    python tests/parity/make_learners.py            # writes the fixtures
    python tests/parity/make_learners.py --check    # compares, without writing, what is there with what it makes
"""

import itertools
import json
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
import trl
from make_parity import (
    OUT, TEMPERATURE, Model, TensorflowAdam, apply, changes, f32, gradients, logprobs_of, padded, plain, same, same_tensors,
)
from safetensors.numpy import load_file, save_file
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

assert trl.__version__ == "1.16.0", trl.__version__
torch.set_default_dtype(torch.float64)

MATH = OUT.parents[1] / "fixtures" / "math"
QUERIES, K, QUERY, RESPONSE = 6, 4, 10, 8
RLOO = {
    "k": K, "batch_size": QUERIES * K, "kl_coef": 0.15, "cliprange": 0.2, "lr": 3e-4, "epochs": 3,
    "query_length": QUERY, "response_length": RESPONSE, "temperature": TEMPERATURE,
}
DPO = {"beta": 0.3, "lr": 1e-3, "steps": 3, "batch_size": 5, "temperature": TEMPERATURE}
# A response's ratio nearer than this to a clip's bound: rounding to 32 bits would decide.
NEAR = 1e-4


class Policy(torch.nn.Module):
    """make_parity.py's model as TRL calls one: per-token log-probabilities of `labels`, shifted, at the temperature."""

    def __init__(self, model):
        super().__init__()
        self.inner = [model]

    def forward(self, input_ids, attention_mask, labels, **_):
        model = self.inner[0]
        rows = [
            [int(t) if real else None for t, real in zip(row, mask)]
            for row, mask in zip(input_ids.tolist(), attention_mask.tolist())
        ]
        logits = model.logits(model.hidden(rows))[:, :-1] / TEMPERATURE
        shifted = labels[:, 1:]
        lp = torch.log_softmax(logits, dim=-1)
        chosen = lp.gather(2, shifted.clamp(min=0)[:, :, None])[:, :, 0]
        return SimpleNamespace(
            log_probs=torch.where(shifted == -100, 0.0, chosen), entropy=torch.zeros_like(chosen),
            mean_logits=torch.zeros_like(chosen), is_top1=torch.zeros_like(chosen, dtype=torch.bool),
        )


def accelerator():
    same = lambda x, **_: x
    return SimpleNamespace(
        device=torch.device("cpu"), process_index=0, gather=same, gather_for_metrics=same, reduce=same,
        autocast=lambda: nullcontext(), is_main_process=True,
    )


def padded_ids(rows):
    return torch.tensor([[t or 0 for t in r] for r in rows]), torch.tensor([[int(t is not None) for t in r] for r in rows])


# ---- RLOO


def rollout(rng):
    m = Model("c")
    token = lambda n: [int(t) for t in rng.integers(0, m.vocab, n)]
    each = padded([token(1 + 2 * i % QUERY) for i in range(QUERIES)], QUERY, "left")
    queries = [q for q in each for _ in range(K)]
    responses = [token(RESPONSE) for _ in queries]
    with torch.no_grad():
        h = m.hidden([q + r for q, r in zip(queries, responses)])
        lp = logprobs_of(m, h, torch.tensor(responses), QUERY, TEMPERATURE)[0].numpy()
    n = len(queries)
    return {
        "queries": queries, "responses": responses, "logprobs": f32(lp),
        "ref_logprobs": f32(lp + rng.normal(-0.05, 0.3, (n, RESPONSE))), "scores": f32(rng.normal(0.3, 1.5, n)),
    }


def rloo_trainer(given, m):
    """What RLOOTrainer's methods read, its defaults but for what is given; rewards and log-probabilities are given."""
    trainer = MagicMock()
    trainer.accelerator = accelerator()
    trainer.model.training = True
    trainer.num_generations, trainer.beta = K, RLOO["kl_coef"]
    trainer.epsilon_low = trainer.epsilon_high = RLOO["cliprange"]
    trainer.normalize_advantages, trainer.reward_clip_range = False, None
    trainer.mask_truncated_completions, trainer.aux_loss_enabled = False, False
    trainer.pad_to_multiple_of, trainer._tokenizer.pad_token_id = None, 0
    trainer.reward_weights, trainer.reward_func_names = torch.ones(1), ["score"]
    trainer._pending_extra_logs, trainer._pending_metrics = {}, {}
    trainer.args.per_device_train_batch_size = len(given["queries"])
    real = [[t for t in q if t is not None] for q in given["queries"]]
    trainer._generate.return_value = (real, given["responses"], [""] * len(real))
    trainer._calculate_rewards.return_value = torch.tensor(given["scores"])[:, None]
    asked = {id(trainer.model): given["logprobs"], id(trainer.ref_model): given["ref_logprobs"]}
    trainer._get_per_token_logps_and_entropies = lambda model, *a, **k: (torch.tensor(asked[id(model)]), None, None)
    return trainer


def rloo_advantages(given):
    trainer = rloo_trainer(given, None)
    inputs = [{"prompt": ""}] * len(given["queries"])
    batch = RLOOTrainer._generate_and_score_completions(trainer, inputs)
    totals = given["scores"] - RLOO["kl_coef"] * (given["logprobs"] - given["ref_logprobs"]).sum(1)
    by_hand = np.concatenate([[r - np.delete(g, i).mean() for i, r in enumerate(g)] for g in totals.reshape(-1, K)])
    assert abs(batch["advantages"].numpy() - by_hand).max() < 1e-12
    return batch, totals


def rloo_loss(given, batch, m):
    trainer = rloo_trainer(given, m)
    del trainer._get_per_token_logps_and_entropies
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: (
        RLOOTrainer._get_per_token_logps_and_entropies(trainer, *a, **k)
    )
    loss = RLOOTrainer._compute_loss(trainer, Policy(m), batch)
    h = m.hidden([q + r for q, r in zip(given["queries"], given["responses"])])
    lp = logprobs_of(m, h, torch.tensor(given["responses"]), QUERY, TEMPERATURE)[0]
    ratio = torch.exp((lp - torch.tensor(given["logprobs"])).sum(1))
    a, eps = batch["advantages"], RLOO["cliprange"]
    direct, clipped = ratio * a, ratio.clamp(1 - eps, 1 + eps) * a
    assert abs(loss + torch.minimum(direct, clipped).mean()) < 1e-12
    assert ((ratio - 1).abs() - eps).abs().min() > NEAR, "a response too near to the clip's bound"
    return loss, (clipped < direct).double().mean().item()


def rloo(rng):
    """The first gradient, a gradient after three steps with clipped responses in it, and the weights' change after
    RLOO["epochs"] steps."""
    given = rollout(rng)
    batch, totals = rloo_advantages(given)
    m, adam = Model("c"), TensorflowAdam(1e-5)
    before = {n: t.detach().numpy().copy() for n, t in m.weights.items()}
    losses, clipped, tensors = [], [], {}
    for epoch in range(RLOO["epochs"] + 1):
        loss, share = rloo_loss(given, batch, m)
        losses.append(loss.item())
        clipped.append(share)
        if epoch == RLOO["epochs"]:
            break
        found = gradients(m, loss)
        if epoch == 0:
            tensors["rloo_gradient"] = found
        apply(adam, RLOO["lr"], m.weights)
    assert clipped[0] == 0 and 0.05 < clipped[-2] < 0.8, clipped
    tensors["rloo_change"] = changes(before, m.weights)
    # The clipped loss's gradient, at the weights that the rollout is of and log-probabilities that are moved.
    moved = {**given, "logprobs": f32(given["logprobs"] + rng.normal(0, 0.1, given["logprobs"].shape))}
    far = Model("c")
    loss, share = rloo_loss(moved, {**batch, "old_logps": torch.tensor(moved["logprobs"]).sum(1)}, far)
    assert 0.1 < share < 0.8, share
    tensors["rloo_clipped_gradient"] = gradients(far, loss)
    facts = {
        **RLOO, "rollout": given, "totals": totals, "advantages": batch["advantages"].numpy(), "losses": losses,
        "clipfracs": clipped, "moved_logprobs": moved["logprobs"], "clipped_loss": loss.item(), "clipfrac": share,
    }
    return facts, tensors


# ---- DPO


def dpo_data(rng):
    """Labels of four candidates of mixed lengths, and a reference that is another model than the policy."""
    m = Model("c")
    token = lambda n: [int(t) for t in rng.integers(0, m.vocab, n)]
    n = DPO["batch_size"] * DPO["steps"]
    return {
        "queries": padded([token(1 + 3 * i % QUERY) for i in range(n)], QUERY, "left"),
        "responses": [[token(1 + int(rng.integers(RESPONSE))) for _ in range(4)] for _ in range(n)],
        "reference": f32(rng.normal(-20.0, 4.0, (n, 4))), "best": [int(b) for b in rng.integers(0, 4, n)],
    }


def dpo_loss(m, data, rows):
    pairs = [(i, j) for i in rows for j in range(4) if j != data["best"][i]]
    best = data["best"]
    sides = [[(i, best[i]) for i, _ in pairs], pairs]
    sequences = [(data["queries"][i], data["responses"][i][c]) for side in sides for i, c in side]
    longest = max(len(y) for _, y in sequences)
    ids, mask = padded_ids([x + y + [None] * (longest - len(y)) for x, y in sequences])
    completion = torch.tensor([[0] * QUERY + [1] * len(y) + [0] * (longest - len(y)) for _, y in sequences])
    reference = [torch.tensor([data["reference"][i][c] for i, c in side]) for side in sides]
    trainer = MagicMock()
    trainer.accelerator, trainer.model.training = accelerator(), True
    trainer.aux_loss_enabled, trainer.ld_alpha, trainer.precompute_ref_logps = False, None, True
    trainer.f_divergence_type, trainer.loss_types, trainer.loss_weights = "reverse_kl", ["sigmoid"], [1.0]
    trainer.beta, trainer.use_weighting, trainer.label_smoothing = DPO["beta"], False, 0.0
    trainer._tp_size, trainer._total_train_tokens = 1, 0
    inputs = {
        "input_ids": ids, "attention_mask": mask, "completion_mask": completion, "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1],
    }
    loss = DPOTrainer._compute_loss(trainer, Policy(m), inputs, False)
    # By hand: every candidate alone, the mean over labels of the mean over the other candidates.
    margins = []
    for i in rows:
        of = []
        for c, y in enumerate(data["responses"][i]):
            lp = logprobs_of(m, m.hidden([data["queries"][i] + y]), torch.tensor([y]), QUERY, TEMPERATURE)[0].sum()
            of.append(lp - data["reference"][i][c])
        margins += [DPO["beta"] * (of[best[i]] - of[j]) for j in range(4) if j != best[i]]
    margins = torch.stack(margins)
    assert abs(loss - torch.log1p(torch.exp(-margins)).mean()) < 1e-12
    return loss, margins


def dpo(rng):
    data, m, adam = dpo_data(rng), Model("c"), TensorflowAdam(1e-5)
    # A reference near the policy, so that margins are of both signs and not large.
    with torch.no_grad():
        for i, (q, ys) in enumerate(zip(data["queries"], data["responses"])):
            for c, y in enumerate(ys):
                lp = logprobs_of(m, m.hidden([q + y]), torch.tensor([y]), QUERY, TEMPERATURE)[0].sum().item()
                data["reference"][i][c] = f32(lp + rng.normal(0, 3.0))
    before = {n: t.detach().numpy().copy() for n, t in m.weights.items()}
    steps, tensors = [], {}
    for s in range(DPO["steps"]):
        rows = list(range(s * DPO["batch_size"], (s + 1) * DPO["batch_size"]))
        loss, margins = dpo_loss(m, data, rows)
        steps.append({
            "loss": loss.item(), "margin": margins.mean().item(), "accuracy": (margins > 0).double().mean().item(),
        })
        found = gradients(m, loss)
        if s == 0:
            tensors["dpo_gradient"] = found
        apply(adam, DPO["lr"], m.weights)
    tensors["dpo_change"] = changes(before, m.weights)
    return {**DPO, **data, "per_step": steps}, tensors


# ---- runner math


def first_logprobs(data):
    m = Model("c")
    with torch.no_grad():
        return [
            [logprobs_of(m, m.hidden([q + y]), torch.tensor([y]), QUERY, TEMPERATURE)[0].sum().item() for y in ys]
            for q, ys in zip(data["queries"], data["responses"])
        ]


def best_of(scores, values, n):
    """Of equal scores the earlier sample counts as larger."""
    drawn = list(itertools.combinations(range(len(scores)), n))
    return float(np.mean([values[max(some, key=lambda i: (scores[i], -i))] for some in drawn]))


def math(facts):
    r, d = facts["rloo"], facts["dpo"]
    given = {k: r["rollout"][k] for k in ("scores", "logprobs", "ref_logprobs")}
    of_rloo = {
        "in": {**given, "kl_coef": r["kl_coef"], "samples_per_query": r["k"]},
        "out": {"rewards": r["totals"], "advantages": r["advantages"]},
    }
    n = d["batch_size"]
    logprobs = f32(first_logprobs(d))[:n]
    of_dpo = {
        "in": {"logprobs": logprobs, "ref_logprobs": d["reference"][:n], "best": d["best"][:n], "beta": d["beta"]},
        "out": d["per_step"][0],
    }
    rng = np.random.default_rng(64)
    scores, values = f32(rng.normal(0, 1, (3, 9))), f32(rng.normal(0, 2, (3, 9)))
    scores[1][4] = scores[1][7] = scores[1].max()
    ns = [1, 2, 4, 9]
    of_best = {
        "in": {"scores": scores, "values": values, "n": ns},
        "out": {
            "value": [np.mean([best_of(s, v, n) for s, v in zip(scores, values)]) for n in ns],
            "kl_bound": [np.log(n) - (n - 1) / n for n in ns],
        },
    }
    return {"rloo_advantages": [plain(of_rloo)], "dpo_loss": [plain(of_dpo)], "best_of": [plain(of_best)]}


def make():
    facts, tensors = {}, {}
    for name, of in (("rloo", rloo), ("dpo", dpo)):
        for attempt in range(1000):
            try:
                facts[name], made = of(np.random.default_rng([2026, attempt]))
                break
            except AssertionError as refused:
                if "clip's bound" not in str(refused):
                    raise
        tensors |= made
    return plain(facts), tensors


def main():
    facts, tensors = make()
    tensors = {f: {n: np.ascontiguousarray(t, dtype=np.float32) for n, t in ts.items()} for f, ts in tensors.items()}
    if "--check" in sys.argv:
        found = {"learners": same(json.loads((OUT / "learners.json").read_text()), facts)}
        found |= {f: same(json.loads((MATH / f"{f}.json").read_text()), v) for f, v in math(facts).items()}
        found |= {f: same_tensors(load_file(OUT / f"learners_{f}.safetensors"), t) for f, t in tensors.items()}
        for name, ok in found.items():
            print(name, "as committed" if ok else "DIFFERS")
        sys.exit(0 if all(found.values()) else 1)
    lines = ",\n".join(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in facts.items())
    (OUT / "learners.json").write_text(f"{{\n{lines}\n}}\n")
    for name, value in math(facts).items():
        (MATH / f"{name}.json").write_text(f"{json.dumps(value)}\n")
    for name, value in tensors.items():
        save_file(value, OUT / f"learners_{name}.safetensors")
        (OUT / f"learners_{name}.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
