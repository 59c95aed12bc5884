#!/usr/bin/env python3
"""The parts of bench/gpu.sh that are in Python, the peer among them: transformers on a GPU in bf16
with SDPA, all texts tokenized, sorted by length and padded to the longest of each batch of 512.

usage: gpu.py rate CHECKPOINT TEXTS.csv [--count N]    the peer's rate, tokenizing included
       gpu.py lines TEXTS.csv [--count N]              texts, one a line
       gpu.py distinct TEXTS.csv                       a CSV of the texts, each once
       gpu.py cut TEXTS.csv                            a CSV of distinct texts of 25 characters: 27 tokens to a Chinese BERT
       gpu.py compare CPU CUDA                         answers of `labelstream classify --scores`; fails where they differ
       gpu.py ratio CHECKPOINT NAME                    from the rates on standard input, one JSON object a rate
       gpu.py report                                   one JSON object of those on standard input
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import time

import texts as files

BATCH = 512
LOGIT_TOLERANCE = 2e-2


def rate(checkpoint, path, count):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_padding()
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model = model.eval().cuda()
    texts = files.read(path, count)
    length = model.config.max_position_embeddings

    @torch.inference_mode()
    def classify(texts):
        ids = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        order = sorted(range(len(ids)), key=lambda text: -len(ids[text]))
        logits = []
        for start in range(0, len(order), BATCH):
            batch = {"input_ids": [ids[text] for text in order[start : start + BATCH]]}
            batch = tokenizer.pad(batch, return_tensors="pt")
            batch = {name: tensor.pin_memory().cuda(non_blocking=True) for name, tensor in batch.items()}
            logits.append(model(**batch).logits.float())
        # The only wait for the device.
        return torch.cat(logits).cpu(), sum(map(len, ids))

    classify(texts[: 16 * BATCH])
    started = time.perf_counter()
    _, tokens = classify(texts)
    seconds = time.perf_counter() - started
    return {
        "peer": True, "texts_per_second": len(texts) / seconds, "tokens_per_second": tokens / seconds,
        "device": torch.cuda.get_device_name(), "torch": torch.__version__,
    }


def cut(path):
    """All texts end to end, cut every 25 characters."""
    characters = [character for text in files.read(path) for character in text if "\u4e00" <= character <= "\u9fff"]
    if len(characters) < 25:
        sys.exit("there are no Chinese characters to cut texts from")
    distinct_csv("".join(characters[start : start + 25]) for start in range(0, len(characters) - 24, 25))


def distinct(path):
    distinct_csv(files.read(path))


def distinct_csv(texts):
    files.write(sys.stdout, dict.fromkeys(texts))


def compare(cpu, cuda):
    def answers(path):
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def logits(answer):
        """Up to a constant, which the softmax loses: those whose mean is 0."""
        logs = [math.log(max(score, 1e-30)) for score in answer["scores"].values()]
        return [log - statistics.fmean(logs) for log in logs]

    greatest, others, count = 0.0, 0, 0
    for one, other in zip(answers(cpu), answers(cuda), strict=True):
        count += 1
        pair = logits(one), logits(other)
        greatest = max(greatest, *(abs(a - b) for a, b in zip(*pair)))
        best = sorted(pair[0])
        is_tie = best[-1] - best[-2] < 2 * LOGIT_TOLERANCE
        others += one["label"] != other["label"] and not is_tie
    result = {"compared": count, "greatest_logit_difference": greatest, "other_labels": others}
    print(json.dumps(result), file=sys.stderr)
    if others or not greatest < LOGIT_TOLERANCE:
        sys.exit("GPU and CPU differ")
    return result


def ratio(checkpoint, name):
    rates = [json.loads(line) for line in objects(sys.stdin.read())]
    own, peer = ([rate["texts_per_second"] for rate in rates if rate.get("peer", False) is is_peer] for is_peer in (False, True))
    with open(f"{checkpoint}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    first = next(rate for rate in rates if not rate.get("peer"))
    length = first["tokens"] / first["texts"]
    # Of a token, with attention over a text of the mean length.
    operations = layers * (8 * hidden**2 + 4 * hidden * inner + 4 * length * hidden)
    median = statistics.median(own)
    return {
        "name": name, "tokens_per_text": length, "labelstream": own, "transformers": peer,
        "ratio": median / statistics.median(peer), "teraflops": median * length * operations / 1e12,
    }


def objects(text):
    """JSON objects one after the other, in as many lines as they like: each in one."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        found, end = decoder.raw_decode(text, at)
        yield json.dumps(found)
        at = end + len(text[end:]) - len(text[end:].lstrip())


def report():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    parity, *rates = [json.loads(line) for line in sys.stdin]
    return {"gpu": subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip(), "parity": parity, "rates": rates}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["rate", "lines", "distinct", "cut", "compare", "ratio", "report"])
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    if arguments.part == "rate":
        result = rate(*arguments.paths, arguments.count)
    elif arguments.part == "lines":
        return print("\n".join(files.read(*arguments.paths, arguments.count)))
    else:
        result = globals()[arguments.part](*arguments.paths)
    if result is not None:
        print(json.dumps(result, ensure_ascii=False))


main()
