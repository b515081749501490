"""A few hundred varied texts of our own, made from templates, for properties of the model."""

import random

_COMPANIES = (
    "Harborline", "Quantrell Devices", "Voltera", "Castellan Bank", "Merrow", "Orbit Air",
    "Tavistock Steel", "Pelham Utilities", "Solaris Grid", "Ardent", "北方电力", "Größe & Söhne",
)  # fmt: skip
_HEADLINES = (
    "{c} shares {v} {n}% after {e}",
    "${t}: {c} {v}, {e}",
    "{c} reports {e}; analysts see {n}% change https://example.com/{n}",
    "BREAKING: {c} {v} on {e}!!!",
    "RT @desk{n}: {c} {v} {v} ${t} #stocks",
    "{c} and {d} agree on a merger worth ${n} billion, {e} notwithstanding",
    "{c}",
    "{e}? {c} says no comment",
)
_MESSAGES = (
    "my card ending {n} was {w}, help",
    "Hello, I {w} yesterday and it still says {n} pounds. Why?",
    "{w}",
    "i want to know about {w} since {n} days and nobody answers me at all 😡",
    "Can you explain {w}? Thanks {c}",
    "WHY is {w}?!?! I have been a customer for {n} years",
)
_VERBS = ("jumps", "tumbles", "slips", "soars", "is flat", "falls", "gains", "plunge", "edge up")
_EVENTS = (
    "a weak quarter", "strong results", "a profit warning", "the regulator's fine",
    "an unchanged dividend", "a cyber attack", "rate fears", "a new contract", "its IPO",
)  # fmt: skip
_WORDS = (
    "declined", "charged twice", "lost on the train", "a pending transfer", "the exchange rate",
    "my new PIN", "a refund that never came", "topped up", "blocked after three tries",
)  # fmt: skip


def varied_texts(count: int, seed: int = 0) -> list[str]:
    """Short, usual and long ones, in several scripts, some beyond the model's window."""
    random_ = random.Random(seed)
    texts = []
    for number in range(count):
        text = _sentence(random_)
        if number % 10 == 0:
            text = " ".join(_sentence(random_) for _ in range(random_.randint(3, 40)))
        texts.append(text)
    return texts


def _sentence(random_: random.Random) -> str:
    return random_.choice(_HEADLINES + _MESSAGES).format(
        c=random_.choice(_COMPANIES),
        d=random_.choice(_COMPANIES),
        v=random_.choice(_VERBS),
        e=random_.choice(_EVENTS),
        w=random_.choice(_WORDS),
        n=random_.randint(1, 99),
        t="".join(random_.choices("ABCDEFGHIJ", k=4)),
    )
