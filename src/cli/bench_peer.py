"""One PPO update in plain PyTorch, on CUDA where there is one, timed like `runner doctor --bench` does ours.

    python bench_peer.py LAYERS HEADS WIDTH CONTEXT VOCAB QUERY RESPONSE EPISODES | --machine

Sampling with a KV cache, ρ's log-probabilities, r's scores, four epochs of PPO with Adam in micro-batches; float32, random
weights. Prints one JSON object. Tried with torch 2.x.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

device = "cuda" if torch.cuda.is_available() else "cpu"
MICRO = 16


def sync():
    if device == "cuda":
        torch.cuda.synchronize()


def gemm(dtype):
    best = 0.0
    for n in (512, 1024, 2048) if device == "cpu" else (2048, 4096, 8192):
        a = torch.ones(n, n, device=device, dtype=dtype)
        for _ in range(3):
            sync()
            start = time.perf_counter()
            a @ a
            sync()
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best / 1e9


def machine():
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    half = f", {gemm(torch.bfloat16):.1f} in bfloat16" if device == "cuda" else ""
    return f"torch {torch.__version__} on {name}; {gemm(torch.float32):.1f} GFLOP/s in float32{half}"


class Model(torch.nn.Module):
    def __init__(self, layers, heads, width, context, vocab):
        super().__init__()
        self.heads = heads
        parameter = lambda *shape: torch.nn.Parameter(0.02 * torch.randn(*shape, device=device))
        self.wte, self.wpe = parameter(vocab, width), parameter(context, width)
        linear = lambda i, o: torch.nn.Linear(i, o, device=device)
        norm = lambda: torch.nn.LayerNorm(width, device=device)
        block = lambda: torch.nn.ModuleList(
            [norm(), linear(width, 3 * width), linear(width, width), norm(), linear(width, 4 * width), linear(4 * width, width)]
        )
        self.blocks = torch.nn.ModuleList([block() for _ in range(layers)])
        self.norm, self.score = norm(), linear(width, 1)

    def forward(self, tokens, cache=None):
        """Hidden states [rows, time, width]; `cache`: keys and values of each layer, which grow."""
        past = cache[0][0].shape[2] if cache and cache[0] else 0
        rows, length = tokens.shape
        x = F.embedding(tokens, self.wte) + self.wpe[past : past + length]
        for i, (ln1, qkv, projection, ln2, up, down) in enumerate(self.blocks):
            heads = lambda t: t.view(rows, length, self.heads, -1).transpose(1, 2)
            q, k, v = map(heads, qkv(ln1(x)).chunk(3, dim=-1))
            if cache is not None:
                if cache[i]:
                    k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
                cache[i] = (k, v)
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=past == 0 and length > 1)
            x = x + projection(attended.transpose(1, 2).reshape(rows, length, -1))
            x = x + down(F.gelu(up(ln2(x)), approximate="tanh"))
        return self.norm(x)

    def logprobs(self, hidden, responses):
        logits = hidden @ self.wte.T / 0.7
        return torch.log_softmax(logits, -1).gather(-1, responses[..., None]).squeeze(-1)


def update(policy, reference, scorer, optimizer, queries, response):
    rows, query = queries.shape
    sync()
    start = time.perf_counter()
    with torch.inference_mode():
        parts = []
        for chunk in queries.split(MICRO):
            cache, tokens, last = [None] * len(policy.blocks), [chunk], chunk
            for _ in range(response):
                hidden = policy(last, cache)[:, -1]
                last = torch.multinomial(torch.softmax(hidden @ policy.wte.T / 0.7, -1), 1)
                tokens.append(last)
            tokens = torch.cat(tokens, 1)
            answers = tokens[:, query:]
            state = policy(tokens)[:, query - 1 : -1]
            old, values = policy.logprobs(state, answers), policy.score(state).squeeze(-1)
            ref = reference.logprobs(reference(tokens)[:, query - 1 : -1], answers)
            rewards = -0.15 * (old - ref)
            rewards[:, -1] += scorer.score(scorer(tokens)[:, -1]).squeeze(-1)
            parts.append((tokens, old, values, rewards))
        tokens, old, values, rewards = (torch.cat(p).clone() for p in zip(*parts))
        advantages, last = torch.zeros_like(rewards), 0
        for t in reversed(range(response)):
            following = values[:, t + 1] if t + 1 < response else 0
            last = rewards[:, t] + following - values[:, t] + 0.95 * last
            advantages[:, t] = last
        returns = advantages + values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    everything = [t.clone() for t in (tokens, old, values, advantages, returns)]
    for _ in range(4):
        optimizer.zero_grad(set_to_none=True)
        for tokens, old, values, advantages, returns in zip(*(t.split(MICRO) for t in everything)):
            state = policy(tokens)[:, query - 1 : -1]
            ratio = (policy.logprobs(state, tokens[:, query:]) - old).exp()
            predicted = policy.score(state).squeeze(-1)
            clipped = values + (predicted - values).clamp(-0.2, 0.2)
            value_loss = 0.5 * torch.maximum((predicted - returns) ** 2, (clipped - returns) ** 2).mean()
            policy_loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2)).mean()
            ((policy_loss + 0.1 * value_loss) * (len(tokens) / rows)).backward()
        optimizer.step()
    sync()
    return time.perf_counter() - start


def main():
    if sys.argv[1:] == ["--machine"]:
        return {"machine": machine()}
    layers, heads, width, context, vocab, query, response, episodes = map(int, sys.argv[1:])
    torch.manual_seed(1)
    models = [Model(layers, heads, width, context, vocab) for _ in range(3)]
    optimizer = torch.optim.Adam(models[0].parameters(), lr=1e-5)
    queries = lambda n: torch.randint(0, vocab, (n, query), device=device)
    update(*models, optimizer, queries(min(4, episodes)), response)
    return {"seconds": update(*models, optimizer, queries(episodes), response)}


print(json.dumps(main()))
