#!/usr/bin/env bash
# The stream beside a Python loop, between the same Kafka and the same Postgres, one after the other
# in one call. PYTHON: an interpreter with confluent-kafka and psycopg. COUNT, ROUNDS, PARTITIONS,
# REVIEWS: see below.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --locked
"${CARGO_TARGET_DIR:-target}/debug/labelstream" bench stream --constant \
  --reviews "${REVIEWS:-cli/demo/reviews.csv}" --count "${COUNT:-1000000}" \
  --partitions "${PARTITIONS:-4}" --rounds "${ROUNDS:-3}" \
  --peer "${PYTHON:-python3} bench/peers/python_loop.py" "$@"
