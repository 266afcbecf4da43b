"""A reward in ten lines: happy words less sad ones in a response. One number per line, at once."""
import json
import sys

HAPPY = set("happy smiled laughed loved good great wonderful bright warm kind sunny best joy beautiful sweet".split())
SAD = set("sad cried lost cold dark bad terrible angry alone worst hurt broken afraid tired gray".split())

for line in sys.stdin:
    words = json.loads(line)["response"].lower().replace(".", " ").replace(",", " ").split()
    print(sum((word in HAPPY) - (word in SAD) for word in words), flush=True)
