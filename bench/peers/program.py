"""`labelstream` as the scripts of this folder run it."""
import json
import os
import subprocess

import texts as files


def run(*words, **environment):
    """The JSON object that a program prints, the last thing it prints."""
    return json.loads(output(*words, **environment))


def output(*words, **environment):
    words = [str(word) for word in words]
    return subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | environment).stdout


class Engine:
    """The engine on a CPU, with a checkpoint and a precision."""

    def __init__(self, program, checkpoint, precision, max_length, work):
        self.program, self.work = program, work
        self.flags = "--checkpoint", checkpoint, "--device", "cpu", "--precision", precision, "--max-length", max_length

    def rate(self, texts, window):
        """Texts a second, of the clock and of the processor; the first window counts as warming up there."""
        figures = self.bench(texts, min(window, len(texts)))
        return {
            "seconds": figures["seconds"], "texts_per_second": figures["texts_per_second"],
            "texts_per_processor_second": figures["texts"] / figures["processor_seconds"],
            "gflops": figures["gflops"], "share_of_peak": figures["share_of_peak"],
        }

    def one_by_one(self, texts):
        milliseconds = self.bench(texts, 1)["batch_milliseconds"]
        return {name: milliseconds[name] for name in ("p50", "p99")}

    def bench(self, texts, batch_size):
        file = self.work / "texts.csv"
        with open(file, "w", encoding="utf-8", newline="") as out:
            files.write(out, texts)
        return run(self.program, "bench", "engine", *self.flags, "--texts", file, "--batch-size", batch_size)

    def labels(self, texts):
        file = self.work / "texts.txt"
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return [json.loads(line)["label"] for line in output(self.program, "classify", file, *self.flags).splitlines()]
