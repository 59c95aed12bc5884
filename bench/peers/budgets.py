#!/usr/bin/env python3
"""What scikit-learn reaches on the folds of `bench budgets`, and what each idea in our recipe is
worth.

usage: budgets.py waimai_10k.csv [ROW ...]     (needs scikit-learn; a minute a row)

Each row is one change to the one before it, as `bench/results` lists them; the last is what `train
--base new` does.
"""
import csv
import hashlib
import re
import sys
import unicodedata

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

BUDGETS = [100, 300, 1_000, 3_000, None]
SEPARATOR = "\0"


def characters(longest, ends=False):
    """N-grams of characters, white space as one of them."""
    return lambda text: grams(list(text), longest, ends)


def units(longest, ends=False):
    """N-grams of words where words are written apart, and of characters elsewhere; no white
    space."""
    return lambda text: grams(re.findall(r"[a-z0-9]+|\S", text), longest, ends)


def grams(units, longest, ends):
    units = ["<"] + units + [">"] if ends else units
    return [SEPARATOR.join(units[i : i + n]) for n in range(1, longest + 1) for i in range(len(units) - n + 1)]


def balanced(texts):
    return 1 if texts <= 1_000 else 0


def smooth(texts):
    return 1 / (1 + texts / 10_000)


def svm(cost):
    return lambda weights: LinearSVC(C=cost, class_weight=weights)


def logistic(cost):
    return lambda weights: LogisticRegression(C=cost, class_weight=weights, solver="liblinear")


# name: n-grams, weights of their lengths, balance of the classes, model
ROWS = {
    "characters 1..3, logistic regression": (characters(3), (1, 1, 1), balanced, logistic(10)),
    "characters 1..3, SVM with C = 1": (characters(3), (1, 1, 1), balanced, svm(1)),
    "C = 0.3": (characters(3), (1, 1, 1), balanced, svm(0.3)),
    "words where there are words": (units(3), (1, 1, 1), balanced, svm(0.3)),
    "only 1..2": (units(2), (1, 1), balanced, svm(0.3)),
    "1..3 again, longer ones weigh less": (units(3), (1, 0.8, 0.6), balanced, svm(0.3)),
    "the ends of a text": (units(3, True), (1, 0.8, 0.6), balanced, svm(0.3)),
    "the balance fades as texts become more": (units(3, True), (1, 0.8, 0.6), smooth, svm(0.3)),
    "beside it: logistic regression": (units(3, True), (1, 0.8, 0.6), smooth, logistic(6)),
    "beside it: NB features": (units(3, True), (1, 0.8, 0.6), smooth, "nb"),
}


def read(file):
    texts = {}
    for row in csv.DictReader(open(file, encoding="utf-8-sig")):
        text = row.get("text") or row.get("review") or ""
        digest = hashlib.sha256("".join(text.split()).encode()).hexdigest()
        folded = " ".join(unicodedata.normalize("NFKC", text).lower().split())
        texts.setdefault(digest, (folded, int(row["label"])))
    ordered = sorted(texts.items(), key=lambda item: item[0][8:])
    return [(int(digest[:8], 16) % 5, text, label) for digest, (text, label) in ordered]


def run(row, train, test):
    analyzer, lengths, balance, model = row
    (train_texts, y), (test_texts, truth) = ((list(column) for column in zip(*part)) for part in (train, test))
    y = np.array(y)
    vectorizer = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True)
    a, b = vectorizer.fit_transform(train_texts), vectorizer.transform(test_texts)
    scale = np.array([lengths[name.count(SEPARATOR)] for name in vectorizer.get_feature_names_out()])
    if model == "nb":
        # Wang and Manning 2012, halfway: half of a feature's weight is how much its share differs
        # between the classes.
        shares = [np.asarray(a[y == label].sum(0)).ravel() + 1 for label in (0, 1)]
        ratio = np.abs(np.log(shares[1] / shares[1].sum() / (shares[0] / shares[0].sum())))
        scale, model = scale * (0.5 + 0.5 * ratio / ratio.mean()), svm(0.3)
    a, b = (normalize(x.multiply(scale)).tocsr() for x in (a, b))
    counts = np.bincount(y)
    weights = (len(y) / (len(counts) * counts)) ** balance(len(y))
    answers = model(dict(enumerate(weights))).fit(a, y).predict(b)
    return np.mean(answers == np.array(truth)), f1_score(truth, answers, average="macro")


texts = read(sys.argv[1])
for name in sys.argv[2:] or ROWS:
    cells = []
    for budget in BUDGETS:
        split = lambda fold: (
            [text[1:] for text in texts if text[0] != fold][:budget],
            [text[1:] for text in texts if text[0] == fold],
        )
        accuracy, f1 = np.mean([run(ROWS[name], *split(fold)) for fold in range(5)], axis=0)
        cells.append(f"{accuracy:.4f} / {f1:.4f}")
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
