"""Word n-grams beside the encoder."""

from pathlib import Path

import numpy as np
import pytest

from models.ngrams import NgramTable, fit_ngrams, fit_share, read_ngrams, write_ngrams

FALL, RISE, SHARES, NOT = 7, 8, 9, 10
# "shares fall" is a pair; its key has the first id plus one in the upper half.
SHARES_FALL = ((SHARES + 1) << 32) + FALL


@pytest.fixture
def table() -> NgramTable:
    return NgramTable(
        keys=np.array([FALL, RISE, SHARES_FALL], np.uint64),
        weights=np.array([[2, -2], [-3, 3], [1, 0]], np.float32),
        squares=np.array([4, 9, 12], np.float32),
        bias=np.array([0.5, -0.5], np.float32),
    )


def test_logits_are_the_formulas(table: NgramTable) -> None:
    # "shares fall fall": fall twice, the pair once; (2 * 2 + 1) / sqrt(2 * 4 + 12).
    (found,) = table.logits([[SHARES, FALL, FALL]])
    assert found == pytest.approx([0.5 + 5 / 20**0.5, -0.5 - 4 / 20**0.5])


def test_a_text_of_nothing_known_has_the_bias(table: NgramTable) -> None:
    assert table.logits([[], [NOT], [NOT, SHARES]]) == pytest.approx(np.array([[0.5, -0.5]] * 3))


def test_a_pair_is_of_one_text(table: NgramTable) -> None:
    """The end of a text and the beginning of the next are no neighbours."""
    alone = [table.logits([text])[0] for text in ([SHARES], [FALL])]
    assert np.array_equal(table.logits([[SHARES], [FALL]]), np.stack(alone))


def test_no_texts(table: NgramTable) -> None:
    assert table.logits([]).shape == (0, 2)


def test_what_the_tokens_add_sums_to_the_logits(table: NgramTable) -> None:
    text = [SHARES, FALL, NOT, RISE]
    by_token = table.by_token(text)
    assert by_token.shape == (4, 2)
    assert not by_token[2].any()
    assert by_token.sum(axis=0) + table.bias == pytest.approx(table.logits([text])[0])


def test_new_labels_get_nothing(table: NgramTable) -> None:
    wide = table.widened(3).logits([[FALL]])
    assert wide[0, :2] == pytest.approx(table.logits([[FALL]])[0])
    assert wide[0, 2] == 0


def test_a_file_keeps_the_tables_within_a_128th(table: NgramTable, tmp_path: Path) -> None:
    write_ngrams(tmp_path / "ngrams", {"news.sentiment": table})
    (read,) = read_ngrams(tmp_path / "ngrams").values()
    assert np.array_equal(read.keys, table.keys)
    assert read.weights == pytest.approx(table.weights, abs=3 / 128)


def test_it_learns_which_words_tell_the_labels() -> None:
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 2, 400)
    noise = draw.integers(100, 150, (400, 6))
    texts = [
        [*row[:3], FALL if target else RISE, *row[3:]]
        for row, target in zip(noise.tolist(), targets, strict=True)
    ]
    table = fit_ngrams(3, texts[:300], targets[:300], seed=0)
    assert table is not None
    found = table.logits(texts[300:]).argmax(axis=1)
    assert (found == targets[300:]).mean() == 1
    # The third label was never seen.
    assert (table.logits([[NOT]])[0, 2] < table.logits([[NOT]])[0, :2] - 10).all()


@pytest.mark.parametrize("texts", [[[1], [2]], [[], []]])
def test_nothing_is_learnt_where_no_ngram_comes_twice(texts: list[list[int]]) -> None:
    assert fit_ngrams(2, texts, np.array([0, 1]), seed=0) is None


def test_shares_are_found_again() -> None:
    draw = np.random.default_rng(0)
    head, ngrams = draw.normal(0, 3, (2, 20_000, 4)).astype(np.float32)
    logits = 0.7 * head + 0.4 * ngrams + draw.gumbel(size=head.shape)
    assert fit_share(head, ngrams, logits.argmax(axis=1)) == pytest.approx((0.7, 0.4), abs=0.03)


def test_ngrams_that_mislead_get_no_share() -> None:
    draw = np.random.default_rng(0)
    head = draw.normal(0, 3, (2_000, 4)).astype(np.float32)
    targets = (head + draw.gumbel(size=head.shape)).argmax(axis=1)
    assert fit_share(head, (-head).astype(np.float32), targets)[1] < 0.1
