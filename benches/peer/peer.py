"""One PPO update of the paper in plain PyTorch and transformers: the peer that `benches/update` is compared with.

It does the work of the PyTorch re-implementation of Ziegler et al. (generate with a KV cache, then one pass each of the
policy, the reference and the reward model over query and response, then epochs of PPO with Adam), in
float32, eagerly, with transformers' default attention (scaled_dot_product_attention). Rollouts are in inference mode, the
reward model has no LM head, and log-softmax is taken of the response's logits alone. `--head full` computes the logits of
all positions, as that re-implementation does; `--head response` those of the response alone, as ours does.

    python peer.py --models DIR --check            # compare with the numbers that `update --check DIR` wrote
    python peer.py --models DIR --updates 3        # time; prints one JSON object
    python peer.py --gemm 2048                     # FLOP/s of a large matrix product
"""

import argparse
import json
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

PAD = 0


class WithHead(nn.Module):
    """A transformer, with its LM head or without, and a linear head to one number."""

    def __init__(self, directory, language_model):
        super().__init__()
        config = GPT2Config.from_pretrained(directory)
        self.lm = GPT2LMHeadModel(config) if language_model else None
        self.transformer = self.lm.transformer if language_model else GPT2Model(config)
        self.score = nn.Linear(config.n_embd, 1)
        state = load_file(directory / "model.safetensors")
        self.score.load_state_dict({n: state[f"score.{n}"] for n in ("weight", "bias")})
        prefix = "transformer."
        self.transformer.load_state_dict({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})


class Peer:
    def __init__(self, models, head, micro_batch):
        self.check = json.loads((models / "rollout.json").read_text())
        self.constants = self.check["constants"]
        self.head = head
        self.micro_batch = micro_batch
        self.policy = WithHead(models / "policy", language_model=True)
        self.reward = WithHead(models / "reward", language_model=False).eval()
        self.reference = GPT2LMHeadModel(GPT2Config.from_pretrained(models / "reference")).eval()
        self.reference.transformer.load_state_dict(load_file(models / "reference" / "model.safetensors"))
        c = self.constants
        self.adam = torch.optim.Adam(
            self.policy.parameters(), lr=c["lr"], betas=(c["beta1"], c["beta2"]), eps=c["epsilon"]
        )
        queries = self.check["queries"]
        self.queries = torch.tensor([[PAD if t is None else t for t in row] for row in queries])
        self.query_mask = torch.tensor([[int(t is not None) for t in row] for row in queries])
        self.response_length = len(self.check["responses"][0])
        self.stops = torch.zeros(self.policy.lm.config.vocab_size, dtype=torch.bool)
        self.stops[c["truncates"]] = True

    def inputs(self, responses):
        """Query and response as one row, with its mask and the positions of its real tokens."""
        mask = torch.cat([self.query_mask, torch.ones_like(responses)], 1)
        return torch.cat([self.queries, responses], 1), mask, (mask.cumsum(1) - 1).clamp(min=0)

    def hidden(self, transformer, rows):
        ids, mask, positions = rows
        return transformer(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)[0]

    def logprobs(self, lm, hidden, ids):
        """Log-probabilities of the response's tokens: `[rows, response]`."""
        before = slice(-self.response_length - 1, -1)
        logits = lm.lm_head(hidden)[:, before] if self.head == "full" else lm.lm_head(hidden[:, before])
        lp = torch.log_softmax(logits / self.constants["temperature"], -1)
        return lp.gather(2, ids[:, -self.response_length :, None]).squeeze(2)

    def policy_pass(self, rows):
        """Log-probabilities and values at the response's tokens."""
        hidden = self.hidden(self.policy.transformer, rows)
        values = self.policy.score(hidden[:, -self.response_length - 1 : -1]).squeeze(2)
        return self.logprobs(self.policy.lm, hidden, rows[0]), values

    @torch.inference_mode()
    def sample(self):
        """Responses, their log-probabilities and values."""
        self.policy.eval()
        rows = self.policy.lm.generate(
            input_ids=self.queries, attention_mask=self.query_mask, do_sample=True, top_k=0, top_p=1.0,
            temperature=self.constants["temperature"], max_new_tokens=self.response_length, eos_token_id=None,
            pad_token_id=PAD,
        )  # fmt: skip
        responses = rows[:, -self.response_length :]
        return responses, *self.policy_pass(self.inputs(responses))

    @torch.inference_mode()
    def ref_logprobs(self, responses):
        rows = self.inputs(responses)
        return self.logprobs(self.reference, self.hidden(self.reference.transformer, rows), rows[0])

    @torch.inference_mode()
    def scores(self, responses):
        """r at the last token that truncation leaves; the fixed score where no token truncates."""
        stop = self.stops[responses]
        stop[:, : self.constants["truncate_after"]] = False
        found = stop.any(1)
        kept = torch.where(found, stop.int().argmax(1) + 1, responses.shape[1])
        real = torch.arange(responses.shape[1]) < kept[:, None]
        ids, mask, _ = self.inputs(torch.where(real, responses, PAD))
        mask[:, -responses.shape[1] :] = real
        hidden = self.hidden(self.reward.transformer, (ids, mask, (mask.cumsum(1) - 1).clamp(min=0)))
        last = hidden[torch.arange(len(ids)), self.queries.shape[1] + kept - 1]
        return torch.where(found, self.reward.score(last).squeeze(1), self.constants["missing_score"])

    def rewards(self, scores, logprobs, ref_logprobs):
        rewards = -self.constants["kl_coef"] * (logprobs - ref_logprobs)
        rewards[:, -1] += scores
        return rewards

    def loss(self, rows, old_logprobs, old_values, advantages, returns):
        """(total, policy, value) loss of a minibatch."""
        c = self.constants
        logprobs, values = self.policy_pass(rows)
        ratio = (logprobs - old_logprobs).exp()
        clipped = ratio.clamp(1 - c["cliprange"], 1 + c["cliprange"])
        policy = torch.max(-advantages * ratio, -advantages * clipped).mean()
        near = torch.clamp(values, old_values - c["cliprange_value"], old_values + c["cliprange_value"])
        value = 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2).mean()
        return policy + c["vf_coef"] * value, policy, value

    def optimise(self, responses, logprobs, values, rewards, epochs, step=True):
        """Epochs of PPO, one Adam step per minibatch, whose
        gradient is added up over micro-batches. Returns the last step's losses."""
        c = self.constants
        self.policy.train()
        rows = self.inputs(responses)
        for _ in range(epochs):
            for part in torch.arange(len(responses)).chunk(c["minibatches"]):
                r = whiten(rewards[part], shift_mean=False) if c["whiten_rewards"] else rewards[part]
                advantages, returns = gae(r, values[part], c["gamma"], c["lam"])
                advantages = whiten(advantages, shift_mean=True)
                self.adam.zero_grad()
                losses = torch.zeros(3)
                fixed = (*(t[part] for t in rows), logprobs[part], values[part], advantages, returns)
                for ids, mask, positions, *targets in zip(*(t.split(self.micro_batch) for t in fixed)):
                    found = torch.stack(self.loss((ids, mask, positions), *targets)) * (len(ids) / len(part))
                    found[0].backward()
                    losses += found.detach()
                if step:
                    self.adam.step()
        return losses


def whiten(x, shift_mean):
    mean, variance = x.mean(), x.var(unbiased=False)
    whitened = (x - mean) * torch.rsqrt(variance + 1e-8)
    return whitened if shift_mean else whitened + mean


def gae(rewards, values, gamma, lam):
    """Generalised advantage estimation: (advantages, returns)."""
    advantages = torch.zeros_like(rewards)
    following, value = 0.0, 0.0
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * value - values[:, t]
        following = delta + gamma * lam * following
        advantages[:, t] = following
        value = values[:, t]
    return advantages, advantages + values


def differences(peer):
    """Largest difference of each of the check's numbers from ours; norms as a share of the largest."""
    want = {n: torch.tensor(v) for n, v in peer.check.items() if n not in ("queries", "constants", "gradient_norms")}
    responses = want["responses"]
    with torch.inference_mode():
        logprobs, values = peer.policy.eval() and peer.policy_pass(peer.inputs(responses))
    ref_logprobs, scores = peer.ref_logprobs(responses), peer.scores(responses)
    found = {"logprobs": logprobs, "values": values, "ref_logprobs": ref_logprobs, "scores": scores}
    rewards = peer.rewards(scores, logprobs, ref_logprobs)
    fixed = (responses, logprobs.clone(), values.clone(), rewards.clone())
    found["loss"], found["policy_loss"], found["value_loss"] = peer.optimise(*fixed, epochs=1, step=False)
    names = ((n.removeprefix("lm.").removeprefix("transformer."), p) for n, p in peer.policy.named_parameters())
    norms = {n: p.grad.norm().item() for n, p in names}
    peer.optimise(*fixed, epochs=peer.constants["epochs"])
    with torch.inference_mode():
        found["logprobs_after"] = peer.policy.eval() and peer.policy_pass(peer.inputs(responses))[0]
    result = {n: (found[n] - want[n]).abs().max().item() for n in found}
    ours = peer.check["gradient_norms"]
    assert ours.keys() == norms.keys(), ours.keys() ^ norms.keys()
    result["gradient_norms"] = max(abs(norms[n] - ours[n]) for n in norms) / max(norms.values())
    result["moved"] = (found["logprobs_after"] - found["logprobs"]).abs().max().item()
    sampled = peer.sample()
    # Means over tokens are compared in standard errors: the two draw with different random numbers.
    (a, b), n = (want["logprobs"], sampled[1]), sampled[1].numel()
    result["sampling_z"] = abs(((a.mean() - b.mean()) / ((a.var() + b.var()) / n).sqrt()).item())
    return result


def peak_memory():
    """Largest resident memory since `reset_peak_memory`, in bytes; None without Linux's /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def reset_peak_memory():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def timed(peer, updates, warmup):
    phases = {}

    @contextmanager
    def phase(name):
        started = time.perf_counter()
        yield
        phases[name] = time.perf_counter() - started

    reset_peak_memory()
    result = []
    for update in range(warmup + updates):
        if update == warmup:
            cpu = time.process_time()
        phases = {}
        with phase("total"):
            with phase("sample"):
                responses, logprobs, values = peer.sample()
            with phase("reference"):
                ref_logprobs = peer.ref_logprobs(responses)
            with phase("score"):
                scores = peer.scores(responses)
            with phase("optimise"):
                rewards = peer.rewards(scores, logprobs, ref_logprobs)
                fixed = (t.clone() for t in (responses, logprobs, values, rewards))
                peer.optimise(*fixed, epochs=peer.constants["epochs"])
        if update >= warmup:
            result.append(phases)
    cpu = (time.process_time() - cpu) / updates
    threads = torch.get_num_threads()
    return {"side": "peer", "threads": threads, "updates": result, "cpu_seconds": cpu, "peak_bytes": peak_memory()}


def gemm(rows):
    """FLOP/s of [rows, rows] x [rows, rows]; the best of ten."""
    a, b = torch.ones(rows, rows), torch.ones(rows, rows)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - started)
    return 2 * rows**3 / best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--head", choices=["full", "response"], default="full")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--updates", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--micro-batch", type=int, default=16, help="rows of one training pass; ours has 16 on a CPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--gemm", type=int)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.gemm:
        print(json.dumps({"gemm_flops": gemm(args.gemm)}))
        return
    peer = Peer(args.models, args.head, args.micro_batch)
    result = differences(peer) if args.check else timed(peer, args.updates, args.warmup)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
