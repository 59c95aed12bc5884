#!/usr/bin/env bash
# A GPU beside the CPU and beside transformers, in two parts: the machine with the GPU needs no
# Rust, and the one with Rust no GPU.
#
# usage: bench/gpu.sh build DIR
#        bench/gpu.sh all DIR CHECKPOINT TEXTS.csv [--rounds N] [--count N] [--parts NAME ...]
#
# build: with the CUDA toolkit on the PATH (nvcc; CUDA_HOME where it is elsewhere) and
#   CUDA_COMPUTE_CAP the GPU's (90: H100 and H200; by default that of this machine). The kernels of
#   candle take 15 minutes on two cores, once. DIR gets the program, to be taken along.
# all: everything that only a GPU can tell, within ten minutes, as one JSON object: parity with the
#   CPU in serving and training, rates of both beside PyTorch, errors, memory, time by kernel.
#   CHECKPOINT is a BERT directory; TEXTS.csv has the columns `label` and `review` or `text`, and
#   8,192 different texts or more. PYTHON has torch and transformers. `peers/gpu.py` says more.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)

build() {
    command -v nvcc >&2 || { echo "there is no nvcc on the PATH" >&2 && exit 1; }
    # With OpenSSL in it: the other machine may have none.
    OPENSSL_STATIC=1 cargo build --locked --package cli --features cuda --manifest-path "$here/../Cargo.toml"
    mkdir -p "$1"
    strip -o "$1/labelstream" "${CARGO_TARGET_DIR:-$here/../target}/debug/labelstream"
    # It has to travel.
    xz --force --threads=0 "$1/labelstream"
}

case ${1:-}-$# in
build-2) build "$2" ;;
all-[4-9] | all-1?) exec "${PYTHON:-python3}" "$here/peers/gpu.py" "$@" ;;
*) sed '1d;/^[^#]/,$d' "$0" >&2 && exit 2 ;;
esac
