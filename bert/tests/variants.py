#!/usr/bin/env python3
"""Directories that people have, and what transformers says of each: what `tests/bert/cases.rs` is tried on.

    python3 variants.py        # writes variants.json and variants/ beside this file; made with torch 2.15 and transformers 5.24
    python3 variants.py DIR    # leaves the directories in DIR, with expected.json, for LABELSTREAM_CASES

All are variants of one tiny random model. variants.json has of each the text files that differ from the base, the names
of those that are gone, and transformers' ids and probabilities, or "refuse"; files that are no text stand in variants/.
"""
import copy, json, os, shutil, sys, tempfile, warnings
from collections import OrderedDict
from pathlib import Path
warnings.filterwarnings("ignore"); os.environ["TRANSFORMERS_VERBOSITY"] = "error"; os.environ["HF_HUB_OFFLINE"] = "1"
import torch, transformers
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification, BertTokenizer

transformers.utils.logging.disable_progress_bar()
HERE = Path(__file__).parent
out = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
os.makedirs(out, exist_ok=True)
ASCII = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = ["[PAD]", "[unused1]", "[unused2]", "[unused3]", "[unused4]", "[unused5]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused7]", "[unused9]"]
VOCABULARY += list(dict.fromkeys("味道不错就是送得太慢很快好吃一家人都爱差评中地名，。！" + ASCII + ASCII.upper() + "!?.,[]<>_é１"))
VOCABULARY += ["##" + c for c in ASCII + ASCII.upper() + "_é"] + ["good", "hello", "##ood", "bad", "cafe", "##llo", "foo"]
VOCABULARY = list(dict.fromkeys(VOCABULARY))
SIZE = len(VOCABULARY)
TEXTS = ["味道不错，就是送得太慢", "Hello World, very GOOD iPhone12 Pro MAX", "CAFÉ résumé naïve Ångström cafe", "⊥ N_0 [地名] g_minus  ⊥ x地名", "👍🏽一家人都爱吃", "差" * 60 + "好" * 60, "a" * 120 + " ok", "[MASK] [CLS] <s> [NEW] a[NEW]b foo_bar NEW", "", "１２ ＡＢ", "good，" * 40 + "bad 差评", "[unused1] [UNK]x"]

def model(names=("LABEL_0", "LABEL_1"), vocabulary=SIZE + 12, **k):
    torch.manual_seed(0)
    c = BertConfig(**{**dict(vocab_size=vocabulary, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, max_position_embeddings=64, initializer_range=0.5, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}), **k})
    m = BertForSequenceClassification(c).eval()
    with torch.no_grad():
        for p in m.parameters(): p.add_(torch.randn_like(p) * 0.1)
    return m

with tempfile.TemporaryDirectory() as d:
    (Path(d) / "vocab.txt").write_text("\n".join(VOCABULARY))
    json.dump({"do_lower_case": False}, open(f"{d}/tokenizer_config.json", "w"))
    TOKENIZER = json.loads(BertTokenizer.from_pretrained(d).backend_tokenizer.to_str())
expected = {}
def write(name, of=None, settings={}, tok=None, cfg=None, files=("tokenizer.json", "vocab.txt"), extra={}, state=None, refuse=False, after=None, vocab=None):
    of = of or M
    d = f"{out}/{name}"; shutil.rmtree(d, ignore_errors=True); of.save_pretrained(d)
    if "tokenizer.json" in files:
        t = copy.deepcopy(TOKENIZER); (tok or (lambda t: None))(t); json.dump(t, open(f"{d}/tokenizer.json", "w"), ensure_ascii=False)
    if "vocab.txt" in files: open(f"{d}/vocab.txt", "w", encoding="utf-8").write("\n".join(vocab or VOCABULARY))
    if settings is not None: json.dump(settings, open(f"{d}/tokenizer_config.json", "w"))
    for f, content in extra.items(): open(f"{d}/{f}", "w").write(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
    if cfg: c = json.load(open(f"{d}/config.json")); cfg(c); json.dump(c, open(f"{d}/config.json", "w"), ensure_ascii=False)
    if after: after(d)
    if refuse: expected[name] = "refuse"
    return d
M = BIG = model()
C = {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}
def added(content, **k): return {"content": content, "lstrip": False, "rstrip": False, "normalized": True, "single_word": False, "special": False, **k}
SP = {str(VOCABULARY.index(t)): added(t, special=True, normalized=False) for t in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]}
write("base", settings=C)
# tokenizer settings
write("no_settings", settings=None)
write("lower_default_over_json", settings={"tokenizer_class": "BertTokenizer"}, tok=lambda t: t["normalizer"].update(lowercase=False))
write("strip_accents_cased", settings={**C, "strip_accents": True})
write("no_strip_lower", settings={"do_lower_case": True, "strip_accents": False})
write("no_chinese", settings={**C, "tokenize_chinese_chars": False})
write("basic_off", settings={**C, "do_basic_tokenize": False, "never_split": ["Hello", "GOOD"]})
write("vocab_alone", settings=None, files=("vocab.txt",))
write("vocab_cased", settings=C, files=("vocab.txt",))
write("class_from_config", settings={}, cfg=lambda c: c.update(tokenizer_class="BertTokenizerFast"))
write("fast_class", settings={"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False})
write("fast_class_lower", settings={"tokenizer_class": "PreTrainedTokenizerFast"}, tok=lambda t: t["normalizer"].update(lowercase=True))
def other_words(t): t["model"].update(max_input_chars_per_word=10); t["pre_tokenizer"] = {"type": "Whitespace"}
write("fast_class_words", settings={"tokenizer_class": "TokenizersBackend"}, tok=other_words)
write("bert_ignores_words", settings=C, tok=other_words)
def no_post(t): t["post_processor"] = None
write("fast_no_post", settings={"tokenizer_class": "PreTrainedTokenizerFast"}, tok=no_post)
write("bert_no_post", settings=C, tok=no_post)
def two_cls(t): t["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [VOCABULARY.index("[CLS]")], "tokens": ["[CLS]"]}}}
write("fast_two_cls", settings={"tokenizer_class": "PreTrainedTokenizerFast"}, tok=two_cls)
def type_one(t): two_cls(t); t["post_processor"]["single"][2]["Sequence"]["type_id"] = 1
write("fast_type_one", settings={"tokenizer_class": "PreTrainedTokenizerFast"}, tok=type_one, refuse=True)
write("distil_class", settings={"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False})
write("electra_class", settings={"tokenizer_class": "ElectraTokenizerFast", "do_lower_case": False})
write("convbert_class", settings={"tokenizer_class": "ConvBertTokenizer", "do_lower_case": False})
for c in ["RobertaTokenizer", "BertJapaneseTokenizer", "XLMRobertaTokenizerFast", "AlbertTokenizer", "MyTokenizer"]: write("class_" + c, settings={"tokenizer_class": c}, refuse=True)
write("class_config_roberta", settings={}, cfg=lambda c: c.update(tokenizer_class="RobertaTokenizer"), refuse=True)
# lengths and sides
write("left", settings={**C, "truncation_side": "left"})
write("left_by_json", settings=C, tok=lambda t: t.update(truncation={"direction": "Left", "max_length": 32, "strategy": "LongestFirst", "stride": 0}))
write("right_over_json_left", settings={**C, "truncation_side": "right"}, tok=lambda t: t.update(truncation={"direction": "Left", "max_length": 32, "strategy": "LongestFirst", "stride": 0}))
write("max_30", settings={**C, "model_max_length": 30})
write("max_30_left", settings={**C, "model_max_length": 30, "truncation_side": "left"})
write("max_1e30", settings={**C, "model_max_length": 1e30})
write("max_huge_int", settings={**C, "model_max_length": 1000000000000000019884624838656})
write("max_null", settings={**C, "model_max_length": None})
write("max_len_old", settings={**C, "max_len": 40})
write("max_2", settings={**C, "model_max_length": 2})
write("max_zero", settings={**C, "model_max_length": 0}, refuse=True)
write("max_text", settings={**C, "model_max_length": "many"}, refuse=True)
write("padding_left", settings={**C, "padding_side": "left"})
write("side_wrong", settings={**C, "truncation_side": "middle"}, refuse=True)
# special and added tokens
write("renamed", settings={**C, "cls_token": "[unused1]", "sep_token": "[unused2]", "unk_token": "[unused3]", "pad_token": "[unused4]"})
write("renamed_map", settings=C, extra={"special_tokens_map.json": {"cls_token": "[unused1]", "sep_token": {"content": "[unused2]", "lstrip": False, "rstrip": True, "normalized": False, "single_word": False}}})
write("map_over_config", settings={**C, "cls_token": "[unused5]"}, extra={"special_tokens_map.json": {"cls_token": "[unused1]"}})
write("map_ignored", settings={**C, "added_tokens_decoder": SP}, extra={"special_tokens_map.json": {"cls_token": "[unused1]"}, "added_tokens.json": {"⊥": SIZE + 0}})
write("typed", settings={**C, "cls_token": {"__type": "AddedToken", "content": "[unused1]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}})
write("untyped", settings={**C, "cls_token": {"content": "[unused1]"}}, refuse=True)
write("bos", BIG, settings={**C, "bos_token": "<s>", "eos_token": "</s>"})
write("bos_no_room", model(vocabulary=SIZE), settings={**C, "bos_token": "<s>"}, refuse=True)
write("decoder", BIG, settings={**C, "added_tokens_decoder": {**SP, str(SIZE + 0): added("⊥"), str(SIZE + 1): added("[地名]", special=True, normalized=False), str(SIZE + 2): added("N_0", single_word=True), str(SIZE + 3): added("foo_bar", lstrip=True, rstrip=True), str(SIZE + 4): added("g_minus", normalized=False)}})
write("decoder_lower", BIG, settings={"do_lower_case": True, "added_tokens_decoder": {**SP, str(SIZE + 0): added("N_0"), str(SIZE + 1): added("NEW", normalized=False), str(SIZE + 2): added("地名"), str(SIZE + 3): added("good")}})
write("decoder_gaps", BIG, settings={**C, "added_tokens_decoder": {**SP, str(SIZE + 7): added("⊥"), str(SIZE + 11): added("[NEW]")}})
write("added_and_json", BIG, settings=C, extra={"added_tokens.json": {"⊥": SIZE + 0, "[NEW]": SIZE + 1}})
write("json_added", BIG, settings=C, tok=lambda t: t["added_tokens"].append({"id": SIZE + 0, **added("⊥")}))
write("fast_json_added", BIG, settings={"tokenizer_class": "PreTrainedTokenizerFast"}, tok=lambda t: t["added_tokens"].append({"id": SIZE + 0, **added("[NEW]", rstrip=True)}))
write("fast_decoder", BIG, settings={"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {str(SIZE + 0): added("⊥"), str(SIZE + 1): added("[NEW]")}, "mask_token": "[MASK]"})
write("additional", BIG, settings={**C, "additional_special_tokens": ["[NEW]", "⊥"]})
write("extra_list", BIG, settings={**C, "extra_special_tokens": ["[NEW]", "⊥"]})
write("extra_named", BIG, settings={**C, "extra_special_tokens": {"place_token": "[地名]", "foo": "[NEW]"}})
write("own_token", BIG, settings={**C, "place_token": "[地名]", "image_token": {"__type": "AddedToken", **added("⊥")}})
write("map_additional", BIG, settings=C, extra={"special_tokens_map.json": {"additional_special_tokens": ["[NEW]", "⊥"]}})
write("map_extra", BIG, settings={**C, "extra_special_tokens": ["⊥"]}, extra={"special_tokens_map.json": {"extra_special_tokens": [{"content": "[NEW]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}]}})
write("added_special", BIG, settings={**C, "additional_special_tokens": ["[地名]"]}, extra={"added_tokens.json": {"[地名]": SIZE + 1, "⊥": SIZE + 0}}, files=("vocab.txt",))
write("split_special", settings={**C, "split_special_tokens": True})
write("cls_null", settings={**C, "cls_token": None}, refuse=True)
write("mask_null", settings={**C, "mask_token": None})
write("auto_map_tokenizer", settings={**C, "auto_map": {"AutoTokenizer": ["my.My", None]}}, refuse=True)
write("versioned", settings={**C, "fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.json"]}, refuse=True)
write("vocab_list", settings=C, tok=lambda t: t["model"].update(vocab=VOCABULARY))
def holes(t): v = t["model"]["vocab"]; [v.pop(k) for k in ["[unused7]", "[unused9]"]]
write("vocab_holes", BIG, settings={**C, "additional_special_tokens": ["⊥"]}, tok=holes)
write("vocab_twice", settings=C, files=("vocab.txt",), vocab=[("好" if v == "[unused5]" else v) for v in VOCABULARY])
# config
for act in ["gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate", "relu"]: write("act_" + act, model(hidden_act=act), settings=C)
for act in ["silu", "gelu_10", "quick_gelu", "tanh", "mish", "nonsense"]: write("act_" + act, settings=C, cfg=lambda c, act=act: c.update(hidden_act=act), refuse=True)
write("eps", model(layer_norm_eps=1e-3), settings=C)
write("types_1", model(type_vocab_size=1), settings=C); write("types_5", model(type_vocab_size=5), settings=C)
write("three", model(("差", "中", "好")), settings=C)
write("labels_gap", settings=C, cfg=lambda c: c.update(id2label={"0": "a", "2": "b"}), refuse=True)
write("labels_more", settings=C, cfg=lambda c: c.update(id2label={"0": "a", "1": "b", "2": "c"}), refuse=True)
write("labels_number", settings=C, cfg=lambda c: (c.pop("id2label", 0), c.pop("label2id", 0), c.update(num_labels=3)), refuse=True)
write("labels_number_2", settings=C, cfg=lambda c: (c.pop("id2label", 0), c.pop("label2id", 0), c.update(num_labels=2)))
write("labels_disagree", settings=C, cfg=lambda c: c.update(id2label={"0": "a", "1": "b"}, num_labels=3), refuse=True)
write("labels_swapped", settings=C, cfg=lambda c: c.update(id2label={"1": "a", "0": "b"}))
write("labels_twice_number", settings=C, cfg=lambda c: c.update(id2label={"0": "1", "1": 1}), refuse=True)
write("labels_keys", settings=C, cfg=lambda c: c.update(id2label={"00": "a", " 1": "b"}))
write("multi_label", settings=C, cfg=lambda c: c.update(problem_type="multi_label_classification"), refuse=True)
write("regression", settings=C, cfg=lambda c: c.update(problem_type="regression"), refuse=True)
write("one_class", model(("x",)), settings=C, refuse=True)
write("auto_map", settings=C, cfg=lambda c: c.update(auto_map={"AutoModelForSequenceClassification": "modeling.Mine"}), refuse=True)
write("quantized", settings=C, cfg=lambda c: c.update(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}), refuse=True)
write("relative", settings=C, cfg=lambda c: c.update(position_embedding_type="relative_key"), refuse=True)
write("decoder_model", settings=C, cfg=lambda c: c.update(is_decoder=True), refuse=True)
write("no_type", settings=C, cfg=lambda c: c.pop("model_type"), refuse=True)
write("roberta_type", settings=C, cfg=lambda c: c.update(model_type="roberta"), refuse=True)
write("layers_more", settings=C, cfg=lambda c: c.update(num_hidden_layers=3), refuse=True)
write("layers_fewer", settings=C, cfg=lambda c: c.update(num_hidden_layers=1))
write("adapter", settings=C, extra={"adapter_config.json": {"peft_type": "LORA"}}, refuse=True)
# weights
S = M.state_dict()
def weights(f): 
    def go(d): os.remove(f"{d}/model.safetensors"); f(d)
    return go
write("zip", settings=C, after=weights(lambda d: torch.save(S, f"{d}/pytorch_model.bin")))
def strided(): return OrderedDict((k, (v.t().contiguous().t() if v.dim() == 2 else torch.cat([torch.zeros(3), v])[3:])) for k, v in S.items())
write("strides_zip", settings=C, after=weights(lambda d: torch.save(strided(), f"{d}/pytorch_model.bin")))
write("strides_legacy", settings=C, after=weights(lambda d: torch.save(strided(), f"{d}/pytorch_model.bin", _use_new_zipfile_serialization=False)))
def one_buffer():
    flat = torch.cat([v.flatten() for v in S.values()]); o = 0; r = {}
    for k, v in S.items(): r[k] = flat[o:o + v.numel()].view(v.shape); o += v.numel()
    return r
write("one_storage", settings=C, after=weights(lambda d: torch.save(one_buffer(), f"{d}/pytorch_model.bin", _use_new_zipfile_serialization=False)))
def rounded(dt): m = model(); m.load_state_dict({k: v.to(dt).float() for k, v in S.items()}); return m
for dt, n in [(torch.float16, "f16"), (torch.bfloat16, "bf16"), (torch.float64, "f64")]:
    for legacy in (0, 1): write(f"{n}_{'legacy' if legacy else 'zip'}", rounded(dt), settings=C, cfg=lambda c: c.pop("dtype", 0), after=weights(lambda d, dt=dt, legacy=legacy: torch.save({k: v.to(dt) for k, v in S.items()}, f"{d}/pytorch_model.bin", _use_new_zipfile_serialization=not legacy)))
    write(f"{n}_safe", rounded(dt), settings=C, cfg=lambda c: c.pop("dtype", 0), after=weights(lambda d, dt=dt: save_file({k: v.to(dt).contiguous() for k, v in S.items()}, f"{d}/model.safetensors", metadata={"format": "pt"})))
write("parameters", settings=C, after=weights(lambda d: torch.save(OrderedDict(M.named_parameters()), f"{d}/pytorch_model.bin")))
write("parameters_legacy", settings=C, after=weights(lambda d: torch.save(OrderedDict(M.named_parameters()), f"{d}/pytorch_model.bin", _use_new_zipfile_serialization=False)))
for p in (3, 4): write(f"protocol_{p}", settings=C, refuse=p > 3, after=weights(lambda d, p=p: torch.save(S, f"{d}/pytorch_model.bin", pickle_protocol=p)))
write("whole_module", settings=C, after=weights(lambda d: torch.save(M, f"{d}/pytorch_model.bin")), refuse=True)
write("nested", settings=C, after=weights(lambda d: torch.save({"state_dict": S}, f"{d}/pytorch_model.bin")), refuse=True)
write("prefix_module", settings=C, after=weights(lambda d: torch.save({"module." + k: v for k, v in S.items()}, f"{d}/pytorch_model.bin")), refuse=True)
def shards(fmt):
    def go(d):
        keys = sorted(S); w = {k: f"{'model' if fmt == 's' else 'pytorch_model'}-0000{1 + i * 3 // len(keys)}-of-00003.{'safetensors' if fmt == 's' else 'bin'}" for i, k in enumerate(keys)}
        for f in set(w.values()):
            part = {k: S[k].contiguous() for k in keys if w[k] == f}
            save_file(part, f"{d}/{f}", metadata={"format": "pt"}) if fmt == "s" else torch.save(part, f"{d}/{f}", _use_new_zipfile_serialization=not f.endswith("2-of-00003.bin"))
        json.dump({"metadata": {"total_size": 1}, "weight_map": w}, open(f"{d}/{'model.safetensors' if fmt == 's' else 'pytorch_model.bin'}.index.json", "w")); return w
    return go
write("shards_bin", settings=C, after=weights(shards("b")))
write("shards_3", settings=C, after=weights(shards("s")))
write("shard_missing", settings=C, after=weights(lambda d: (shards("s")(d), os.remove(f"{d}/model-00002-of-00003.safetensors"))), refuse=True)
write("shard_pointer", settings=C, after=weights(lambda d: (shards("s")(d), open(f"{d}/model-00002-of-00003.safetensors", "w").write("version https://git-lfs.github.com/spec/v1\noid sha256:8\nsize 4\n"))), refuse=True)
def escape(d): shards("s")(d); p = f"{d}/model.safetensors.index.json"; t = open(p).read().replace("model-00002", "../shards_3/model-00002"); open(p, "w").write(t)
write("shard_escape", settings=C, after=weights(escape), refuse=True)
write("both_formats", settings=C, after=lambda d: open(f"{d}/pytorch_model.bin", "w").write("rubbish"))
write("single_over_shards", settings=C, after=lambda d: open(f"{d}/model.safetensors.index.json", "w").write("{}"))
write("missing", settings=C, after=weights(lambda d: save_file({k: v for k, v in S.items() if k != "classifier.bias"}, f"{d}/model.safetensors", metadata={"format": "pt"})), refuse=True)
write("leftover", settings=C, after=weights(lambda d: save_file({**S, "cls.predictions.bias": torch.zeros(3), "bert.encoder.layer.9.x": torch.zeros(2)}, f"{d}/model.safetensors", metadata={"format": "pt"})))
write("no_prefix", settings=C, after=weights(lambda d: save_file({k.removeprefix("bert."): v for k, v in S.items()}, f"{d}/model.safetensors", metadata={"format": "pt"})))
write("gamma", settings=C, after=weights(lambda d: save_file({k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in S.items()}, f"{d}/model.safetensors", metadata={"format": "pt"})))
write("tf_format", settings=C, after=weights(lambda d: save_file(S, f"{d}/model.safetensors", metadata={"format": "tf"})), refuse=True)
write("int8_weights", settings=C, after=weights(lambda d: save_file({k: v.to(torch.int8) for k, v in S.items()}, f"{d}/model.safetensors", metadata={"format": "pt"})), refuse=True)
write("h5", settings=C, after=weights(lambda d: open(f"{d}/tf_model.h5", "w").write("x")), refuse=True)
def cut(f, n):
    def go(d): b = open(f"{d}/{f}", "rb").read(); open(f"{d}/{f}", "wb").write(b[:n(len(b))])
    return go
write("cut_safe", settings=C, after=cut("model.safetensors", lambda n: n - 1), refuse=True)
write("long_safe", settings=C, after=lambda d: open(f"{d}/model.safetensors", "ab").write(b"x"), refuse=True)
for legacy in (0, 1):
    for at in (0, 10, 400, -1000, -1): write(f"cut_{'legacy' if legacy else 'zip'}_{at}", settings=C, after=lambda d, legacy=legacy, at=at: (os.remove(f"{d}/model.safetensors"), torch.save(S, f"{d}/pytorch_model.bin", _use_new_zipfile_serialization=not legacy), cut("pytorch_model.bin", lambda n: at if at >= 0 else n + at)(d)), refuse=True)
for f in ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "config.json"]:
    drop = [x for x in ["tokenizer.json"] if f == "vocab.txt"]
    write(f"pointer_{f}", settings=C, after=lambda d, f=f, drop=drop: ([os.remove(f"{d}/{x}") for x in drop], open(f"{d}/{f}", "w").write("version https://git-lfs.github.com/spec/v1\noid sha256:8\nsize 4\n")), refuse=True)
    write(f"empty_{f}", settings=C, after=lambda d, f=f, drop=drop: ([os.remove(f"{d}/{x}") for x in drop], open(f"{d}/{f}", "w").close()), refuse=True)
write("sentencepiece", settings={}, files=(), extra={"tokenizer.model": "x"}, refuse=True)

for name in sorted(os.listdir(out)):
    if name in expected or not os.path.isdir(f"{out}/{name}"): continue
    tokenizer, network = AutoTokenizer.from_pretrained(f"{out}/{name}"), AutoModelForSequenceClassification.from_pretrained(f"{out}/{name}").eval().float(); rows = []
    for text in TEXTS:
        e = tokenizer(text, truncation=True, max_length=min(64, tokenizer.model_max_length), return_tensors="pt")
        ids = e["input_ids"][0].tolist()
        if not ids: continue
        with torch.inference_mode(): rows.append({"text": text, "ids": ids, "probabilities": [round(p, 6) for p in network(**e).logits.softmax(-1)[0].tolist()]})
    expected[name] = rows
json.dump(expected, open(f"{out}/expected.json", "w"), ensure_ascii=False)
if len(sys.argv) == 1:
    shutil.rmtree(HERE / "variants", ignore_errors=True)
    content = lambda name: {f.name: f.read_bytes() for f in (Path(out) / name).iterdir()}
    base, variants = content("base"), {}
    for name, rows in sorted(expected.items()):
        files, is_base = content(name), name == "base"
        changed = {f: b for f, b in files.items() if is_base or base.get(f) != b}
        texts = {f: b.decode() for f, b in changed.items() if f.endswith((".json", ".txt"))}
        for f in changed.keys() - texts.keys():
            (HERE / "variants" / name).mkdir(parents=True, exist_ok=True); (HERE / "variants" / name / f).write_bytes(changed[f])
        variants[name] = {"files": texts, "gone": sorted(base.keys() - files.keys()), "expected": rows}
    (HERE / "variants.json").write_text("{\n" + ",\n".join(f"{json.dumps(n)}: {json.dumps(v, ensure_ascii=False)}" for n, v in variants.items()) + "\n}\n")
print(len(expected))
