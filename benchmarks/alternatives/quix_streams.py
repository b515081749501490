"""The same job in Quix Streams, as its users write it: a call of the pipeline for each message.

It reads the same topics as a worker with a group of its own, and its own Elasticsearch sink writes
at each of its checkpoints (every 5 seconds by default). One head, untrained; no risk, alerts or
dead letters.

Prints one JSON line: the texts and the seconds from the first record at hand to the answer of the
last bulk request; loading the model, joining the group and a first warm call are left out.
"""

import argparse
import json
import time
from typing import Any

from elasticsearch import Elasticsearch
from quixstreams import Application
from quixstreams.sinks import SinkBatch
from quixstreams.sinks.community.elasticsearch import ElasticsearchSink

from benchmarks.alternatives.torch_pipeline import make_pipeline, text_of


class Sink(ElasticsearchSink):
    """Quix' own sink; it remembers when it wrote last."""

    written_at = 0.0

    def setup(self) -> None:
        # As in the parent but for `info()`, which the servers of `make up` do not answer.
        self._client = Elasticsearch(**self._client_kwargs)
        self._create_index()  # type: ignore[no-untyped-call]

    def write(self, batch: SinkBatch) -> None:
        super().write(batch)
        self.written_at = time.perf_counter()


class Classified:
    """The step that adds a label; it remembers when it was called first."""

    def __init__(self) -> None:
        self.started_at = 0.0
        self._classify = make_pipeline()
        self._classify("A text to warm up with.")

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        self.started_at = self.started_at or time.perf_counter()
        return {**record, "sentiment": self._classify(text_of(record))[0]}


def main(arguments: argparse.Namespace) -> None:
    app = Application(
        arguments.kafka,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=arguments.folder,
        loglevel="WARNING",
    )
    sink = Sink(
        arguments.elasticsearch, arguments.index, document_id_setter=lambda item: item.value["id"]
    )
    classified = Classified()
    for name in arguments.topics:
        app.dataframe(app.topic(name, value_deserializer="json")).apply(classified).sink(sink)
    app.run(count=arguments.texts, collect=False)
    seconds = sink.written_at - classified.started_at
    print(json.dumps({"texts": arguments.texts, "seconds": seconds}))


if __name__ == "__main__":
    from benchmarks.alternatives.arguments import parsed

    main(parsed(__doc__))
