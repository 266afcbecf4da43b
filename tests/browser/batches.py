"""Made-up batches of questions, in the format of docs/batches.md: for the tests of the labelers' page and its load."""

import json
import random
from pathlib import Path

ENDINGS = [
    "She laughed, opened the window and let the whole orchard in.",
    "The bread was burnt again, and nobody said a word about it.",
    "He found the letter under the lamp, and it was from his brother.",
    "Rain came through the roof until noon, drop by drop.",
    "They danced until the lanterns were low and the road was light.",
    "It was a long, dull walk, and the bridge was shut at the end of it.",
]
INSTRUCTIONS = """# What to do

Read the text, then choose the **best** continuation.

- A good one is *cheerful* and makes sense.
- Do not mind small mistakes; `...` is fine.
- <b>Nothing here</b> is HTML: <script>alert(1)</script>

1. Read all of them.
2. Choose. See [the guide](https://example.org/guide).
"""
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script> & "quotes" \'n\' <b>bold</b>'


def text(words):
    return {"text": words, "ids": []}


def item(name, seed, candidates=4, hostile=False, words=40):
    rng = random.Random(f"{seed}/{name}")
    query = " ".join(rng.choice(ENDINGS) for _ in range(max(words // 10, 1)))
    found = [text(rng.choice(ENDINGS) + f" ({name}, {i})") | {"source": "reference"} for i in range(candidates)]
    if hostile:
        query, found[0]["text"] = HOSTILE, HOSTILE
    order = list(range(candidates))
    rng.shuffle(order)
    return {"id": name, "query": text(query), "candidates": found, "order": order}


def batch(directory, name, items, labelers_per_item=1, instructions=INSTRUCTIONS):
    """Writes a batch; batch.json comes last, as the format asks."""
    folder = Path(directory) / name
    folder.mkdir(parents=True)
    with open(folder / "items.jsonl", "w") as file:
        for it in items:
            file.write(json.dumps(it) + "\n")
    about = {
        "batch_version": 1, "id": name, "purpose": "training", "items": len(items), "labelers_per_item": labelers_per_item,
        "spec": "test", "spec_hash": "", "policy_hash": "", "tokenizer_hash": "", "update": 0, "temperature": 0.7, "seed": 1,
        "instructions": instructions, "instructions_version": "1", "created_at": "2026-01-01T00:00:00Z",
    }
    (folder / "batch.json").write_text(json.dumps(about))
    return folder


def with_checks(prefix, count, gold_every=8, repeat_every=10, **more):
    """Questions, gold items among them, and repeats of some in another order at the end."""
    items = [item(f"{prefix}-{i:05}", 1, hostile=i == 1, **more) for i in range(count)]
    for i in range(0, count, gold_every):
        items.insert(i, item(f"{prefix}-gold-{i:05}", 2, **more) | {"gold": 2})
    plain = [it for it in items if "gold" not in it]
    for it in plain[::repeat_every]:
        items.append(it | {"id": it["id"] + "-again", "order": it["order"][::-1], "repeat_of": it["id"]})
    return items
