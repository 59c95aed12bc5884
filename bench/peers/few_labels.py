"""The first hundred labels: `labelstream train --encoder` beside the linear model and SetFit (pip
install setfit), the same draws and the same encoder.

    python bench/peers/few_labels.py --csv REVIEWS.csv --encoder DIR --program target/release/labelstream

A fifth of the distinct texts, by a hash, is for testing; of the others N are drawn and keep their
labels, a tenth of them as validation texts, and all others are texts without labels. SetFit learns
from all N; its encoder is tuned with its own defaults, 150 steps of 16 pairs at most, then a logistic
regression. Prints accuracy, macro-F1 and seconds of training, means over the draws; the time of
`--encoder` is that of a first training, with no vector kept.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--csv", required=True)
parser.add_argument("--encoder", required=True)
parser.add_argument("--program", required=True)
parser.add_argument("--labels", default="100,300")
parser.add_argument("--draws", type=int, default=2)
parser.add_argument("--tune", action="store_true", help="tune the encoder in our training, too")
parser.add_argument("--without-setfit", action="store_true")
arguments = parser.parse_args()

with open(arguments.csv, encoding="utf-8-sig", newline="") as file:
    rows = list({(row.get("text") or row["review"]).strip(): row["label"] for row in csv.DictReader(file)}.items())
rows = [(text, label) for text, label in rows if text]
is_test = lambda text: int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0
test = [row for row in rows if is_test(row[0])]
pool = [row for row in rows if not is_test(row[0])]


def write(path, rows):
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *rows])


def run(*command, cache):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def ours(place, flags):
    """Accuracy, macro-F1 and seconds of a training of our own."""
    out, cache = tempfile.mkdtemp(dir=place) + "/model", tempfile.mkdtemp(dir=place)
    started = time.time()
    run(arguments.program, "train", "--data", str(place), "--out", out, *flags, cache=cache)
    seconds = time.time() - started
    evaluate = (arguments.program, "evaluate", "--checkpoint", out, "--data", str(place / "test.csv"), "--json")
    evaluation = json.loads(run(*evaluate, cache=cache))
    return evaluation["accuracy"], evaluation["macro_f1"], seconds


def setfit(labeled, seed):
    """The same of SetFit."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.metrics import accuracy_score, f1_score

    classes = sorted({label for _, label in labeled})
    data = Dataset.from_dict(
        {"text": [text for text, _ in labeled], "label": [classes.index(label) for _, label in labeled]}
    )
    started = time.time()
    model = SetFitModel.from_pretrained(arguments.encoder)
    model.model_body.max_seq_length = 128
    settings = TrainingArguments(
        batch_size=16, max_steps=150, seed=seed, save_strategy="no", report_to="none", output_dir=tempfile.mkdtemp()
    )
    Trainer(model=model, args=settings, train_dataset=data).train()
    seconds = time.time() - started
    answers = [int(answer) for answer in model.predict([text for text, _ in test], batch_size=64)]
    truth = [classes.index(label) for _, label in test]
    return accuracy_score(truth, answers), f1_score(truth, answers, average="macro"), seconds


print("| labels | model | accuracy | macro-F1 | seconds |")
print("|--:|---|--:|--:|--:|", flush=True)
for labels in map(int, arguments.labels.split(",")):
    results = {}
    for draw in range(arguments.draws):
        order = pool[:]
        random.Random(draw * 1000 + labels).shuffle(order)
        labeled, unlabeled, valid = order[:labels], order[labels:], max(1, labels // 10)
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            write(place / "train_data.csv", labeled[valid:])
            write(place / "valid_data.csv", labeled[:valid])
            write(place / "unlabeled.csv", unlabeled)
            write(place / "test.csv", test)
            flags = ["--base", "new", "--encoder", arguments.encoder, "--unlabeled", str(place / "unlabeled.csv")]
            results.setdefault("linear", []).append(ours(place, ["--base", "new-linear"]))
            results.setdefault("encoder", []).append(ours(place, flags))
            if arguments.tune:
                results.setdefault("encoder, tuned", []).append(ours(place, [*flags, "--tune"]))
        if not arguments.without_setfit:
            results.setdefault("SetFit", []).append(setfit(labeled, draw))
    for model, figures in results.items():
        accuracy, f1, seconds = (sum(column) / len(figures) for column in zip(*figures))
        print(f"| {labels} | {model} | {accuracy:.4f} | {f1:.4f} | {seconds:.1f} |", flush=True)
