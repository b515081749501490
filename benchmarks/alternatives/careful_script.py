"""A careful script without Bellwether: batches of 32, one bulk request and one commit a batch.

It reads the same topics as a worker with a group of its own, classifies the text of each record by
`transformers.pipeline` with the same encoder in torch and one head of three labels (untrained: the
speed is the same), and indexes the record with its label. It spares what a worker does besides: a
second task a record, validation, risk, alerts, dead letters, metrics.

Prints one JSON line: the texts and the seconds from the first records at hand to the last commit;
loading the model, joining the group and a first warm batch are left out.
"""

import argparse
import asyncio
import json
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk

from benchmarks.alternatives.torch_pipeline import make_pipeline, text_of

BATCH = 32


async def main(arguments: argparse.Namespace) -> None:
    classify = make_pipeline()
    classify(["A text to warm up with."] * BATCH, batch_size=BATCH)
    consumer = AIOKafkaConsumer(
        *arguments.topics,
        bootstrap_servers=arguments.kafka,
        group_id=arguments.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    elasticsearch = AsyncElasticsearch(arguments.elasticsearch)
    await consumer.start()
    try:
        print(json.dumps(await work(arguments, classify, consumer, elasticsearch)))
    finally:
        await consumer.stop()
        await elasticsearch.close()


async def work(
    arguments: argparse.Namespace,
    classify: Any,
    consumer: AIOKafkaConsumer,
    elasticsearch: AsyncElasticsearch,
) -> dict[str, float]:
    texts, started = 0, 0.0
    while texts < arguments.texts:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
        messages = [message for partition in fetched.values() for message in partition]
        if not messages:
            continue
        started = started or time.perf_counter()
        records = [json.loads(message.value) for message in messages]
        # In a thread, so that the consumer's heartbeats go on.
        answers = await asyncio.to_thread(
            classify, [text_of(record) for record in records], batch_size=BATCH
        )
        actions = [
            action(arguments.index, message, record, answer)
            for message, record, answer in zip(messages, records, answers, strict=True)
        ]
        await async_bulk(elasticsearch, actions)
        await consumer.commit()
        texts += len(messages)
    return {"texts": texts, "seconds": time.perf_counter() - started}


def action(
    index: str, message: ConsumerRecord, record: dict[str, Any], answer: dict[str, Any]
) -> dict[str, Any]:
    origin = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
    return {"_index": index, "_id": record["id"], **record, "sentiment": answer, "origin": origin}


if __name__ == "__main__":
    from benchmarks.alternatives.arguments import parsed

    asyncio.run(main(parsed(__doc__)))
