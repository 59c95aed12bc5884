#!/usr/bin/env bash
# The rate of the stream alone and beside a trainer that works on a round, on the same cores, in one
# call.
#
# usage: bench/beside.sh CHECKPOINT REVIEWS.csv      (the columns `label` and `review` or `text`)
#
# The round trains a small BERT from the labels of that file. NICENESS and THREADS are the
# trainer's, COUNT and ROUNDS the benchmark's.
set -euo pipefail

checkpoint=$(realpath "$1") reviews=$(realpath "$2")
cd "$(dirname "$0")/.."
cargo build --quiet --locked --package cli --package trainer
programs=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT

# The latency is measured by bench/stream.sh; the topic would hold its records too.
"$programs/labelstream" bench stream --checkpoint "$checkpoint" --reviews "$reviews" --latency-seconds 0 \
  --count "${COUNT:-20000}" --rounds "${ROUNDS:-3}" --trainer "
    export LABELSTREAM_DATABASE_URL=\$DATABASE_URL
    '$programs/labelstream' labels import '$reviews' &&
    exec '$programs/trainer' --once --base new-bert --epochs 20 --checkpoints \"\$CHECKPOINTS\" --work '$work' \
      --niceness '${NICENESS:-10}' ${THREADS:+--threads $THREADS}"
