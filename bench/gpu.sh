#!/usr/bin/env bash
# A GPU beside the CPU and beside transformers, in two parts: the machine with the GPU needs no
# Rust, and the one with Rust no GPU.
#
# usage: bench/gpu.sh build OUT_DIR
#        bench/gpu.sh measure OUT_DIR CHECKPOINT TEXTS.csv
#
# build: with the CUDA toolkit on the PATH (nvcc; CUDA_HOME where it is elsewhere) and
#   CUDA_COMPUTE_CAP the GPU's (90: H100 and H200; by default that of this machine). The kernels of
#   candle take 15 minutes on two cores, once.
# measure: CHECKPOINT is a BERT directory, TEXTS.csv has a column `review` or `text`. PYTHON has
#   torch and transformers. First the labels and logits of GPU and CPU are compared; where they
#   differ it ends. Then the rates: CHECKPOINT over the texts, and a BERT-base of random weights
#   with CHECKPOINT's tokenizer over the texts and over texts of 25 Chinese characters, each in
#   ROUNDS rounds of labelstream and transformers in turn, COUNT texts each. Texts that stand twice
#   in the file are left out, because labelstream computes those of a batch once; it is given 8,192
#   at a time, fewer than the file should have. Prints one JSON object.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)

build() {
    out=$1
    command -v nvcc >&2 || { echo "there is no nvcc on the PATH" >&2 && exit 1; }
    # With OpenSSL in it: the other machine may have none.
    OPENSSL_STATIC=1 cargo build --locked --package cli --features cuda --manifest-path "$here/../Cargo.toml"
    mkdir -p "$out"
    strip -o "$out/labelstream" "${CARGO_TARGET_DIR:-$here/../target}/debug/labelstream"
    # From 93 MB to 28: it has to travel.
    gzip --force "$out/labelstream"
}

measure() {
    checkpoint=$2 texts=$3
    python=${PYTHON:-python3} count=${COUNT:-200000} rounds=${ROUNDS:-3}
    work=$(mktemp --directory)
    trap 'rm -rf "$work"' EXIT
    program=$work/labelstream
    gzip --decompress --stdout "$1/labelstream.gz" >"$program"
    chmod +x "$program"
    # PyTorch brings libraries of its own.
    labelstream() { LD_LIBRARY_PATH=${CUDA_HOME:-/usr/local/cuda}/lib64:${LD_LIBRARY_PATH:-} "$program" "$@"; }
    peer() { "$python" "$here/peers/gpu.py" "$@"; }
    rate() { # checkpoint texts name
        for round in $(seq "$rounds"); do
            labelstream bench engine --device cuda --checkpoint "$1" --texts "$2" --count "$count" --batch-size 8192
            peer rate "$1" "$2" --count "$count"
        done | peer ratio "$1" "$3"
    }
    peer lines "$texts" --count 5000 >"$work/lines"
    peer distinct "$texts" >"$work/distinct.csv"
    peer cut "$texts" >"$work/cut.csv"
    "$python" "$here/peers/checkpoint.py" "$checkpoint" "$work/base" >&2
    for device in cpu cuda; do
        labelstream classify --checkpoint "$checkpoint" --device $device --scores "$work/lines" >"$work/$device"
    done
    {
        peer compare "$work/cpu" "$work/cuda"
        rate "$checkpoint" "$work/distinct.csv" "checkpoint, texts"
        rate "$work/base" "$work/distinct.csv" "12x768, texts"
        rate "$work/base" "$work/cut.csv" "12x768, 25 characters"
    } >"$work/results"
    peer report <"$work/results"
}

case ${1:-} in
build) [ $# = 2 ] && build "$2" ;;
measure) [ $# = 4 ] && measure "$2" "$3" "$4" ;;
*) sed '1d;/^[^#]/,$d' "$0" >&2 && exit 2 ;;
esac
