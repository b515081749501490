"""What the service measures, in Prometheus' terms. One object a process, passed down."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SWAP_BUCKETS = (0.5, 1, 2, 5, 10, 20, 60)
TOKEN_BUCKETS = (32, 128, 512, 1024, 2048, 4096, 8192, 16384, 32768)


# The time at which each counter began is of no use here and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The contract's metrics, each with the prefix `bellwether_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"bellwether_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"bellwether_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"bellwether_{name}", text, labels, buckets=buckets, registry=registry)

        self.events = counter("events_total", "Records read from Kafka", "topic")
        self.stamps_not_believed = counter(
            "stamps_not_believed_total", "Records whose stamp of Kafka cannot be true", "topic"
        )
        self.unreadable_batches = counter(
            "unreadable_batches_total", "Batches that the Kafka client cannot unpack", "topic"
        )
        self.expired = counter(
            "records_expired_total", "Records that retention took before they were read", "topic"
        )
        self.documents = counter("documents_total", "Documents confirmed", "index")
        self.dead_letters = counter("dead_letters_total", "Dead letters confirmed", "reason")
        self.alerts = counter("alerts_total", "Alerts raised", "rule")
        self.feedback = counter("feedback_total", "Feedback stored as labels", "task")
        self.disagreement = counter(
            "feedback_disagreement_total", "Labels of texts that differ from the model's", "task"
        )
        self.unknown_fields = counter("unknown_fields_total", "Fields that no schema names")
        self.sink_retries = counter("sink_retries_total", "Attempts repeated", "sink")
        self.in_flight = gauge("in_flight", "Records read and not yet in every sink")
        self.batch_records = histogram("batch_records", "Records of a batch", SIZE_BUCKETS)
        self.batch_tokens = histogram("batch_tokens", "Tokens of a batch", TOKEN_BUCKETS)
        self.stage_seconds = histogram(
            "stage_seconds", "Seconds of a batch in a stage", STAGE_BUCKETS, "stage"
        )
        self.consumer_lag = gauge(
            "consumer_lag", "Records behind the end that can be read", "topic", "partition"
        )
        self.drift_psi = gauge(
            "drift_psi", "How far the last hour is from the model's reference", "task", "of"
        )
        self.confidence_mean = gauge("confidence_mean", "Mean confidence, last hour", "task")
        self.abstained_ratio = gauge(
            "abstained_ratio", "Share of texts not really judged, last hour", "task"
        )
        self.unknown_tokens_ratio = gauge(
            "unknown_tokens_ratio", "Share of tokens in no vocabulary, last hour", "kind"
        )
        self.drift_skipped = counter(
            "drift_documents_skipped_total", "Drift documents that were not stored"
        )
        self.model_info = gauge("model_info", "1 for the model that judges", "version")
        self.model_refused = counter("model_refused_total", "Champions not taken, by attempt")
        self.swap_seconds = histogram(
            "swap_seconds", "Seconds to load a model beside the one that serves", SWAP_BUCKETS
        )
        self.registry_up = gauge("registry_up", "0 while the registry that is followed is away")
        self.registry_up.set(1)

    def took(self, topic: str, *, stamped: bool) -> None:
        """Count a record as it comes, and whether its stamp can be true."""
        self.events.labels(topic).inc()
        if not stamped:
            self.stamps_not_believed.labels(topic).inc()

    def serves(self, version: str, instead_of: str | None = None) -> None:
        """Say which model judges from now on."""
        self.model_info.labels(version).set(1)
        if instead_of is not None and instead_of != version:
            self.model_info.remove(instead_of)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block as a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(perf_counter() - started)
