"""Whether the int8 graphs still say what the float weights say."""

from collections.abc import Sequence

from models.answers import answers
from models.classifier import Classifier
from models.data import Example

# Int8 may cost so much accuracy, as a share of the texts.
LARGEST_LOSS = 0.005


def compare(int8: Classifier, exact: Classifier, examples: Sequence[Example]) -> dict[str, float]:
    """Int8 against float32 in torch, both through the whole network, on labelled texts of one task.

    agreement: share of the texts with the same label; int8_accuracy and torch_accuracy: shares of
    right ones.
    """
    ours = [answer.label for answer in answers(int8, examples)]
    theirs = [answer.label for answer in answers(exact, examples)]
    true = [example.label for example in examples]
    return {
        "texts": float(len(examples)),
        "agreement": _share(ours, theirs),
        "int8_accuracy": _share(ours, true),
        "torch_accuracy": _share(theirs, true),
    }


def in_words(task: str, found: dict[str, float]) -> str:
    loss = found["torch_accuracy"] - found["int8_accuracy"]
    verdict = "" if loss <= LARGEST_LOSS else f": MORE THAN {100 * LARGEST_LOSS:g} POINTS"
    return (
        f"{task}: int8 answers like torch on {found['agreement']:.1%} of {found['texts']:,.0f} "
        f"texts and loses {100 * loss:.1f} points of accuracy{verdict}"
    )


def _share(one: Sequence[str], other: Sequence[str]) -> float:
    same = sum(a == b for a, b in zip(one, other, strict=True))
    return round(same / max(1, len(one)), 4)
