"""Makes a checkpoint of each family that candle-transformers computes, and what transformers says of it.

    python3 composed.py    # writes into composed/ beside this file; made with torch 2.15, transformers 5.24

Random and tiny, as those of `bert/tests/families.py`, whose texts and tokenizers they share.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "bert/tests"))

import families
from families import byte_pairs, write
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

families.HERE = HERE / "composed"


def bytes_with_ends():
    """As answerdotai's ModernBERT has it."""
    pairs = byte_pairs()
    inner = Tokenizer(models.BPE(vocab=pairs["vocab"], merges=pairs["merges"]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = [("<s>", pairs["vocab"]["<s>"]), ("</s>", pairs["vocab"]["</s>"])]
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=inner, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>")


def vectors(name, of):
    """What the encoder alone makes of the texts."""
    directory = families.HERE / name
    expected = json.loads((directory / "expected.json").read_text())
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        expected["vectors"] = [of(model(torch.tensor([ids])).last_hidden_state[0]).tolist() for ids in expected["ids"]]
    (directory / "expected.json").write_text(json.dumps(expected, ensure_ascii=False))


def main():
    families.HERE.mkdir(exist_ok=True)
    ends = bytes_with_ends()
    modern = dict(num_hidden_layers=5, local_attention=16, pad_token_id=1, cls_token_id=0, sep_token_id=2, bos_token_id=0, eos_token_id=2)
    write("modernbert", "modernbert", ends, 31, **modern)
    write("modernbert_mean", "modernbert", ends, 32, **modern, classifier_pooling="mean", num_labels=10)
    pieces = dict(families.pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[MASK]"))
    deberta = DebertaV2Tokenizer(vocab=pieces["vocab"], unk_id=3)
    relative = dict(relative_attention=True, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True,
                    pos_att_type=["p2c", "c2p"], position_biased_input=False, max_relative_positions=-1, type_vocab_size=0)
    write("deberta_v3", "deberta-v2", deberta, 33, **relative)
    write("deberta_v2", "deberta-v2", deberta, 34, **{**relative, "position_buckets": -1, "share_att_key": False, "max_relative_positions": 64},
          num_labels=10)
    pairs = byte_pairs()
    vocab = {**pairs["vocab"], "<|endoftext|>": len(pairs["vocab"])}
    vectors("modernbert", lambda hidden: hidden[0])
    vectors("deberta_v3", lambda hidden: hidden.mean(0))
    qwen = Qwen2Tokenizer(vocab=vocab, merges=pairs["merges"])
    write("qwen3", "qwen3", qwen, 35, num_key_value_heads=2, head_dim=16, pad_token_id=len(vocab) - 1, max_position_embeddings=128)
    vectors("qwen3", lambda hidden: hidden[-1])


if __name__ == "__main__":
    main()
