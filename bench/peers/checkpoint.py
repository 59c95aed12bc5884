#!/usr/bin/env python3
"""A BERT-base (12 x 768) of random weights with the tokenizer of another checkpoint, to measure with.

usage: checkpoint.py CHECKPOINT DIR [TEXTS.csv]

With TEXTS.csv the head is scaled and shifted so that half of the texts get each of the two labels
and few are near the border: labels of two programs can then be compared. Needs: pip install torch
transformers
"""
import argparse

import texts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("directory")
    parser.add_argument("texts", nargs="?")
    arguments = parser.parse_args()

    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    classes = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **classes))
    if arguments.texts:
        balance(model.eval(), tokenizer, texts.read(arguments.texts, 256))
    model.save_pretrained(arguments.directory)
    tokenizer.save_pretrained(arguments.directory)


def balance(model, tokenizer, some):
    """Logits whose difference has a median of 0 and a standard deviation of 4."""
    import torch

    tokenizer.backend_tokenizer.no_padding()
    with torch.no_grad():
        batch = tokenizer(some, truncation=True, max_length=64, padding=True, return_tensors="pt")
        logits = model(**batch).logits
        margins = logits[:, 1] - logits[:, 0]
        scale = 4 / margins.std()
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale)
        model.classifier.bias[1] -= scale * margins.median()


if __name__ == "__main__":
    main()
