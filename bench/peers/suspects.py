"""Planted label errors: how many of those that `labelstream labels suspects` names are planted ones,
beside cleanlab (pip install cleanlab==2.9.0) on the same out-of-fold probabilities.

    python bench/peers/suspects.py --csv REVIEWS.csv --program target/release/labelstream

Of a sample of the labels 2, 5 and 10% are flipped. Both name their likeliest suspects; as many are
looked at as were flipped. Prints a table with the precision of each, and what each finds by itself.
"""

import argparse
import csv
import json
import random
import subprocess
import tempfile
from pathlib import Path

import numpy
from cleanlab.filter import find_label_issues

parser = argparse.ArgumentParser()
parser.add_argument("--csv", required=True)
parser.add_argument("--program", required=True)
parser.add_argument("--texts", type=int, default=4_000)
parser.add_argument("--encoder", help="a directory of a pretrained encoder")
arguments = parser.parse_args()


def suspects(file, *flags):
    """What the program prints, a JSON object a line."""
    command = [arguments.program, "labels", "suspects", "--data", str(file), *flags]
    if arguments.encoder:
        command += ["--encoder", arguments.encoder]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


with open(arguments.csv, encoding="utf-8-sig", newline="") as file:
    rows = list({row.get("text") or row["review"]: row["label"] for row in csv.DictReader(file)}.items())
random.Random(1).shuffle(rows)
rows = [(text, label) for text, label in rows[: arguments.texts] if text.strip()]
classes = sorted({label for _, label in rows})

print("| flipped | labelstream | cleanlab | named by labelstream | by cleanlab |")
print("|--:|--:|--:|--:|--:|")
for share in (0.02, 0.05, 0.10):
    chance = random.Random(2)
    flipped = set(chance.sample(range(len(rows)), round(share * len(rows))))
    noisy = [
        (text, chance.choice([c for c in classes if c != label]) if index in flipped else label)
        for index, (text, label) in enumerate(rows)
    ]
    planted = {rows[index][0] for index in flipped}
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "noisy.csv"
        with file.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([("text", "label"), *noisy])
        ours = [suspect["text"] for suspect in suspects(file, "--json", "--limit", str(len(rows)))]
        all_texts = suspects(file, "--all")
    names = all_texts[0]["classes"]
    given = numpy.array([names.index(text["label"]) for text in all_texts])
    probabilities = numpy.array([text["probabilities"] for text in all_texts])
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    issues = find_label_issues(
        given, probabilities, return_indices_ranked_by="normalized_margin", filter_by="confident_learning"
    )
    theirs = [all_texts[index]["text"] for index in issues]

    def precision(named):
        looked_at = named[: len(planted)]
        return sum(text in planted for text in looked_at) / max(1, len(looked_at))

    print(f"| {share:.0%} | {precision(ours):.3f} | {precision(theirs):.3f} | {len(ours)} | {len(theirs)} |")
