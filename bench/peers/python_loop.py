#!/usr/bin/env python3
"""What one would write instead: a Python loop from Kafka to Postgres.

confluent-kafka reads batches, a constant stands for the model, psycopg's executemany writes rows,
then the offsets are committed: at least once, so a crash writes rows twice or not at all unless the
primary key catches them. Eight columns, no second index, no fence, no dead letters.

Environment: BROKERS, TOPIC, GROUP, DATABASE_URL, COUNT. Needs confluent-kafka and psycopg. Prints
one JSON object.
"""

import json
import os
import time
from datetime import datetime, timezone

import psycopg
from confluent_kafka import Consumer

BATCH = 1000

TABLE = """
create table python_loop (
    topic text, partition integer, kafka_offset bigint, review_id text, text text, label text,
    score real, classified_at timestamptz, primary key (topic, partition, kafka_offset))
"""
INSERT = """
insert into python_loop (topic, partition, kafka_offset, review_id, text, label, score,
    classified_at)
values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing
"""


def classify(texts):
    """The model, replaced by a constant."""
    return [("positive", 0.75)] * len(texts)


def main():
    count = int(os.environ["COUNT"])
    consumer = Consumer({
        "bootstrap.servers": os.environ["BROKERS"],
        "group.id": os.environ["GROUP"],
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    consumer.subscribe([os.environ["TOPIC"]])
    done, started = 0, None
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        database.execute("drop table if exists python_loop")
        database.execute(TABLE)
        database.commit()
        while done < count:
            messages = [m for m in consumer.consume(BATCH, timeout=0.1) if m.error() is None]
            if not messages:
                continue
            started = started or time.perf_counter()
            reviews = [json.loads(m.value()) for m in messages]
            labels = classify([review["text"] for review in reviews])
            now = datetime.now(timezone.utc)
            rows = [
                (m.topic(), m.partition(), m.offset(), review["review_id"], review["text"], label, score, now)
                for m, review, (label, score) in zip(messages, reviews, labels)
            ]
            with database.cursor() as cursor:
                cursor.executemany(INSERT, rows)
            database.commit()
            consumer.commit(asynchronous=True)
            done += len(rows)
        seconds = time.perf_counter() - started
        written = database.execute("select count(*) from python_loop").fetchone()[0]
    consumer.close()
    assert written == count, f"{written} rows for {count} records"
    print(json.dumps({
        "peer": "python loop", "records": done, "seconds": seconds, "records_per_second": done / seconds,
        "confluent_kafka": __import__("confluent_kafka").__version__, "psycopg": psycopg.__version__,
    }))


if __name__ == "__main__":
    main()
