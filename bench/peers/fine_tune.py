#!/usr/bin/env python3
"""The same recipe from the same initial weights, by `labelstream train` and by transformers'
Trainer: test accuracies, seed by seed.

usage: fine_tune.py LABELSTREAM ENCODER DATA_DIRECTORY WORK_DIRECTORY [--seeds 5] [--train-texts 2000] [--threads 1]

LABELSTREAM is the program; ENCODER a pretrained directory without a head, such as all-MiniLM-L6-v2;
DATA_DIRECTORY holds train_data.csv and test_data.csv (`bench/split.py` makes them of a CSV). Needs
transformers, torch and accelerate.

For each seed a head is drawn and saved with the encoder, and both start from that directory: 3
epochs, batch 32, AdamW 5e-5, decay 0.01 on matrices, 10% warm-up, linear decay, clipping at 1.0, at
most 64 tokens. Without validation texts the last weights are compared, not the best.
"""
import argparse
import math
import random
import statistics
from pathlib import Path

import torch
from transformers import (
    AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed,
)

import program
import texts

EPOCHS, BATCH, RATE, DECAY, WARMUP, CLIP, LENGTH = 3, 32, 5e-5, 0.01, 0.1, 1.0, 64

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("program")
arguments.add_argument("encoder")
arguments.add_argument("data", type=Path)
arguments.add_argument("work", type=Path)
arguments.add_argument("--seeds", type=int, default=5)
arguments.add_argument("--train-texts", type=int, default=2000)
arguments.add_argument("--threads", type=int, default=1)
arguments = arguments.parse_args()
torch.set_num_threads(arguments.threads)

data = arguments.work / "data"
data.mkdir(parents=True, exist_ok=True)
train, test = (texts.read_labeled(arguments.data / f"{name}_data.csv") for name in ("train", "test"))
train = random.Random(0).sample(train, min(arguments.train_texts, len(train)))
for name, rows in ("train", train), ("valid", []), ("test", test):
    texts.write_labeled(data / f"{name}_data.csv", rows)
names = sorted({row["label"] for row in train})
tokenizer = AutoTokenizer.from_pretrained(arguments.encoder)
# Exported with padding to a fixed length, which costs time and changes nothing else.
tokenizer.backend_tokenizer.no_padding()


def initial_weights(seed):
    """A directory that both start from."""
    directory = arguments.work / f"initial-{seed}"
    if not directory.exists():
        set_seed(seed)
        labels = dict(enumerate(names))
        model = AutoModelForSequenceClassification.from_pretrained(
            arguments.encoder, num_labels=len(names), id2label=labels, label2id={name: index for index, name in labels.items()}
        )
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def by_labelstream(base, seed):
    out = arguments.work / f"labelstream-{seed}"
    if not out.exists():
        flags = {
            "--data": data, "--base": base, "--out": out, "--seed": seed, "--epochs": EPOCHS, "--batch-size": BATCH, "--learning-rate": RATE,
            "--weight-decay": DECAY, "--warmup-ratio": WARMUP, "--max-grad-norm": CLIP, "--max-length": LENGTH, "--threads": arguments.threads,
            "--save-limit": 0,
        }
        program.run(arguments.program, "train", *(word for flag in flags.items() for word in flag), "--json")
    words = ["--checkpoint", out, "--data", data / "test_data.csv", "--max-length", LENGTH, "--json"]
    return program.run(arguments.program, "evaluate", *words)["accuracy"]


def by_transformers(base, seed):
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    encode = lambda rows: [
        {**tokenizer(row["text"], truncation=True, max_length=LENGTH), "labels": names.index(row["label"])} for row in rows
    ]
    settings = TrainingArguments(
        output_dir=str(arguments.work / "transformers"), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=RATE,
        weight_decay=DECAY, warmup_steps=math.ceil(WARMUP * EPOCHS * math.ceil(len(train) / BATCH)), max_grad_norm=CLIP, seed=seed,
        lr_scheduler_type="linear", per_device_eval_batch_size=64, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
    )
    trainer = Trainer(
        model, settings, DataCollatorWithPadding(tokenizer), encode(train), encode(test), processing_class=tokenizer,
        compute_metrics=lambda answers: {"accuracy": float((answers.predictions.argmax(-1) == answers.label_ids).mean())},
    )
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]


print("| seed | labelstream | transformers |\n|---|---|---|")
results = []
for seed in range(1, arguments.seeds + 1):
    base = initial_weights(seed)
    results.append((by_labelstream(base, seed), by_transformers(base, seed)))
    print(f"| {seed} | {results[-1][0]:.4f} | {results[-1][1]:.4f} |", flush=True)
ours, theirs = zip(*results)
print(f"| mean | {statistics.mean(ours):.4f} | {statistics.mean(theirs):.4f} |")
differences = [one - other for one, other in results]
error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
print(f"\nmean difference {100 * statistics.mean(differences):+.2f} points, its standard error {100 * error:.2f}; {len(test)} test texts")
