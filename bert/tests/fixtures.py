"""Makes the checkpoints of the tests (`all/fixtures.rs`) and what transformers says of them.

    python3 fixtures.py    # writes fixtures/ beside this file; made with torch 2.15 and transformers 5.23

Every model is random and tiny; what differs is how it is stored. Each directory holds a checkpoint and `expected.json`:
the texts, transformers' token ids and its logits (each text alone, so no padding takes part).
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification, BertTokenizer

HERE = Path(__file__).parent / "fixtures"
CHARACTERS = "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好看起发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间斯知世什两次使身者被高已亲其进此话常与活正感"
ASCII = "abcdefghijklmnopqrstuvwxyz0123456789!?.,，。！？、:;()\"'"
TEXTS = [
    "很好，下次还来！",
    "不好。",
    "Very good: 5 stars (really)",
    "送得很快，但是面已经没有味道了，总的来说还可以，下次再看看吧。" * 3,
    "",
    "   ",
    "é à ü ÉCOLE naïve",
    "好😀😀 ok",
    "[MASK] [SEP] a b",
    "的" * 200,
    "a" * 150,
    "１２３ ＡＢＣ\t换\n行\u0000\ufffd控\u200b制",
    "好 " * 13,
]


def vocabulary(upper=False):
    ascii = ASCII + (ASCII.upper() if upper else "")
    pieces = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(CHARACTERS + ascii)]
    return pieces + ["##" + c for c in dict.fromkeys(ascii) if c.isalnum()] + ["good", "star", "##s", "##ly"]


def config(vocab, **changes):
    return BertConfig(**{**dict(
        vocab_size=len(vocab), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=64, num_labels=2, initializer_range=0.3), **changes})


def model(config, seed):
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():  # biases and LayerNorms that a wrong place would show
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def write(name, model, vocab, tokenizer=None, weights="safetensors", rename=lambda name: name, edit_config=lambda c: c, edit_tokenizer=None, dtype=None):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "vocab.txt").write_text("\n".join(vocab) + "\n")
    settings = tokenizer or {}
    if tokenizer is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    if dtype:  # the reference computes with the rounded weights, in f32, as we do
        model = model.to(dtype).float()
    reference = BertTokenizer.from_pretrained(directory)
    if edit_tokenizer:
        fast = json.loads(reference.backend_tokenizer.to_str())
        edit_tokenizer(fast)
        (directory / "tokenizer.json").write_text(json.dumps(fast, ensure_ascii=False))
        (directory / "vocab.txt").unlink()
    (directory / "config.json").write_text(json.dumps(edit_config(json.loads(model.config.to_json_string())), indent=1))
    state = {rename(key): value.to(dtype or value.dtype).contiguous() for key, value in model.state_dict().items()}
    state["bert.embeddings.position_ids" if rename("bert.x") == "bert.x" else "embeddings.position_ids"] = torch.arange(64)[None]
    state["cls.predictions.bias"] = torch.zeros(3)
    if weights == "safetensors":
        save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(state, directory / "pytorch_model.bin")
    length = model.config.max_position_embeddings
    ids = [reference(text, truncation=True, max_length=length)["input_ids"] for text in TEXTS]
    with torch.no_grad():
        logits = [model(torch.tensor([text])).logits[0].tolist() for text in ids]
    (directory / "expected.json").write_text(json.dumps({"texts": TEXTS, "ids": ids, "logits": logits}, ensure_ascii=False))


def without(*names):
    return lambda config: {key: value for key, value in config.items() if key not in names}


def old_names(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta").removeprefix("bert.")


def pad_and_truncate(fast):
    fast["padding"] = {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    fast["truncation"] = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}


def main():
    vocab = vocabulary()
    write("gelu", model(config(vocab), 1), vocab, edit_tokenizer=pad_and_truncate)
    names = {str(i): name for i, name in enumerate(["差评", "好评"])}
    write("gelu_new_10_classes", model(config(vocab, hidden_act="gelu_new", num_labels=10, num_attention_heads=2), 2), vocab, weights="pickle")
    cased = vocabulary(upper=True)
    write("relu_cased", model(config(cased, hidden_act="relu", id2label=names, label2id={v: int(k) for k, v in names.items()}, layer_norm_eps=1e-5), 3), cased,
          tokenizer={"do_lower_case": False, "tokenize_chinese_chars": True, "strip_accents": None})
    write("old_names", model(config(vocab), 4), vocab, rename=old_names,
          edit_config=without("id2label", "label2id", "hidden_act", "classifier_dropout", "type_vocab_size"))
    write("half", model(config(vocab, num_hidden_layers=1), 5), vocab, dtype=torch.float16)
    write("bfloat", model(config(vocab, num_hidden_layers=1), 6), vocab, weights="pickle", dtype=torch.bfloat16)
    for directory in sorted(HERE.iterdir()):  # the same files opened by transformers itself
        expected = json.loads((directory / "expected.json").read_text())
        if directory.name not in ("old_names", "half", "bfloat"):
            opened = AutoModelForSequenceClassification.from_pretrained(directory).eval()
            with torch.no_grad():
                logits = [opened(torch.tensor([ids])).logits[0].tolist() for ids in expected["ids"]]
            assert torch.allclose(torch.tensor(logits), torch.tensor(expected["logits"]), atol=1e-5), directory
        print(directory.name, sum(file.stat().st_size for file in directory.iterdir()))


if __name__ == "__main__":
    main()
