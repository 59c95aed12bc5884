#!/usr/bin/env python3
"""Training steps of labelstream and of PyTorch + transformers, in turn: the same model, texts,
tokens and kind of batches.

usage: training.py PROGRAM DATA BASE [--steps 20] [--rounds 3] [--batch-size 32] [--threads 2] [--max-length 128]

PROGRAM is labelstream, DATA a directory with train_data.csv (label, text), BASE a checkpoint
directory that both fine-tune: the one of a small BERT, or a 12 x 768 of random weights
(`checkpoint.py`). Batches are of texts of similar length from windows of 50 batches, padded to
their longest in PyTorch; AdamW with the decay on matrices alone, clipping at 1. Prints one JSON
object; ratios above 1 mean that labelstream is faster, by the clock and by processor time (medians
of the rounds; on a machine that is busy with other things the latter is the one to trust). Both
sides pass over the same texts once; which of their batches warm up is each side's chance, so rates
in tokens are given too.
"""
import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import program
import texts

WARM_UP = 3


def main():
    arguments = parse()
    if arguments.peer:
        print(json.dumps(peer(arguments)))
        return
    with tempfile.TemporaryDirectory() as directory:
        sample(arguments, Path(directory))
        sys.argv[2] = arguments.data = directory
        measure(arguments)


def sample(arguments, directory):
    """As many texts as the steps take, spread over the file: so both sides pass over the same ones,
    once each."""
    rows = texts.read_labeled(Path(arguments.data) / "train_data.csv")
    count = (WARM_UP + arguments.steps) * arguments.batch_size
    assert len(rows) >= count, f"{count} texts are needed for so many steps"
    for name in ("train_data.csv", "valid_data.csv"):
        texts.write_labeled(directory / name, [rows[len(rows) * index // count] for index in range(count)])


def measure(arguments):
    sides = {"labelstream": [], "torch": []}
    for _ in range(arguments.rounds):
        # With as many threads as it is told, whatever its libraries make of the machine.
        sides["labelstream"].append(program.run(
            arguments.program, "bench", "train", "--data", arguments.data, "--base", arguments.base,
            "--steps", arguments.steps, "--batch-size", arguments.batch_size, "--threads", arguments.threads,
            "--max-length", arguments.max_length, "--device", "cpu",
        ))
        sides["torch"].append(program.run(sys.executable, *sys.argv, "--peer", TOKENIZERS_PARALLELISM="false"))
    median = {
        side: {name: statistics.median(one[name] for one in rounds) for name in RATES} for side, rounds in sides.items()
    }
    ratio = {name: median["labelstream"][name] / median["torch"][name] for name in RATES}
    print(json.dumps({"ratio": ratio, "median": median, "threads": arguments.threads, "rounds": sides}))


RATES = ["texts_per_second", "texts_per_processor_second", "tokens_per_second", "tokens_per_processor_second"]


def peer(arguments):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    random.seed(1)
    rows = texts.read_labeled(Path(arguments.data) / "train_data.csv")
    names = sorted({row["label"] for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    tokenizer.backend_tokenizer.no_padding()
    encode = lambda text: tokenizer(text, truncation=True, max_length=arguments.max_length)["input_ids"]
    model = AutoModelForSequenceClassification.from_pretrained(arguments.base, num_labels=len(names), ignore_mismatched_sizes=True)
    samples = [(encode(row["text"]), names.index(row["label"])) for row in rows]
    batches = texts.batches(samples, arguments.batch_size)

    model.train()
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-5)

    def step(batch):
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
        labels = torch.tensor([label for _, label in batch])
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for batch in batches[:WARM_UP]:
        step(batch)
    wall, processor = time.perf_counter(), time.process_time()
    measured = batches[WARM_UP : WARM_UP + arguments.steps]
    for batch in measured:
        step(batch)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    count = sum(map(len, measured))
    tokens = sum(len(ids) for batch in measured for ids, _ in batch)
    return {
        "steps": len(measured), "texts": count, "tokens": tokens, "seconds": wall, "processor_seconds": processor,
        "texts_per_second": count / wall, "tokens_per_second": tokens / wall,
        "texts_per_processor_second": count / processor, "tokens_per_processor_second": tokens / processor,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": arguments.threads, "version": torch.__version__,
    }


def parse():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("program")
    arguments.add_argument("data")
    arguments.add_argument("base")
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batch-size", type=int, default=32)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--max-length", type=int, default=128)
    arguments.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    return arguments.parse_args()


if __name__ == "__main__":
    main()
