from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from models.data import (
    DEFAULT_DATA,
    SPLITS,
    DataError,
    Split,
    company_span,
    fingerprint,
    load_examples,
    of_task,
    split_digests,
)
from models.duplicates import cluster_keys, normalized
from schemas.taxonomy import COMPANY_SENTIMENT, INTENT, SENTIMENT
from tests.models.small_data import write_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def test_texts_are_compared_without_what_changes_from_post_to_post() -> None:
    assert normalized("RT @desk: $VLTR beats by 3.5%! https://t.co/x #stocks &amp; more") == (
        "beats", "by", "more",
    )  # fmt: skip
    assert normalized("12:30") == ("12:30",)
    assert normalized("油价下跌") == ("油价下跌",)


def test_near_duplicates_share_a_key_in_any_order() -> None:
    texts = [
        "Stifel raises price target on Orbit Air to $64 from $51",
        "stifel RAISES price target on orbit air to $70 from $66 https://t.co/abc",
        "Stifel raises its price target on Orbit Air to $64 from $51",
        "Oil slips as stockpiles grow for a fifth week",
    ]
    first, second, third, other = cluster_keys(texts)
    assert first == second == third != other
    assert cluster_keys(texts[::-1]) == [other, third, second, first]


def test_no_group_is_divided(folder: Path) -> None:
    examples = load_examples(folder)
    splits: dict[str, set[Split]] = {}
    for key, example in zip(cluster_keys([e.text for e in examples]), examples, strict=True):
        if example.source != "oos":
            splits.setdefault(key, set()).add(example.split)
    assert all(len(found) == 1 for found in splits.values())


def test_every_split_gets_its_share(folder: Path) -> None:
    counts = Counter(e.split for e in load_examples(folder) if e.source != "oos")
    total = counts.total()
    assert 0.75 < counts[Split.TRAIN] / total < 0.85
    assert all(counts[split] > 0.03 * total for split in Split)


def test_the_division_is_the_same_again(folder: Path) -> None:
    assert load_examples(folder) == load_examples(folder)


def test_only_headlines_whose_companies_agree_are_used(folder: Path) -> None:
    with (folder / "sentfin.jsonl").open("a") as file:
        file.write('{"text": "Ant up, Bee down", "entity": "Ant", "label": "positive"}\n')
        file.write('{"text": "Ant up, Bee down", "entity": "Bee", "label": "negative"}\n')
        file.write('{"text": "Cat and Dog up", "entity": "Cat", "label": "positive"}\n')
        file.write('{"text": "Cat and Dog up", "entity": "Dog", "label": "positive"}\n')
    texts = [e.text for e in of_task(load_examples(folder), SENTIMENT, *Split)]
    assert texts.count("Ant up, Bee down") == 0
    assert texts.count("Cat and Dog up") == 1


def test_every_company_is_an_example_where_it_stands(folder: Path) -> None:
    with (folder / "sentfin.jsonl").open("a") as file:
        file.write('{"text": "Ant up, Bee down", "entity": "Ant", "label": "positive"}\n')
        file.write('{"text": "Ant up, Bee down", "entity": "Bee", "label": "negative"}\n')
        file.write('{"text": "Ant up, Bee down", "entity": "Bneutral", "label": "negative"}\n')
    found = [
        (e.span, e.label)
        for e in of_task(load_examples(folder), COMPANY_SENTIMENT, *Split)
        if e.text == "Ant up, Bee down"
    ]
    assert found == [((0, 3), "positive"), ((8, 11), "negative")]


def test_a_name_is_found_as_a_word_of_its_own_first() -> None:
    assert company_span("Antwerp sues ANT", "Ant") == (13, 16)
    assert company_span("$AAPL.N up", "aapl") == (1, 5)
    assert company_span("Antwerp", "Ant") == (0, 3)
    assert company_span("Bee up", "Ant") is None
    assert company_span("Bee up", "") is None
    assert company_span("Bee up", " ") is None
    assert company_span("Bee up", "e") is None
    assert company_span("$F up, Ford too", "f") == (1, 2)


def test_a_bank_s_question_that_means_the_same_has_the_same_intent(folder: Path) -> None:
    mapped = [
        e for e in of_task(load_examples(folder), INTENT, *Split) if e.source == "clinc_mapped"
    ]
    assert {e.label for e in mapped} == {"lost_or_stolen_card"}


def test_out_of_scope_is_other_half_of_it_for_the_report(folder: Path) -> None:
    intents = of_task(load_examples(folder), INTENT, *Split)
    outside = [e for e in intents if e.source == "oos"]
    assert {e.label for e in outside} == {"other"}
    assert {e.split for e in outside} == {Split.TRAIN, Split.TEST}
    assert {e.label for e in intents if e.source == "clinc"} == {"other"}


def test_the_fingerprint_follows_the_content(folder: Path) -> None:
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    with (folder / "banking77.jsonl").open("a") as file:
        file.write('{"text": "new", "label": "change_pin"}\n')
    assert fingerprint(folder) != before


def test_missing_data_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*nowhere"):
        load_examples(tmp_path / "nowhere")
    (folder / "goemotions.jsonl").unlink()
    with pytest.raises(DataError, match=r"lacks the file goemotions\.jsonl"):
        load_examples(folder)


def test_a_damaged_line_is_told_with_its_number(folder: Path) -> None:
    path = folder / "banking77.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], b"{", *lines[1:]]))
    with pytest.raises(DataError, match=r"banking77\.jsonl, line 2: expected a JSON object"):
        load_examples(folder)


@pytest.mark.skipif(not DEFAULT_DATA.is_dir(), reason="needs ../shared/data")
def test_the_splits_are_those_of_the_shipped_bundle() -> None:
    assert split_digests(load_examples(DEFAULT_DATA)) == orjson.loads(SPLITS.read_bytes())


def test_another_text_in_a_split_shows(folder: Path) -> None:
    examples = load_examples(folder)
    before = split_digests(examples)
    moved = replace(examples[0], text="another text")
    after = split_digests([moved, *examples[1:]])
    source, split = moved.source, moved.split
    assert before[source][split] != after[source][split]
