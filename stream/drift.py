"""Watches whether the model's answers stay as they were when it was made.

Every answer is counted in a rolling hour. Once a minute the hour is compared with the reference in
the model's bundle: gauges are set, and a document for each task goes to the index `drift`. That is
a report and no record: what Elasticsearch does not take at once is skipped and counted, and nobody
waits for it.
"""

import logging
import os
import socket
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from models.classifier import Classifier
from models.drift import Reference, Tally, Window, confidence_divergence, label_divergence
from schemas.documents import index_name
from schemas.mappings import DRIFT
from schemas.predictions import Classification
from schemas.times import format_rfc3339
from stream.elastic_errors import Failure, explain
from stream.metrics import Metrics

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60.0
REQUEST_SECONDS = 10.0

Document = dict[str, Any]


class DriftWatch:
    """Counts answers, and reports on them by `report` when a minute has ended.

    minute_seconds: how long a minute lasts; tests have no time.
    """

    def __init__(
        self,
        classifier: Classifier,
        client: AsyncElasticsearch,
        metrics: Metrics,
        prefix: str,
        minute_seconds: float = MINUTE_SECONDS,
    ) -> None:
        self._client = client.options(
            max_retries=0, retry_on_timeout=False, request_timeout=REQUEST_SECONDS
        )
        self._metrics = metrics
        self._prefix = prefix
        self._minute_seconds = minute_seconds
        self._worker = f"{socket.gethostname()}/{os.getpid()}"
        self.renew(classifier)

    def renew(self, classifier: Classifier) -> None:
        """Begin anew, with the reference of a model that takes over."""
        self._version = classifier.version
        self._taxonomy = classifier.taxonomy
        self._reference = classifier.reference
        self._window = Window(self._taxonomy.tasks)
        self._ends_at = self._minute_after(time.time())
        self._measure([])

    def add(self, classifications: Iterable[Classification]) -> None:
        """Count answers; those of a model that was replaced meanwhile are left out."""
        for classification in classifications:
            if classification.model_version == self._version:
                self._window.add(classification)

    def disagreed(self, task: str, differs: bool) -> None:
        """Count a person's label of a task, and whether it differs from the model's answer."""
        if task in self._taxonomy.tasks:
            self._window.disagreed(task, differs)

    @property
    def seconds_left(self) -> float:
        """Until the minute ends."""
        return max(0.0, self._ends_at - time.time())

    async def report(self) -> None:
        """End the minute: set the gauges, write the documents. Raises nothing for a server."""
        at, self._ends_at = self._ends_at, self._minute_after(time.time())
        documents = [
            self._document(datetime.fromtimestamp(at, UTC), task, tally)
            for task, tally in self._window.totals().items()
            if tally.texts
        ]
        self._window.turn()
        self._measure(documents)
        if documents:
            await self._write(datetime.fromtimestamp(at, UTC), documents)

    def _minute_after(self, now: float) -> float:
        return (now // self._minute_seconds + 1) * self._minute_seconds

    def _document(self, at: datetime, task: str, tally: Tally) -> Document:
        """What the hour until `at` says of a task; without a reference or feedback the fields
        that need it are absent. Labels that were not answered are left out."""
        reference = self._reference.get(task)
        document: Document = {
            "at": format_rfc3339(at),
            "worker": self._worker,
            "task": task,
            "model_version": self._version,
            "texts": tally.texts,
            "labels": [
                _label(label, texts, tally.texts, reference)
                for label, texts in tally.labels.most_common()
            ],
            "confidence_mean": tally.confidence_mean,
            "abstained": tally.abstained_share,
            "unknown_tokens": tally.unknown_share,
            "feedback": tally.feedback,
        }
        if tally.feedback:
            document["disagreement"] = tally.disagreed / tally.feedback
        if reference:
            document["psi_labels"] = label_divergence(tally, reference)
            document["psi_confidence"] = confidence_divergence(tally, reference)
        return document

    def _measure(self, documents: Sequence[Document]) -> None:
        """Set the gauges; those of tasks of which nothing came go."""
        metrics = self._metrics
        for gauge in (
            metrics.drift_psi,
            metrics.confidence_mean,
            metrics.abstained_ratio,
            metrics.unknown_tokens_ratio,
        ):
            gauge.clear()
        for document in documents:
            task = document["task"]
            metrics.confidence_mean.labels(task).set(document["confidence_mean"])
            metrics.abstained_ratio.labels(task).set(document["abstained"])
            kind = self._taxonomy.tasks[task].kind
            metrics.unknown_tokens_ratio.labels(kind).set(document["unknown_tokens"])
            for of in ("labels", "confidence"):
                if f"psi_{of}" in document:
                    metrics.drift_psi.labels(task, of).set(document[f"psi_{of}"])

    async def _write(self, at: datetime, documents: Sequence[Document]) -> None:
        """One attempt; a worker has one document a task and minute, however often it is sent."""
        index = index_name(self._prefix, DRIFT, at)
        operations: list[Document] = []
        for document in documents:
            identity = f"{self._worker}/{document['task']}/{document['at']}"
            operations += [{"index": {"_index": index, "_id": identity}}, document]
        try:
            response = await self._client.bulk(operations=operations)
        except (ApiError, TransportError) as error:
            self._skip(len(documents), explain(error))
            return
        failures = [f for item in response["items"] if (f := Failure.of_item(item["index"]))]
        if failures:
            self._skip(len(failures), failures[0].for_log())

    def _skip(self, documents: int, reason: str) -> None:
        self._metrics.drift_skipped.inc(documents)
        logger.warning("%d drift documents are skipped: Elasticsearch: %s", documents, reason)


def _label(label: str, texts: int, whole: int, reference: Reference | None) -> Document:
    entry: Document = {"label": label, "texts": texts, "share": texts / whole}
    if reference:
        entry["reference"] = reference.labels.get(label, 0.0)
    return entry
