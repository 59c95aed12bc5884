"""Texts as the batches that the peers take: token ids, sorted by length, padded to the longest."""
import numpy


class Tokenizer:
    """A checkpoint's own, in Rust, which tokenizes many texts on all cores."""

    def __init__(self, checkpoint, max_length):
        from transformers import AutoTokenizer

        self.backend = AutoTokenizer.from_pretrained(checkpoint).backend_tokenizer
        self.backend.no_padding()
        self.backend.enable_truncation(max_length)

    def ids(self, texts):
        return [one.ids for one in self.backend.encode_batch_fast(texts)]

    def batches(self, texts, size):
        """The longest first, so that no long batch is left for the end: places in `texts`, and arrays."""
        ids = self.ids(texts)
        order = sorted(range(len(texts)), key=lambda text: -len(ids[text]))
        return [batch(order[start : start + size], ids) for start in range(0, len(order), size)]

    def classify(self, way, texts, size):
        """Logits in the order of the texts, by a way to classify a list of batches."""
        batches = self.batches(texts, size)
        logits = numpy.concatenate(way([arrays for _, arrays in batches]))
        in_order = numpy.empty_like(logits)
        in_order[numpy.concatenate([places for places, _ in batches])] = logits
        return in_order


def batch(places, ids):
    shape = len(places), len(ids[places[0]])
    arrays = {name: numpy.zeros(shape, numpy.int64) for name in ("input_ids", "attention_mask")}
    for row, place in enumerate(places):
        arrays["input_ids"][row, : len(ids[place])] = ids[place]
        arrays["attention_mask"][row, : len(ids[place])] = 1
    return places, arrays
