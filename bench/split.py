#!/usr/bin/env python3
"""Splits a CSV of labeled texts the way the reference figures were made: by the SHA-256 of the text
without white space.

usage: split.py FILE.csv DIRECTORY     (the text column is `text` or `review`)

The first 8 hex digits mod 100: below 10 test, 10 to 19 valid, the rest train. Of a repeated text
the first row counts.
"""
import csv
import hashlib
import os
import sys

source, directory = sys.argv[1:]
os.makedirs(directory, exist_ok=True)
files = {name: open(f"{directory}/{name}_data.csv", "w", newline="", encoding="utf-8") for name in ("train", "valid", "test")}
writers = {name: csv.writer(file) for name, file in files.items()}
seen = set()
counts = dict.fromkeys(files, 0)
for writer in writers.values():
    writer.writerow(["label", "text"])
with open(source, newline="", encoding="utf-8-sig") as rows:
    for row in csv.DictReader(rows):
        text = row.get("text") or row.get("review") or ""
        digest = hashlib.sha256("".join(text.split()).encode()).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        bucket = int(digest[:8], 16) % 100
        name = "test" if bucket < 10 else "valid" if bucket < 20 else "train"
        writers[name].writerow([row["label"], text])
        counts[name] += 1
print(counts)
