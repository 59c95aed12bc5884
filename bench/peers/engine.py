#!/usr/bin/env python3
"""The engine beside the best of what one would use instead: the same checkpoint, texts and machine,
tokenizing included.

usage: engine.py CHECKPOINT TEXTS.csv PROGRAM [--count 2048] [--alone 300] [--rounds 3] [--threads 2] [--max-length 64]
                 [--batches 16,32,64] [--work DIR]

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
AGREEMENT = 0.99

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("checkpoint")
parser.add_argument("texts")
parser.add_argument("program")
parser.add_argument("--count", type=int, default=2048)
parser.add_argument("--alone", type=int, default=300)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--max-length", type=int, default=64)
parser.add_argument(
    "--batches", type=lambda words: [int(word) for word in words.split(",")], default=[16, 32, 64]
)
parser.add_argument("--work")
parser.add_argument("--convert", action="store_true", help="only make what is kept in --work")


def main():
    arguments = parser.parse_args()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"missing for {sys.executable}: {' '.join(missing)}\n"
            f"  python3 -m venv peers && peers/bin/pip install {' '.join(PACKAGES)}      (5 GB), then run this with peers/bin/python"
        )
    # All of this process and its children on as many cores as there are threads, before anyone
    # counts the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    # What is compiled for one model is of no use for another.
    with tempfile.TemporaryDirectory() as work:
        work = Path(arguments.work or work)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(work / "inductor"))
        comparison = Comparison(arguments, work)
        if arguments.convert:
            comparison.compile()
        else:
            print(json.dumps(comparison.measure(), indent=2, ensure_ascii=False))


class Comparison:
    def __init__(self, arguments, work):
        import transformers

        import texts
        from runtimes import peers

        transformers.logging.set_verbosity_error()
        self.arguments, self.work = arguments, work
        distinct = list(dict.fromkeys(texts.read(arguments.texts)))
        self.texts = texts.spread(distinct, min(arguments.count, len(distinct)))
        self.alone = texts.spread(self.texts, min(arguments.alone, len(self.texts)))
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
        self.tokens = self.tokenizer.backend_tokenizer
        self.tokens.no_padding()
        self.tokens.enable_truncation(arguments.max_length)
        calibration = self.batches(texts.spread(distinct, CALIBRATION), 1)
        self.peers = peers(
            arguments.checkpoint, work, arguments.threads, [batch for _, batch in calibration]
        )
        work.mkdir(parents=True, exist_ok=True)
        for name, some in (("all", self.texts), ("alone", self.alone)):
            with open(work / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
                texts.write(file, some)
        (work / "all.txt").write_text("\n".join(self.texts) + "\n", encoding="utf-8")

    def compile(self):
        """What is compiled at the first call: for many texts, and for one."""
        say("compiling ...")
        peer = self.peers["pytorch_compiled"]
        for size in (16, 1):
            self.classify(peer.ways["one batch after the other"], size, self.texts[:64])

    def measure(self):
        arguments = self.arguments
        say("choosing how each peer runs ...")
        chosen = {name: self.best(peer) for name, peer in self.peers.items()}
        logits = {name: self.classify(*chosen[name][:2]) for name in self.peers}
        answers = {name: list(rows.argmax(-1)) for name, rows in logits.items()}
        answers |= {
            f"labelstream_{precision}": self.labels(precision) for precision in ("f32", "int8")
        }
        self.check(answers)

        pipeline = self.pipeline()
        everyone = {
            **{
                name: lambda c=c: self.rate(self.texts, lambda: self.classify(*c[:2]))
                for name, c in chosen.items()
            },
            "transformers": lambda: self.rate(self.texts[::8], lambda: pipeline(self.texts[::8])),
            **{
                f"labelstream_{precision}": lambda p=precision: self.engine(p)
                for precision in ("f32", "int8")
            },
        }
        lone = {
            **{name: lambda peer=peer: self.one_by_one(peer) for name, peer in self.peers.items()},
            **{
                f"labelstream_{precision}": lambda p=precision: self.engine_one_by_one(p)
                for precision in ("f32", "int8")
            },
        }
        for peer in self.peers.values():
            self.one_by_one(peer)
        rounds = {name: [] for name in everyone}
        for number in range(arguments.rounds):
            say(f"round {number + 1} of {arguments.rounds} ...")
            for name, work in everyone.items():
                rounds[name].append(work())
            for name, work in lone.items():
                rounds[name][-1] |= work()

        results = {}
        for name, figures in rounds.items():
            results[name] = {"precision": self.peers[name].precision} if name in self.peers else {}
            if name in chosen:
                results[name]["runs"] = f"{chosen[name][2]}, batches of {chosen[name][1]}"
            results[name] |= {
                field: round(statistics.median(one[field] for one in figures), 3)
                for field in figures[0]
            }
            if name in answers:
                results[name]["same_labels_as_labelstream_f32"] = round(
                    agreement(answers[name], answers["labelstream_f32"]), 4
                )
            if name in logits:
                results[name]["greatest_logit_difference_to_pytorch"] = float(
                    abs(logits[name] - logits["pytorch"]).max()
                )
        return {
            "checkpoint": arguments.checkpoint,
            "layers": self.config().num_hidden_layers,
            "hidden_size": self.config().hidden_size,
            "texts": len(self.texts),
            "tokens": sum(len(one.ids) for one in self.tokens.encode_batch_fast(self.texts)),
            "alone": len(self.alone),
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "processor": processor(),
            "factors": self.factors(results),
            "results": results,
            "versions": {name: __import__(name).__version__ for name in PACKAGES},
        }

    def config(self):
        import transformers

        return transformers.AutoConfig.from_pretrained(self.arguments.checkpoint)

    def batches(self, texts, size):
        """Texts sorted by length, the longest first, so that no long batch is left for the end:
        places and arrays of each batch."""
        import numpy

        ids = [one.ids for one in self.tokens.encode_batch_fast(texts)]
        order = sorted(range(len(texts)), key=lambda text: -len(ids[text]))
        batches = []
        for start in range(0, len(order), size):
            places = order[start : start + size]
            arrays = {
                name: numpy.zeros((len(places), len(ids[places[0]])), numpy.int64)
                for name in ("input_ids", "attention_mask")
            }
            for row, place in enumerate(places):
                arrays["input_ids"][row, : len(ids[place])] = ids[place]
                arrays["attention_mask"][row, : len(ids[place])] = 1
            batches.append((places, arrays))
        return batches

    def classify(self, way, size, texts=None):
        """Texts to logits, in their order."""
        import numpy

        batches = self.batches(texts or self.texts, size)
        logits = way([arrays for _, arrays in batches])
        order = numpy.concatenate([places for places, _ in batches])
        sorted_by_place = numpy.empty((len(order), logits[0].shape[1]), numpy.float32)
        sorted_by_place[order] = numpy.concatenate(logits)
        return sorted_by_place

    def best(self, peer):
        """The fastest way and size of batches on a quarter of the texts, the better of two
        passes."""
        some = self.texts[::4]
        tried = []
        for name, way in peer.ways.items():
            for size in self.arguments.batches:
                seconds = min(
                    self.rate(some, lambda: self.classify(way, size, some))["seconds"]
                    for _ in range(2)
                )
                tried.append((seconds, way, size, name))
        return min(tried, key=lambda one: one[0])[1:]

    def rate(self, texts, work):
        """Texts a second, of the clock and of the processor."""
        wall, processor = time.perf_counter(), time.process_time()
        work()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return {
            "seconds": wall,
            "texts_per_second": len(texts) / wall,
            "texts_per_processor_second": len(texts) / processor,
        }

    def one_by_one(self, peer):
        times = []
        for text in self.alone:
            started = time.perf_counter()
            [(_, arrays)] = self.batches([text], 1)
            peer.one(arrays)
            times.append((time.perf_counter() - started) * 1e3)
        return percentiles(times)

    def pipeline(self):
        import transformers

        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            self.arguments.checkpoint
        )
        running = transformers.pipeline(
            "text-classification", model=model, tokenizer=self.tokenizer, device="cpu"
        )
        return lambda texts: running(
            texts, batch_size=32, truncation=True, max_length=self.arguments.max_length
        )

    def engine(self, precision):
        """Our own; the first window counts as warming up there."""
        figures = self.program("all.csv", precision, min(1024, len(self.texts)))
        return {
            "seconds": figures["seconds"],
            "texts_per_second": figures["texts_per_second"],
            "texts_per_processor_second": figures["texts"] / figures["processor_seconds"],
            "gflops": figures["gflops"],
            "share_of_peak": figures["share_of_peak"],
        }

    def engine_one_by_one(self, precision):
        return {
            name: self.program("alone.csv", precision, 1)["batch_milliseconds"][name]
            for name in ("p50", "p99")
        }

    def program(self, texts, precision, batch_size):
        import program

        return program.run(
            self.arguments.program,
            "bench",
            "engine",
            "--checkpoint",
            self.arguments.checkpoint,
            "--texts",
            self.work / texts,
            "--device",
            "cpu",
            "--precision",
            precision,
            "--batch-size",
            batch_size,
            "--max-length",
            self.arguments.max_length,
        )

    def labels(self, precision):
        import program

        found = program.lines(
            self.arguments.program,
            "classify",
            self.work / "all.txt",
            "--checkpoint",
            self.arguments.checkpoint,
            "--device",
            "cpu",
            "--precision",
            precision,
            "--max-length",
            self.arguments.max_length,
        )
        return [self.config().label2id[one["label"]] for one in found]

    def check(self, answers):
        for name, peer in self.peers.items():
            if (
                peer.precision == "f32"
                and agreement(answers[name], answers["labelstream_f32"]) < AGREEMENT
            ):
                sys.exit(
                    f"{name} gives other labels than labelstream to more than {1 - AGREEMENT:.0%} of the texts: not the same model"
                )

    def factors(self, results):
        """Ours over the best peer of the same precision, by texts a second and by the milliseconds
        of a lone text."""
        factors = {}
        for precision in ("f32", "int8"):
            ours = results[f"labelstream_{precision}"]
            those = {
                name: results[name]
                for name, peer in self.peers.items()
                if peer.precision == precision
            }
            best = max(those, key=lambda name: those[name]["texts_per_second"])
            quickest = min(those, key=lambda name: those[name]["p50"])
            factors[precision] = {
                "best_peer": best,
                "factor": ours["texts_per_second"] / those[best]["texts_per_second"],
            }
            factors[f"lone_text_{precision}"] = {
                "best_peer": quickest,
                "factor": those[quickest]["p50"] / ours["p50"],
            }
        f32, pipeline = results["labelstream_f32"], results["transformers"]
        factors["f32_over_pipeline"] = {
            "best_peer": "transformers",
            "factor": f32["texts_per_second"] / pipeline["texts_per_second"],
        }
        return {name: one | {"factor": round(one["factor"], 3)} for name, one in factors.items()}


def agreement(ones, others):
    return sum(int(one) == int(other) for one, other in zip(ones, others, strict=True)) / len(ones)


def percentiles(times):
    times = sorted(times)
    return {
        name: times[max(-(-len(times) * share // 100) - 1, 0)]
        for name, share in (("p50", 50), ("p99", 99))
    }


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")),
            "unknown",
        )


def say(what):
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
