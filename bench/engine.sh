#!/usr/bin/env bash
# The engine beside the best of what one would use instead, at 4 x 256, 4 x 512 and 12 x 768, in one
# call on one idle machine (bench/peers/engine.py). Under 12 minutes on two cores once WORK is
# filled.
#
# usage: bench/engine.sh TEXTS.csv ENCODER WORK          TEXTS.csv has the columns `label`, `review`
#
# ENCODER is a pretrained BERT directory of 4 x 512 with a Chinese vocabulary, such as bge-small-zh.
# The first call fills WORK with the three checkpoints and what the peers make of them (5 to 10
# minutes more); `PREPARE=1` does only that. WORK/NAME.json are the results; a table is printed at
# the end.
#
# PYTHON: an interpreter with torch transformers onnx onnxruntime openvino nncf (pip install).
# PROGRAM: labelstream, by default target/debug/labelstream, built first. MODELS: which.
set -euo pipefail

[ $# = 3 ] || { sed '1d;/^[^#]/,$d' "$0" >&2 && exit 2; }
texts=$(realpath "$1") encoder=$(realpath "$2") work=$(mkdir -p "$3" && realpath "$3")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} peers=bench/peers
program=${PROGRAM:-${CARGO_TARGET_DIR:-target}/debug/labelstream}
[ -n "${PROGRAM:-}" ] || cargo build --quiet --locked

checkpoint() { # name
    [ -e "$work/$1" ] && return
    echo "making a checkpoint of $1 ..." >&2
    case $1 in
    4x256) train "$1" --base new-bert --epochs 2 ;;
    4x512) train "$1" --base "$encoder" --epochs 1 ;;
    12x768) "$python" $peers/checkpoint.py "$encoder" "$work/$1" "$texts" >&2 ;;
    esac
}

train() { # name, flags
    python3 bench/split.py "$texts" "$work/data" >&2
    "$program" train --data "$work/data" --out "$work/$1" --max-length 64 --save-limit 0 "${@:2}" >&2
}

measure() { # name, flags
    "$python" $peers/engine.py "$work/$1" "$texts" "$program" --work "$work/$1.peers" "${@:2}"
}

flags() { # name
    case $1 in
    4x256) echo --count 2048 --alone 300 ;;
    4x512) echo --count 1024 --alone 200 ;;
    12x768) echo --count 192 --alone 60 --batches 8,16,32 --rounds 2 ;;
    esac
}

models=${MODELS:-4x256 4x512 12x768}
for name in $models; do
    checkpoint "$name"
    measure "$name" --convert
done
[ -z "${PREPARE:-}" ] || exit 0
for name in $models; do
    echo "measuring $name ($SECONDS s) ..." >&2
    # shellcheck disable=SC2046
    measure "$name" $(flags "$name") >"$work/$name.json"
done
echo "done ($SECONDS s)" >&2
"$python" $peers/engine_table.py $(for name in $models; do echo "$work/$name.json"; done)
