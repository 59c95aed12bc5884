#!/usr/bin/env python3
"""The engine beside what one would use instead: the same checkpoint, texts and machine, tokenizing included.

usage: engine.py CHECKPOINT TEXTS.csv PROGRAM [--count 2048] [--rounds 3] [--max-length 64] [--threads 2] [--batch 64] [--alone 300]

CHECKPOINT is a BERT directory, TEXTS.csv has a column `review` or `text`, PROGRAM is the `labelstream` program. The texts are
spread over the file. Each round runs everyone once, one after the other; the ratios are those of the medians over the rounds.

- transformers: its text-classification pipeline, batches of 32 in the order of the texts (on an eighth of them: it is slow).
- pytorch, onnx_f32, onnx_int8: all texts tokenized at once, sorted by length, batches of `--batch`, padded to
  the longest of the batch; int8 is ONNX Runtime's dynamic quantisation.
- labelstream: `labelstream bench engine`, which repeats the work in one process and reports its own rate. It is given the texts
  in windows of 1,024 and sorts inside those.
- one text at a time: the median over `--alone` texts, tokenizing included.

`processor` rates are texts a second of processor time, for machines that are busy with other things: with `--threads 1` they can
be compared where wall-clock time cannot. Prints one JSON object.

Needs a private environment: python3 -m venv .venv && .venv/bin/pip install torch transformers onnx onnxruntime
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkpoint")
parser.add_argument("texts")
parser.add_argument("program")
parser.add_argument("--count", type=int, default=2048)
parser.add_argument("--alone", type=int, default=300)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--max-length", type=int, default=64)
parser.add_argument("--threads", type=int, default=os.cpu_count())
arguments = parser.parse_args()

# All of this process and its children on as many cores as there are threads, before anyone counts the cores.
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import onnx
import onnxruntime
import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

transformers.logging.set_verbosity_error()
torch.set_num_threads(arguments.threads)


def read():
    with open(arguments.texts, encoding="utf-8-sig") as file:
        rows = [(row.get("review") or row.get("text") or "").strip() or "。" for row in csv.DictReader(file)]
    stride = max(len(rows) // arguments.count, 1)
    return [rows[number * stride % len(rows)] for number in range(arguments.count)]


def export(model, directory):
    """The model as ONNX: f32, and with weights in 8 bits."""
    full, prepared, rounded = (str(directory / name) for name in ("f32.onnx", "prepared.onnx", "int8.onnx"))
    ids = torch.ones((2, 8), dtype=torch.int64)
    torch.onnx.export(
        model, (ids, torch.ones_like(ids)), full, dynamo=False, input_names=["input_ids", "attention_mask"],
        output_names=["logits"], dynamic_axes={name: {0: "texts", 1: "tokens"} for name in ("input_ids", "attention_mask")},
    )
    quant_pre_process(full, prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, rounded, weight_type=QuantType.QInt8, per_channel=True)
    return full, rounded


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    running = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda batch: running.run(None, {name: batch[name].numpy() for name in ("input_ids", "attention_mask")})[0]


def pytorch(batch):
    with torch.inference_mode():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()


def tokenize(texts, **options):
    return tokenizer(texts, truncation=True, max_length=arguments.max_length, return_token_type_ids=False, **options)


def in_batches(forward):
    """Classifies all texts, sorted by length; the logits in the order of the texts."""
    encoded = tokenize(texts)["input_ids"]
    order = sorted(range(len(texts)), key=lambda text: len(encoded[text]))
    logits = [None] * len(texts)
    for start in range(0, len(order), arguments.batch):
        batch = order[start : start + arguments.batch]
        padded = tokenizer.pad({"input_ids": [encoded[text] for text in batch]}, return_tensors="pt")
        for text, row in zip(batch, forward(padded)):
            logits[text] = row
    return logits


def with_pipeline():
    some = texts[:: 8]
    pipeline(some, batch_size=32, truncation=True, max_length=arguments.max_length)
    return some


def alone(forward):
    times = []
    for text in texts[: arguments.alone]:
        started = time.perf_counter()
        forward(tokenize([text], return_tensors="pt"))
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def measured(work):
    """Texts a second, of the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    done = len(work())
    return {"rate": done / (time.perf_counter() - wall), "processor": done / (time.process_time() - processor)}


def labelstream(precision, count, batch_size):
    run = subprocess.run(
        [arguments.program, "bench", "engine", "--checkpoint", arguments.checkpoint, "--texts", arguments.texts,
         "--device", "cpu", "--precision", precision, "--count", str(count), "--batch-size", str(batch_size),
         "--max-length", str(arguments.max_length)],
        check=True, capture_output=True, text=True,
    )
    return json.loads(run.stdout)


def engine(precision):
    # No batch holds a text twice: the same ones of a batch are computed once.
    figures = labelstream(precision, arguments.count, min(1024, arguments.count))
    # The first window counts as warming up there, as a first call does here.
    return {"rate": figures["texts_per_second"], "processor": figures["texts"] / figures["processor_seconds"],
            "share_of_peak": figures["share_of_peak"], "gflops": figures["gflops"]}


texts = read()
tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
tokenizer.backend_tokenizer.no_padding()
tokenizer.backend_tokenizer.no_truncation()
model = transformers.AutoModelForSequenceClassification.from_pretrained(arguments.checkpoint).eval()
pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
with tempfile.TemporaryDirectory() as directory:
    files = export(model, Path(directory))
    forward = {"pytorch": pytorch, **dict(zip(("onnx_f32", "onnx_int8"), map(session, files)))}

reference = in_batches(pytorch)
differences = {name: float(max(abs(a - b).max() for a, b in zip(in_batches(f), reference))) for name, f in forward.items()}
everyone = {
    "transformers": lambda: measured(with_pipeline),
    **{name: lambda f=f: measured(lambda: in_batches(f)) for name, f in forward.items()},
    **{f"labelstream_{precision}": lambda p=precision: engine(p) for precision in ("f32", "int8")},
}
one_text = {
    **{name: lambda f=f: alone(f) for name, f in forward.items()},
    **{f"labelstream_{p}": lambda p=p: labelstream(p, arguments.alone, 1)["batch_milliseconds"]["p50"] for p in ("f32", "int8")},
}
rounds = {name: [] for name in everyone}
latencies = {name: [] for name in one_text}
for number in range(arguments.rounds):
    for name, measure in everyone.items():
        rounds[name].append(measure())
    for name, measure in one_text.items():
        latencies[name].append(measure())

median = lambda name, field: statistics.median(round[field] for round in rounds[name])
rates = {name: {field: round(median(name, field), 3) for field in rounds[name][0]} for name in rounds}
latency = {name: round(statistics.median(values), 3) for name, values in latencies.items()}


def ratios(field):
    rate = {name: rates[name][field] for name in rates}
    return {
        "f32_over_the_better_of_pytorch_and_onnx": rate["labelstream_f32"] / max(rate["pytorch"], rate["onnx_f32"]),
        "f32_over_transformers": rate["labelstream_f32"] / rate["transformers"],
        "int8_over_onnx_int8": rate["labelstream_int8"] / rate["onnx_int8"],
    }


rounded = lambda figures: {name: round(figure, 3) for name, figure in figures.items()}
print(json.dumps({
    "checkpoint": arguments.checkpoint, "texts": len(texts), "tokens": sum(map(len, tokenize(texts)["input_ids"])),
    "threads": arguments.threads, "rounds": arguments.rounds,
    "texts_per_second": rates, "one_text_milliseconds": latency,
    "ratios": rounded(ratios("rate")), "processor_ratios": rounded(ratios("processor")),
    "latency_ratios": rounded({"f32_to_onnx_f32": latency["onnx_f32"] / latency["labelstream_f32"]}),
    "greatest_logit_differences_to_pytorch": differences,
    "versions": {module.__name__: module.__version__ for module in (torch, transformers, onnxruntime, onnx)},
}, indent=2))
