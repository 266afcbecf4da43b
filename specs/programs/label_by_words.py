"""A labeler in ten lines: of the responses to a query, the one with the most happy words and the fewest sad ones."""
import json
import sys

HAPPY = set("happy smiled laughed loved good great wonderful bright warm kind sunny best joy beautiful sweet".split())
SAD = set("sad cried lost cold dark bad terrible angry alone worst hurt broken afraid tired gray".split())

for line in sys.stdin:
    question = json.loads(line)
    words = [set(text.lower().replace(".", " ").replace(",", " ").split()) for text in question["candidates"]]
    scores = [len(text & HAPPY) - len(text & SAD) for text in words]
    print(json.dumps({"id": question["id"], "best": scores.index(max(scores))}), flush=True)
