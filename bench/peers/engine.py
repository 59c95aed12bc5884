#!/usr/bin/env python3
"""The engine beside the best of what one would use instead: the same checkpoint, texts and machine,
tokenizing included.

usage: engine.py CHECKPOINT TEXTS.csv PROGRAM [--count 2048] [--alone 300] [--rounds 3]
                 [--threads 2] [--max-length 64] [--batches 16,32,64] [--work DIR] [--convert]

CHECKPOINT is a BERT directory, TEXTS.csv has a column `review` or `text`, PROGRAM is the
`labelstream` program. `--count` texts, no two the same, are spread over the file. Each round runs
everyone once, one after the other; figures are medians over the rounds.

- The peers (`runtimes.py`): PyTorch, eager and compiled with frozen weights; ONNX Runtime on the
  plain export and on what its transformer optimizer makes of it, f32 and dynamically quantised
  int8; OpenVINO with the throughput hint and an asynchronous queue for batches and the latency hint
  for a lone text, f32 and int8 (NNCF, static, calibrated with 300 texts). Texts are tokenized all
  at once, sorted by length and padded to the longest of a batch. Before the rounds each peer tries
  its ways of running with each size of `--batches` on a quarter of the texts and keeps the fastest;
  then it sees every batch once unmeasured.
- f32 is true f32. On a machine with AMX OpenVINO would take bf16 unless told: those figures are
  lines of their own, `openvino_bf16` and `openvino_int8_bf16` (the layers that are not int8 in
  bf16), and no part of the factors.
- transformers: its text-classification pipeline, batches of 32 in the order of the texts, on an
  eighth of them: it is slow.
- labelstream: `labelstream bench engine`, which repeats the work in one process and reports its own
  rate. It is given the texts in windows of 1,024 and sorts inside those.
- A lone text: `p50` and `p99` in milliseconds over `--alone` texts, tokenizing included, each text
  seen once before.

Labels are compared with those of `labelstream classify` in f32; it fails where a peer in f32 gives
other ones to more than 1% of the texts. `processor` rates are texts a second of processor time, for
machines that are busy with other things. Prints one JSON object. Converted models are kept in
`--work`, for the next call (by default in a temporary directory).
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = ["torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf"]
CALIBRATION = 300
WINDOW = 1024
AGREEMENT = 0.99

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("checkpoint")
parser.add_argument("texts")
parser.add_argument("program")
parser.add_argument("--count", type=int, default=2048)
parser.add_argument("--alone", type=int, default=300)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--max-length", type=int, default=64)
parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")], default=[16, 32, 64])
parser.add_argument("--work")
parser.add_argument("--convert", action="store_true", help="only make what is kept in --work")


def main():
    arguments = parser.parse_args()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{sys.executable} lacks: {' '.join(missing)}\n"
            f"  python3 -m venv peers && peers/bin/pip install {' '.join(PACKAGES)}\n"
            "makes an interpreter that has them (6 GB): peers/bin/python"
        )
    # All of this process and its children on as many cores as there are threads, before anyone
    # counts the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    with tempfile.TemporaryDirectory() as work:
        comparison = Comparison(arguments, Path(arguments.work or work))
        if not arguments.convert:
            print(json.dumps(comparison.measure(), indent=2, ensure_ascii=False))


class Comparison:
    def __init__(self, arguments, work):
        import transformers

        import texts
        from batches import Tokenizer
        from program import Engine
        from runtimes import peers

        transformers.logging.set_verbosity_error()
        self.arguments = arguments
        self.config = transformers.AutoConfig.from_pretrained(arguments.checkpoint)
        self.tokenizer = Tokenizer(arguments.checkpoint, arguments.max_length)
        distinct = list(dict.fromkeys(texts.read(arguments.texts)))
        self.texts = texts.spread(distinct, min(arguments.count, len(distinct)))
        self.alone = texts.spread(self.texts, min(arguments.alone, len(self.texts)))
        calibration = self.tokenizer.batches(texts.spread(distinct, CALIBRATION), 1)
        self.peers = peers(arguments.checkpoint, work, arguments.threads, [arrays for _, arrays in calibration])
        self.engines = {
            f"labelstream_{precision}": Engine(arguments.program, arguments.checkpoint, precision, arguments.max_length, work)
            for precision in ("f32", "int8")
        }

    def measure(self):
        say("choosing how each peer runs ...")
        self.chosen = {name: self.best(peer) for name, peer in self.peers.items()}
        # Each sees every batch and every lone text once before it is measured.
        logits = {name: self.classify(name) for name in self.peers}
        for peer in self.peers.values():
            self.one_by_one(peer)
        labels = {name: list(rows.argmax(-1)) for name, rows in logits.items()}
        for name, engine in self.engines.items():
            labels[name] = [self.config.label2id[label] for label in engine.labels(self.texts)]
        same = {name: agreement(ones, labels["labelstream_f32"]) for name, ones in labels.items()}
        for name, peer in self.peers.items():
            if peer.precision == "f32" and same[name] < AGREEMENT:
                sys.exit(f"{name}: only {same[name]:.1%} of its labels are those of labelstream: not the same model")

        rounds = {name: [] for name in [*self.peers, "transformers", *self.engines]}
        pipeline = self.pipeline()
        for number in range(self.arguments.rounds):
            say(f"round {number + 1} of {self.arguments.rounds} ...")
            for name, peer in self.peers.items():
                figures = rate(self.texts, lambda name=name: self.classify(name))
                rounds[name].append(figures | self.one_by_one(peer))
            rounds["transformers"].append(rate(self.texts[::8], lambda: pipeline(self.texts[::8])))
            for name, engine in self.engines.items():
                rounds[name].append(engine.rate(self.texts, WINDOW) | engine.one_by_one(self.alone))

        results = {
            name: {field: round(statistics.median(one[field] for one in figures), 3) for field in figures[0]}
            for name, figures in rounds.items()
        }
        for name, peer in self.peers.items():
            _, size, way = self.chosen[name]
            results[name] |= {
                "precision": peer.precision, "runs": f"{way}, batches of {size}",
                "greatest_logit_difference_to_pytorch": float(abs(logits[name] - logits["pytorch"]).max()),
            }
        for name, share in same.items():
            results[name]["same_labels_as_labelstream_f32"] = round(share, 4)
        return self.report(results)

    def report(self, results):
        return {
            "checkpoint": self.arguments.checkpoint, "layers": self.config.num_hidden_layers,
            "hidden_size": self.config.hidden_size, "texts": len(self.texts),
            "tokens": sum(map(len, self.tokenizer.ids(self.texts))), "lone_texts": len(self.alone),
            "threads": self.arguments.threads, "rounds": self.arguments.rounds, "processor": processor(),
            "factors": self.factors(results), "results": results,
            "versions": {name: __import__(name).__version__ for name in PACKAGES},
        }

    def factors(self, results):
        """Ours over the best peer of the same precision, by texts a second and by the median of a lone text."""
        factors = {}
        for precision in ("f32", "int8"):
            ours = results[f"labelstream_{precision}"]
            rates, medians = (
                {name: results[name][field] for name, peer in self.peers.items() if peer.precision == precision}
                for field in ("texts_per_second", "p50")
            )
            best, quickest = max(rates, key=rates.get), min(medians, key=medians.get)
            factors[precision] = best, ours["texts_per_second"] / rates[best]
            factors[f"lone_text_{precision}"] = quickest, medians[quickest] / ours["p50"]
        pipeline = results["transformers"]["texts_per_second"]
        factors["f32_over_pipeline"] = "transformers", results["labelstream_f32"]["texts_per_second"] / pipeline
        return {name: {"best_peer": peer, "factor": round(factor, 3)} for name, (peer, factor) in factors.items()}

    def classify(self, name):
        way, size, _ = self.chosen[name]
        return self.tokenizer.classify(way, self.texts, size)

    def best(self, peer):
        """The fastest way and size of batches on a quarter of the texts, the better of two passes."""
        some, tried = self.texts[::4], []
        for name, way in peer.ways.items():
            for size in self.arguments.batches:
                passes = [rate(some, lambda way=way, size=size: self.tokenizer.classify(way, some, size)) for _ in range(2)]
                tried.append((max(one["texts_per_second"] for one in passes), (way, size, name)))
        return max(tried, key=lambda one: one[0])[1]

    def one_by_one(self, peer):
        times = []
        for text in self.alone:
            started = time.perf_counter()
            [(_, arrays)] = self.tokenizer.batches([text], 1)
            peer.one(arrays)
            times.append((time.perf_counter() - started) * 1e3)
        return percentiles(times)

    def pipeline(self):
        import transformers

        checkpoint, length = self.arguments.checkpoint, self.arguments.max_length
        running = transformers.pipeline("text-classification", model=checkpoint, tokenizer=checkpoint, device="cpu")
        return lambda texts: running(texts, batch_size=32, truncation=True, max_length=length)


def rate(texts, work):
    """Texts a second, of the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": wall, "texts_per_second": len(texts) / wall, "texts_per_processor_second": len(texts) / processor}


def percentiles(times):
    times = sorted(times)
    return {name: times[max(-(-len(times) * share // 100) - 1, 0)] for name, share in (("p50", 50), ("p99", 99))}


def agreement(ones, others):
    return sum(one == other for one, other in zip(ones, others, strict=True)) / len(ones)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")


def say(what):
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
