#!/usr/bin/env python3
"""A GPU beside the CPU and beside transformers: what `bench/gpu.sh all` does on the machine with the
GPU, and its parts.

usage: gpu.py all BUILT CHECKPOINT TEXTS.csv [--rounds N] [--count N] [--seconds N] [--no-compile] [--parts NAME ...]
       gpu.py rate CHECKPOINT TEXTS.csv --count N [--compile]     transformers' rate, a round a line of standard input
       gpu.py train CHECKPOINT DATA --steps N --batch-size N      PyTorch's training steps, a round likewise
       gpu.py hold MIB                                            takes all memory of the GPU but this, until its input ends

`all` prints one JSON object; it stands in BUILT/gpu.json too, which is written after each part. Parts:

parity    the labels and logits of GPU and CPU, for CHECKPOINT and a 12 x 768 of random weights with
          its tokenizer: the same labels but for ties, logits within 2e-2
learning  the loss of twenty steps of training on GPU and CPU: the same within 2 in 100
serving   the rate of `labelstream bench engine`, tokenizing included, over the texts and over texts of
          25 Chinese characters, beside transformers in bf16 with SDPA: all texts sorted by length
          and padded to the longest of each batch of 512; and, where all texts are of one length,
          the same compiled. In turn, --rounds times, --count texts each
training  steps of `labelstream bench train` beside PyTorch: bf16 autocast, fused AdamW, padded batches
memory    the GPU's memory in use during a million texts
errors    what the program says without a GPU, and without memory on it
profile   the time of each kernel, by Nsight Compute (ncu)

A part that fails says so in its place, and the others go on. Texts that stand twice in the file are
left out, because labelstream computes those of a batch once.
"""
import argparse
import contextlib
import csv
import glob
import io
import json
import lzma
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import texts as files

BATCH = 512
LOGIT_TOLERANCE = 2e-2
LOSS_TOLERANCE = 2e-2
HERE = Path(__file__).resolve().parent


class Run:
    """What the parts of one call share."""

    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.started = time.perf_counter()
        self.result = {"gpu": smi("name,driver_version,memory.total")}
        self.built = Path(arguments.built)
        self.program = self.unpacked("labelstream")
        self.checkpoint, self.base = arguments.checkpoint, str(work / "base")
        distinct = list(dict.fromkeys(files.read(arguments.texts)))
        self.texts = self.csv("distinct", distinct)
        self.cut = self.csv("cut", dict.fromkeys(cut(distinct)))
        self.lines = "\n".join(files.spread(distinct, 5000)) + "\n"

    def unpacked(self, name):
        packed, program = self.built / f"{name}.xz", self.work / name
        if not packed.exists():
            return None
        with lzma.open(packed) as source, open(program, "wb") as target:
            shutil.copyfileobj(source, target)
        program.chmod(0o755)
        return program

    def csv(self, name, texts):
        path = self.work / f"{name}.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            files.write(file, texts)
        return path

    def part(self, name, work):
        """Does a part, if there is time for it, and keeps what it found."""
        begun = time.perf_counter()
        if begun - self.started > self.arguments.seconds:
            found = {"skipped": "no time was left"}
        else:
            try:
                found = work()
            except Exception as error:
                found = {"failed": str(error)[-2000:]}
        self.result[name] = found
        self.result.setdefault("seconds", {})[name] = round(time.perf_counter() - begun, 1)
        (self.built / "gpu.json").write_text(json.dumps(self.result, ensure_ascii=False, indent=1), encoding="utf-8")
        print(name, json.dumps(found, ensure_ascii=False), file=sys.stderr, flush=True)

    def labelstream(self, *arguments, check=True, before=(), input=None, **changed):
        command = [*before, self.program, *map(str, arguments)]
        done = subprocess.run(
            command, env=environment(**changed), input=input, capture_output=True, text=True, timeout=240
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-1500:]}")
        return done

    def json(self, *arguments):
        return json.loads(self.labelstream(*arguments).stdout)

    # The parts.

    def parity(self):
        command = [sys.executable, HERE / "checkpoint.py", self.checkpoint, self.base]
        subprocess.run(command, stdout=sys.stderr, check=True)
        return {name: self.compared(path) for name, path in [("checkpoint", self.checkpoint), ("12x768", self.base)]}

    def compared(self, checkpoint):
        both = []
        for device in "cpu", "cuda":
            command = ["classify", "--checkpoint", checkpoint, "--device", device, "--scores"]
            done = self.labelstream(*command, input=self.lines)
            both.append([json.loads(line) for line in done.stdout.splitlines()])
        return compare(*both)

    def serving(self, checkpoint, texts, compiles):
        count = self.arguments.count
        peers = {"transformers": self.peer("rate", checkpoint, texts, "--count", count)}
        if compiles:
            peers["transformers, compiled"] = self.peer("rate", checkpoint, texts, "--count", count, "--compile")
        own, rates = [], {name: [] for name in peers}
        with contextlib.ExitStack() as stack:
            peers = {name: stack.enter_context(peer) for name, peer in peers.items()}
            for _ in range(self.arguments.rounds):
                command = ["bench", "engine", "--device", "cuda", "--checkpoint", checkpoint, "--texts", texts]
                own.append(self.json(*command, "--count", count, "--batch-size", 8192))
                for name, peer in peers.items():
                    rates[name].append(peer.round()["texts_per_second"])
        length = own[0]["tokens"] / own[0]["texts"]
        found = statistics.median(one["texts_per_second"] for one in own)
        best = max(rates, key=lambda name: statistics.median(rates[name]))
        return {
            "tokens_per_text": length, "labelstream": [one["texts_per_second"] for one in own], **rates, "best_peer": best,
            "ratio": found / statistics.median(rates[best]), "teraflops": found * length * operations(checkpoint, length) / 1e12,
            "processor_seconds": own[-1]["processor_seconds"], "seconds": own[-1]["seconds"],
        }

    def learning(self):
        """The losses of the same steps, with the same dropout, on CPU and GPU."""
        steps = ["bench", "train", "--data", self.data(), "--base", self.checkpoint, "--steps", 20]
        losses = {
            device: self.json(*steps, "--threads", 1, "--device", device)["mean_loss"] for device in ("cpu", "cuda")
        }
        apart = abs(losses["cpu"] - losses["cuda"]) / losses["cpu"]
        return {**losses, "passed": apart < LOSS_TOLERANCE}

    def training(self, checkpoint, batch_size, steps):
        data = self.data()
        own, others = [], []
        flags = ["--steps", steps, "--batch-size", batch_size]
        with self.peer("train", checkpoint, data, *flags) as peer:
            for _ in range(self.arguments.rounds):
                own.append(self.json("bench", "train", "--device", "cuda", "--data", data, "--base", checkpoint, *flags))
                others.append(peer.round())
        rate = lambda rounds: statistics.median(one["tokens_per_second"] for one in rounds)
        keys = ["texts_per_second", "tokens_per_second", "step_milliseconds", "gflop_per_second", "mean_loss", "texts", "tokens"]
        return {
            "ratio": rate(own) / rate(others),
            "labelstream": [{key: one[key] for key in keys} for one in own], "torch": others,
        }

    def data(self):
        """A directory as `labelstream prepare` writes it."""
        data = self.work / "data"
        if data.exists():
            return data
        data.mkdir()
        with open(self.arguments.texts, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        rows = [{"label": row["label"], "text": " ".join((row.get("text") or row.get("review") or "").split())} for row in rows]
        rows = [row for row in rows if row["text"]]
        random.Random(1).shuffle(rows)
        for name in "train_data.csv", "valid_data.csv":
            files.write_labeled(data / name, rows)
        return data

    def memory(self):
        """In MiB, at a quarter of a million texts and at the end."""
        used, stop = [], threading.Event()

        def watch():
            while not stop.wait(0.25):
                used.append(int(smi("memory.used").split()[0]))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            own = self.json(
                "bench", "engine", "--device", "cuda", "--checkpoint", self.checkpoint, "--texts", self.texts,
                "--count", 1_000_000, "--batch-size", 8192,
            )
        finally:
            stop.set()
            watcher.join()
        busy = [number for number in used if number == max(used) or number > 400] or [0]
        return {
            "texts": own["texts"], "texts_per_second": own["texts_per_second"], "samples": len(busy),
            "early_mib": busy[len(busy) // 4], "late_mib": busy[-max(len(busy) // 8, 2)], "most_mib": max(used, default=0),
            "host_peak_mib": own["peak_memory_mib"],
        }

    def errors(self):
        classify = ["classify", "--checkpoint", self.base, "--device"]
        ask = lambda device, **changed: self.labelstream(*classify, device, check=False, input="好吃，送得很快\n", **changed)
        said = lambda done: {"exit": done.returncode, "output": (done.stdout + done.stderr)[-600:]}
        found = {
            f"no device, {device}": said(ask(device, CUDA_VISIBLE_DEVICES=""))
            for device in ("cuda", "auto")
        }
        for free in 64, 700:
            with self.peer("hold", free) as holder:
                holder.round()
                for device in "cuda", "auto":
                    found[f"{free} MiB free, {device}"] = said(ask(device))
        return found

    def profile(self, checkpoint, texts):
        ncu = ["ncu", "--clock-control", "none", "--metrics", "gpu__time_duration.sum", "--csv", "--page", "raw"]
        engine = ["bench", "engine", "--device", "cuda", "--checkpoint", checkpoint, "--texts", texts]
        done = self.labelstream(*engine, "--count", 2048, "--batch-size", 2048, before=ncu)
        return by_kernel(done.stdout)

    def profile_training(self, checkpoint, batch_size):
        ncu = ["ncu", "--clock-control", "none", "--metrics", "gpu__time_duration.sum", "--csv", "--page", "raw"]
        steps = ["--steps", 1, "--batch-size", batch_size]
        done = self.labelstream(
            "bench", "train", "--device", "cuda", "--data", self.data(), "--base", checkpoint, *steps, before=ncu
        )
        return by_kernel(done.stdout)

    def peer(self, *arguments):
        return Peer([sys.executable, __file__, *map(str, arguments)])


class Peer:
    """A process that does a round for each line it is given, and stays ready between them."""

    def __init__(self, command):
        self.command = command

    def __enter__(self):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        return self

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(f"the peer has ended: {self.errors.read()[-1500:]}")
        return json.loads(line)

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.errors.close()


def everything(arguments):
    with tempfile.TemporaryDirectory() as work:
        run = Run(arguments, Path(work))
        steps = {
            "parity": run.parity,
            "learning": run.learning,
            "serving: 12x768, 25 characters": lambda: run.serving(run.base, run.cut, compiles=not arguments.no_compile),
            "serving: checkpoint, texts": lambda: run.serving(run.checkpoint, run.texts, compiles=False),
            "training: 12x768, 32 texts": lambda: run.training(run.base, 32, 40),
            "training: 12x768, 256 texts": lambda: run.training(run.base, 256, 20),
            "memory": run.memory,
            "errors": run.errors,
            "profile: 12x768, 25 characters": lambda: run.profile(run.base, run.cut),
            "profile: training, 32 texts": lambda: run.profile_training(run.base, 32),
            "serving: 12x768, texts": lambda: run.serving(run.base, run.texts, compiles=False),
        }
        for name in arguments.parts or steps:
            for step in steps:
                if step.startswith(name):
                    run.part(step, steps[step])
        print(json.dumps(run.result, ensure_ascii=False))
        parity = run.result.get("parity", {})
        compared = [*parity.values(), *([run.result["learning"]] if "learning" in run.result else [])]
        if not all(isinstance(found, dict) and found.get("passed") for found in compared):
            sys.exit("GPU and CPU differ, or could not be compared")


def smi(query):
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def environment(**changed):
    """With CUDA's libraries: the toolkit's, else those that PyTorch brings."""
    folders = [f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/lib64", *glob.glob(f"{sys.prefix}/lib/python*/site-packages/nvidia/*/lib")]
    path = ":".join([*folders, os.environ.get("LD_LIBRARY_PATH", "")])
    return {**os.environ, "LD_LIBRARY_PATH": path, **changed}


def operations(checkpoint, length):
    """Of a token, with attention over a text of this length."""
    config = json.loads(Path(checkpoint, "config.json").read_text(encoding="utf-8"))
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    return layers * (8 * hidden**2 + 4 * hidden * inner + 4 * length * hidden)


def cut(texts):
    """All texts end to end, cut every 25 Chinese characters: 27 tokens to a Chinese BERT."""
    characters = "".join(character for text in texts for character in text if "\u4e00" <= character <= "\u9fff")
    return [characters[start : start + 25] for start in range(0, len(characters) - 24, 25)]


def compare(cpu, cuda):
    def logits(answer):
        """Up to a constant, which the softmax loses: those whose mean is 0."""
        logs = [math.log(max(score, 1e-30)) for score in answer["scores"].values()]
        return [log - statistics.fmean(logs) for log in logs]

    greatest, others = 0.0, 0
    differences, first = 0.0, []
    for one, other in zip(cpu, cuda, strict=True):
        pair = logits(one), logits(other)
        greatest = max(greatest, *(abs(a - b) for a, b in zip(*pair)))
        first.append(pair[0][0])
        differences += (pair[0][0] - pair[1][0]) ** 2
        best = sorted(pair[0])
        is_tie = best[-1] - best[-2] < 2 * LOGIT_TOLERANCE
        others += one["label"] != other["label"] and not is_tie
    return {
        "compared": len(cpu), "greatest_logit_difference": greatest, "other_labels": others,
        "mean_difference_over_spread": math.sqrt(differences / len(cpu)) / max(statistics.pstdev(first), 1e-9),
        "passed": not others and greatest < LOGIT_TOLERANCE,
    }


def by_kernel(raw):
    """Calls and microseconds by kernel, from ncu's CSV."""
    rows = list(csv.reader(io.StringIO(raw[raw.index('"ID"'):])))
    name, time_of = rows[0].index("Kernel Name"), rows[0].index("gpu__time_duration.sum")
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3}[rows[1][time_of]]
    sums = {}
    for row in rows[2:]:
        if len(row) > time_of:
            calls, total = sums.get(row[name][:60], (0, 0.0))
            sums[row[name][:60]] = calls + 1, total + float(row[time_of].replace(",", "")) * scale
    return {name: [calls, round(total, 1)] for name, (calls, total) in sorted(sums.items(), key=lambda item: -item[1][1])}


def rounds(work):
    """Does the work once for each line of the input, and prints what it gives."""
    for _ in sys.stdin:
        print(json.dumps(work()), flush=True)


def rate(arguments):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_padding()
    model = AutoModelForSequenceClassification.from_pretrained(
        arguments.checkpoint, dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model = model.eval().cuda()
    length = model.config.max_position_embeddings
    if arguments.compile:
        model = torch.compile(model, mode="max-autotune-no-cudagraphs" if arguments.tune else None)
    texts = files.read(arguments.texts, arguments.count)

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
        return torch.cat(logits).cpu()

    classify(texts[: 16 * BATCH])
    classify(texts[: len(texts) % BATCH or BATCH])

    def once():
        started = time.perf_counter()
        classify(texts)
        return {"texts_per_second": len(texts) / (time.perf_counter() - started), "torch": torch.__version__}

    rounds(once)


def train(arguments):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    warm_up = 3
    torch.manual_seed(1)
    random.seed(1)
    rows = files.read_labeled(Path(arguments.data) / "train_data.csv")
    names = sorted({row["label"] for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    tokenizer.backend_tokenizer.no_padding()
    ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=128)["input_ids"]
    samples = [(one, names.index(row["label"])) for one, row in zip(ids, rows)]
    model = AutoModelForSequenceClassification.from_pretrained(arguments.checkpoint, num_labels=len(names), attn_implementation="sdpa")
    model = model.cuda().train()
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=True)

    def step(batch):
        longest = max(len(ids) for ids, _ in batch)
        tensor = lambda values: torch.tensor(values).pin_memory().cuda(non_blocking=True)
        ids = tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        mask = tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
        labels = tensor([label for _, label in batch])
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def once():
        batches = files.batches(samples, arguments.batch_size)
        for batch in batches[:warm_up]:
            step(batch)
        torch.cuda.synchronize()
        started = time.perf_counter()
        measured = batches[warm_up : warm_up + arguments.steps]
        for batch in measured:
            step(batch)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        tokens = sum(len(ids) for batch in measured for ids, _ in batch)
        return {
            "texts_per_second": sum(map(len, measured)) / seconds, "tokens_per_second": tokens / seconds,
            "milliseconds": 1e3 * seconds / len(measured), "torch": torch.__version__,
        }

    rounds(once)


def hold(arguments):
    import torch

    held = []

    def once():
        free, _ = torch.cuda.mem_get_info()
        held.append(torch.empty(max(free - arguments.mib * 2**20, 0), dtype=torch.uint8, device="cuda"))
        return {"free": torch.cuda.mem_get_info()[0]}

    rounds(once)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("all")
    part.add_argument("built")
    part.add_argument("checkpoint")
    part.add_argument("texts")
    part.add_argument("--rounds", type=int, default=3)
    part.add_argument("--count", type=int, default=100_000)
    part.add_argument("--seconds", type=float, default=480)
    part.add_argument("--parts", nargs="*", help="the parts to do, by the starts of their names, instead of all")
    part.add_argument("--no-compile", action="store_true")
    part = parts.add_parser("rate")
    part.add_argument("checkpoint")
    part.add_argument("texts")
    part.add_argument("--count", type=int)
    part.add_argument("--compile", action="store_true")
    part.add_argument("--tune", action="store_true")
    part = parts.add_parser("train")
    part.add_argument("checkpoint")
    part.add_argument("data")
    part.add_argument("--steps", type=int, default=40)
    part.add_argument("--batch-size", type=int, default=32)
    part = parts.add_parser("hold")
    part.add_argument("mib", type=int)
    arguments = parser.parse_args()
    {"all": everything, "rate": rate, "train": train, "hold": hold}[arguments.part](arguments)


if __name__ == "__main__":
    main()
