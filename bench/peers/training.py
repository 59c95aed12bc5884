#!/usr/bin/env python3
"""What transformers and PyTorch make of the training loop: texts a second over the first steps of an epoch.

usage: training.py train_data.csv [--base DIRECTORY] [--steps 40] [--threads 2] [--max-length 128]

Without a base: 4 layers of 256 over single characters, as `labelstream train --base new-bert`. Batches of 32 of similar length,
padded to their longest text, AdamW, clipping at 1. Prints wall-clock and processor time, the latter for machines that
are busy with other things.
"""
import argparse
import csv
import random
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

arguments = argparse.ArgumentParser()
arguments.add_argument("data")
arguments.add_argument("--base")
arguments.add_argument("--steps", type=int, default=40)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--max-length", type=int, default=128)
arguments = arguments.parse_args()
torch.set_num_threads(arguments.threads)
torch.manual_seed(1)
random.seed(1)

rows = list(csv.DictReader(open(arguments.data, encoding="utf-8")))
names = sorted({row["label"] for row in rows})
if arguments.base:
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    tokenizer.backend_tokenizer.no_padding()
    encode = lambda text: tokenizer(text, truncation=True, max_length=arguments.max_length)["input_ids"]
    model = AutoModelForSequenceClassification.from_pretrained(arguments.base, num_labels=len(names))
else:
    vocabulary = {character: index + 5 for index, character in enumerate(sorted({c for row in rows for c in row["text"]}))}
    encode = lambda text: [2, *(vocabulary[c] for c in text[: arguments.max_length - 2] if not c.isspace()), 3]
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(vocabulary) + 5, hidden_size=256, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=1024, num_labels=len(names),
        )
    )
samples = [(encode(row["text"]), names.index(row["label"])) for row in rows]
random.shuffle(samples)
window = sorted(samples[: 50 * 32], key=lambda sample: len(sample[0]))
batches = [window[start : start + 32] for start in range(0, len(window), 32)]
random.shuffle(batches)

model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)


def step(batch):
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
    labels = torch.tensor([label for _, label in batch])
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


for batch in batches[:3]:
    step(batch)
wall, processor = time.perf_counter(), time.process_time()
measured = batches[3 : 3 + arguments.steps]
for batch in measured:
    step(batch)
wall, processor = time.perf_counter() - wall, time.process_time() - processor
texts = sum(map(len, measured))
print(f"{texts / wall:.1f} texts/s, {texts / processor:.1f} texts a processor second, {arguments.threads} threads")
