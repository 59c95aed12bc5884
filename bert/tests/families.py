"""Makes a checkpoint of each of BERT's relatives for the tests, and what transformers says of it.

    python3 families.py    # writes into fixtures/ beside this file; made with torch 2.15, transformers 5.24

Random and tiny, as those of `fixtures.py`, beside which they stand. Their tokenizers are of the family's own kind,
learned from the texts.
"""

import io
import json
import shutil

import sentencepiece
import torch
from fixtures import HERE, TEXTS, vocabulary
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AlbertTokenizer, AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer, CamembertTokenizer,
    RobertaTokenizer, XLMRobertaTokenizer)

LENGTH = 64
MORE = [
    "<s> a <mask> b </s>", "<pad> good <pad><pad> stars", "[CLS]好[SEP]吃", "<unk> <s>NOTUSED </s>NOTUSED", "naïve ＣＡＦＥ́ ﬁne  ½",
    "``quoted'' 'text'", "한국어 리뷰 아주 좋아요", "العربية جيدة", "Очень вкусно, спасибо", "ไทยอร่อยมาก", "हिन्दी अच्छा",
    "\u202eabc\u202c ‎x", "👩‍👩‍👧 🇨🇳", "line\r\nbreak\tand\u00a0space\u3000wide", "good stars " * 40, "▁under▁score", "Ġbyte"]
ALL = TEXTS + MORE
SIZES = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_labels=2,
    initializer_range=0.3)


def byte_pairs():
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learned.train_from_iterator(ALL, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet))
    model = json.loads(learned.to_str())["model"]
    return dict(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


def pieces(special, mask):
    """A unigram vocabulary that SentencePiece learns, with a small table of its own for the normalizer."""
    rules = HERE.parent / "rules.tsv"
    rules.write_text("".join(f"{0xff21 + i:X}\t{0x41 + i:X}\n{0xff41 + i:X}\t{0x61 + i:X}\n" for i in range(26)) + "FB01\t66 69\n")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.replace("\u0000", "") for text in ALL * 3 if text.strip()), model_writer=model, vocab_size=330,
        model_type="unigram", character_coverage=0.98, hard_vocab_limit=False, normalization_rule_tsv=str(rules), minloglevel=2)
    rules.unlink()
    from sentencepiece import sentencepiece_model_pb2 as protobuf
    proto = protobuf.ModelProto.FromString(model.getvalue())
    learned = [(piece.piece, piece.score) for piece in proto.pieces[3:]]
    return dict(vocab=[(token, 0.0) for token in special] + learned + ([(mask, 0.0)] if mask else []),
                _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap)


def write(name, model_type, tokenizer, seed, **changes):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    tokenizer.save_pretrained(directory)
    sizes = {**SIZES, "vocab_size": max(tokenizer.get_vocab().values()) + 1, "max_position_embeddings": LENGTH, **changes}
    config = AutoConfig.for_model(model_type, **sizes)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and LayerNorms that a wrong place would show
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.half().save_pretrained(directory)  # half the size
    opened = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    texts = [text for text in ALL if opened(text)["input_ids"]]  # of a decoder a text may have none
    ids = [opened(text, truncation=True, max_length=LENGTH)["input_ids"] for text in texts]
    with torch.no_grad():
        logits = [model(torch.tensor([text])).logits[0].tolist() for text in ids]
    assert torch.tensor(logits).std(0).min() > 0.1, "the texts are too much alike"
    (directory / "expected.json").write_text(json.dumps({"texts": texts, "ids": ids, "logits": logits}, ensure_ascii=False))
    for file in ("training_args.bin", "special_tokens_map.json"):
        (directory / file).unlink(missing_ok=True)
    print(name, type(opened).__name__, sum(file.stat().st_size for file in directory.iterdir()))


def main():
    home = HERE / "word_piece"
    home.mkdir(exist_ok=True)
    (home / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    words = BertTokenizer.from_pretrained(home)
    shutil.rmtree(home)
    behind = LENGTH + 2  # positions count from behind the padding's number
    write("roberta", "roberta", RobertaTokenizer(**byte_pairs()), 11, max_position_embeddings=behind, type_vocab_size=1)
    write("xlm_roberta", "xlm-roberta", XLMRobertaTokenizer(**pieces(["<s>", "<pad>", "</s>", "<unk>"], "<mask>")), 12,
          max_position_embeddings=behind, type_vocab_size=1, num_labels=10, layer_norm_eps=1e-5)
    camembert = pieces(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"], "<mask>")
    write("camembert", "camembert", CamembertTokenizer(**camembert), 13, max_position_embeddings=behind, type_vocab_size=1)
    write("electra", "electra", words, 14, embedding_size=24)
    write("electra_of_one_width", "electra", words, 15, embedding_size=32, hidden_act="gelu_new", num_labels=10)
    write("ernie", "ernie", words, 16, use_task_id=True, task_type_vocab_size=3, type_vocab_size=4)
    write("ernie_without_tasks", "ernie", words, 17)
    distilbert = dict(dim=32, n_layers=2, n_heads=4, hidden_dim=48)
    write("distilbert", "distilbert", words, 18, **distilbert)
    albert = dict(embedding_size=24, num_hidden_layers=3, num_hidden_groups=2, inner_group_num=2)
    write("albert", "albert", AlbertTokenizer(**pieces(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], None)), 19, **albert)
    write("albert_of_one_width", "albert", words, 20, embedding_size=32, num_hidden_layers=3, hidden_act="gelu", num_labels=10)
    write("megatron_bert", "megatron-bert", words, 21, num_hidden_layers=3)


if __name__ == "__main__":
    main()
