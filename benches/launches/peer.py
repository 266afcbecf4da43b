"""Operators that PyTorch's eager GPT-2 asks for, beside the launches that `cargo bench --bench launches` counts: on a GPU
each is a kernel or more. Views move nothing and are not counted. Two numbers of layers give what a layer adds.

    peer/bin/python benches/launches/peer.py        # requirements: benches/peer/requirements.txt
"""

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

ROWS, QUERY, RESPONSE, VOCAB, WIDTH = 4, 20, 4, 1000, 64


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        returns = func._schema.returns
        view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        self.count += not view and func.overloadpacket.__name__ not in ("detach", "_to_copy_view", "lift_fresh")
        return func(*args, **(kwargs or {}))


def model(layers):
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_embd=WIDTH, n_layer=layers, n_head=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )
    return transformers.GPT2LMHeadModel(config)


def counted(work):
    with Operators() as operators:
        work()
    return operators.count


def token(layers):
    policy, ids = model(layers).eval(), torch.randint(0, VOCAB, (ROWS, QUERY))
    with torch.inference_mode(False), torch.no_grad():
        cache = policy(ids, use_cache=True).past_key_values
        last = ids[:, -1:]

        def step():
            logits = policy(last, past_key_values=cache, use_cache=True).logits[:, -1] / 0.7
            probabilities = torch.softmax(logits, -1)
            torch.multinomial(probabilities, 1)

        return counted(step)


def training(layers):
    """A pass with its gradients, and Adam's step as PyTorch makes it by default (foreach on a GPU: one for all)."""
    policy, ids = model(layers), torch.randint(0, VOCAB, (ROWS, QUERY + RESPONSE))

    def one():
        logits = policy(ids).logits[:, QUERY - 1 : -1] / 0.7
        logprobs = torch.log_softmax(logits, -1).gather(-1, ids[:, QUERY:, None]).squeeze(-1)
        ratio = (logprobs - logprobs.detach()).exp()
        torch.max(-ratio, -ratio.clamp(0.8, 1.2)).mean().backward()

    one()
    backward = counted(one)
    adam = torch.optim.Adam(policy.parameters(), lr=1e-5, foreach=False)
    adam.step()
    return backward, counted(adam.step)


def profiled(layers):
    """What torch.profiler says of the same pass: operators that call no other one."""
    policy, ids = model(layers), torch.randint(0, VOCAB, (ROWS, QUERY + RESPONSE))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        policy(ids).logits.sum().backward()
    return sum(1 for e in seen.events() if e.name.startswith("aten::") and not e.cpu_children)


def main():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for name, f in (
        ("token of a response", token),
        ("training pass", lambda n: training(n)[0]),
        ("Adam step", lambda n: training(n)[1]),
        ("leaves of torch.profiler in a pass", profiled),
    ):
        one, two, three = f(1), f(2), f(3)
        print(f"{name}: {two - one} per layer, {2 * one - two} once; 3 layers: {three}, predicted {3 * (two - one) + 2 * one - two}")


if __name__ == "__main__":
    main()
