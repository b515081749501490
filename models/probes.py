"""Probe texts: asked once when a bundle is made and again wherever it is loaded.

Processors round int8 products differently. A probe whose answer was clear (margin of at least 0.3
between the two likeliest labels) must get the same label on the machine that serves. The whole
network answers them, nobody leaves early: so its answers hold for every engine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import BundleError
from schemas.predictions import Classification, Prediction
from schemas.records import Kind

CLEAR_MARGIN = 0.3

Classify = Callable[[Sequence[str], Sequence[Kind]], list[Classification]]

PROBE_TEXTS: Mapping[Kind, tuple[str, ...]] = {
    Kind.NEWS: (
        "Harborline Foods lifts full-year profit forecast after record summer sales",
        "Shares of Quantrell Devices plunge 18% as it warns of weaker demand",
        "Central bank leaves its key rate unchanged, as economists expected",
        "Northgate Rail to cut 1,200 jobs after heavy quarterly loss",
        "$VLTR - Voltera Motors downgraded to Sell at two brokers on thin margins",
        "Castellan Bank names Ines Duarte as chief financial officer",
        "Oil slips below $70 as stockpiles grow for a fifth week",
        "Gold climbs to a three-month high as the dollar weakens",
        "Merrow Pharma agrees to buy rival Lindqvist for $4.2 billion in cash",
        "Regulator fines Summit Brokerage $55 million over misleading clients",
        "Ardent Software prices IPO at $24 a share, top of its range",
        "Board of Pelham Utilities declares quarterly dividend of $0.38 per share",
        "Euro falls against the yen before inflation figures",
        "Inflation cools to 2.9% in May, less than forecast",
        "Aurelia Hotels Q3 EPS of $1.12 beats by $0.09, revenue misses",
        "Wall Street opens higher, led by chip makers",
        "Treasury yields jump to the highest level since 2011 after auction",
        "Analysts at Fenwick raise price target on Orbit Air to $64, keep Buy",
        "Tavistock Steel shuts furnace after accident; output to drop by a third",
        "What investors should know before Monday's open",
        "Solaris Grid wins 900 megawatt wind contract in the North Sea",
        "Court throws out patent suit against Kestrel Networks; shares jump",
        "Parliament votes on the tax bill next week",
        "Copper miners rally on hopes of stimulus https://example.com/x1",
    ),
    Kind.MESSAGE: (
        "My card was swallowed by the cash machine outside the station, what now?",
        "I lost my wallet on the bus with my bank card in it",
        "There is a payment of 64 pounds on my statement that I never made!",
        "How do I change my PIN?",
        "Why was I charged a fee for taking out cash abroad?",
        "My new card still has not arrived after two weeks",
        "The exchange rate you used for my purchase in Tokyo is wrong",
        "Can I top up my account with Apple Pay?",
        "I forgot my passcode and cannot get into the app",
        "What is the weather going to be like tomorrow?",
        "Please close my account, I am fed up with this awful service",
        "Thank you so much, the lady on the phone was wonderful!",
        "My transfer from Friday still has not reached my landlord",
        "I want to cancel the transfer I made a minute ago",
        "How old must my daughter be to have an account?",
        "The contactless function on my card does not work any more",
        "I got less cash from the machine than it says on my account",
        "Where can I see the interest rate on my mortgage?",
        "My refund from the shoe shop does not show up",
        "I am so worried, somebody seems to be using my card right now",
        "Which countries do you support?",
        "I'd like a second card for my husband",
        "You declined my card in a full restaurant, I was so embarrassed",
        "Tell me a joke about bankers",
    ),
}


def write_probes(path: Path, classify: Classify) -> None:
    """Asks every probe and writes its answers with their margins."""
    texts = [(text, kind) for kind, group in PROBE_TEXTS.items() for text in group]
    answers = classify([text for text, _ in texts], [kind for _, kind in texts])
    lines = [
        orjson.dumps({"text": text, "kind": kind, "answers": _answers(classification)})
        for (text, kind), classification in zip(texts, answers, strict=True)
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")


def check_probes(path: Path, classify: Classify) -> None:
    """Asks every probe again. Raises BundleError at the first clear answer that differs."""
    probes = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    now = classify([p["text"] for p in probes], [Kind(p["kind"]) for p in probes])
    for probe, classification in zip(probes, now, strict=True):
        for task, label in _clear_answers(probe):
            found = classification.predictions[task].label
            if found != label:
                raise BundleError(
                    f"On this machine the model answers {task} of the probe text "
                    f"'{probe['text']}' with {found}; it was {label} when the bundle was made. "
                    "The processor computes int8 products differently: train a bundle on it."
                )


def margin(prediction: Prediction) -> float:
    """The distance between the two greatest probabilities."""
    *_, second, first = sorted(prediction.probabilities)
    return first - second


def _answers(classification: Classification) -> dict[str, dict[str, Any]]:
    return {
        task: {"label": prediction.label, "margin": round(margin(prediction), 4)}
        for task, prediction in classification.predictions.items()
    }


def _clear_answers(probe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for task, answer in probe["answers"].items():
        if answer["margin"] >= CLEAR_MARGIN:
            yield task, answer["label"]
