"""The CSV files that the scripts of this folder read and write."""

import csv
import random


def read(path, count=None):
    """Texts of the column `text` or `review`, each on one line: `count` of them spread over the
    file, which is started over where it is shorter."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        texts = [
            " ".join((row.get("text") or row.get("review") or "").split())
            for row in csv.DictReader(file)
        ]
    return spread([text for text in texts if text], count)


def spread(texts, count):
    stride = max(len(texts) // (count or len(texts)), 1)
    return [texts[number * stride % len(texts)] for number in range(count or len(texts))]


def write(file, texts):
    """A CSV with the column `text`."""
    writer = csv.writer(file)
    writer.writerow(["text"])
    writer.writerows([text] for text in texts)


def read_labeled(path):
    """Rows with the columns `label` and `text`."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_labeled(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["label", "text"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def batches(samples, size, window=50):
    """Batches of samples (token ids, class) of similar length, in random order: windows of so many
    batches are sorted by length."""
    samples, found = random.sample(samples, len(samples)), []
    for start in range(0, len(samples), window * size):
        part = sorted(samples[start : start + window * size], key=lambda sample: len(sample[0]))
        found += [part[first : first + size] for first in range(0, len(part), size)]
    return random.sample(found, len(found))
