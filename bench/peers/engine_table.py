#!/usr/bin/env python3
"""The results of engine.py as Markdown: texts a second, milliseconds of a lone text, and our
factors.

usage: engine_table.py RESULT.json ...
"""

import json
import sys


def main():
    results = [json.load(open(path, encoding="utf-8")) for path in sys.argv[1:]]
    models = [f"{one['layers']} x {one['hidden_size']}" for one in results]
    print(f"{results[0]['processor']}, {results[0]['threads']} threads; {results[0]['versions']}\n")
    table(
        ["texts/s", *models],
        (
            [name] + [f"{one['results'][name]['texts_per_second']:,.4g}" for one in results]
            for name in results[0]["results"]
        ),
    )
    table(
        ["lone text, p50 / p99 ms", *models],
        (
            [name] + [lone(one["results"][name]) for one in results]
            for name in results[0]["results"]
            if "p50" in results[0]["results"][name]
        ),
    )
    table(
        ["same labels as ours in f32", *models],
        (
            [name]
            + [f"{one['results'][name]['same_labels_as_labelstream_f32']:.1%}" for one in results]
            for name, figures in results[0]["results"].items()
            if "same_labels_as_labelstream_f32" in figures
        ),
    )
    table(
        ["ours over the best peer", *models],
        (
            [name] + [factor(one["factors"][name]) for one in results]
            for name in results[0]["factors"]
        ),
    )


def table(header, rows):
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |")
    print()


def lone(figures):
    return f"{figures['p50']:.3g} / {figures['p99']:.3g}"


def factor(one):
    return f"{one['factor']:.2f} ({one['best_peer']})"


main()
