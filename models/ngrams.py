"""Word n-grams beside the encoder: a linear model of the tokens of a text and of pairs of them.

It knows words that tell a lot in a small set, which the encoder, that read much else, levels out. A
text's n-grams are weighed by how rare they are (idf) and its length is taken out, as by
scikit-learn's TfidfTransformer. With n(g) the count of an n-gram g in a text, i(g) its idf and w(g)
its weights, the logits are

    b + Σ n(g) i(g) w(g) / sqrt(Σ n(g) i(g)²)

over the n-grams that the table has. Each stage's head adds its own share of them to its logits.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.logistic import all_labels
from models.tokenizer import WindowTokenizer

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

# A table's size in a bundle. The n-grams that tell the labels apart best are kept.
TABLE_BYTES = 300_000
KEY_BYTES, SQUARE_BYTES = 8, 4
# An n-gram of fewer texts says nothing about others.
LEAST_TEXTS = 2
# scikit-learn's C, and how far it is followed.
PENALTY, MAX_ITERATIONS = 10.0, 100
# Of longer runs of texts the intermediate arrays would make the process grow.
CHUNK_TEXTS = 16
_PAIR = np.uint64(32)


@dataclass(frozen=True, slots=True)
class NgramTable:
    """The n-grams of one task.

    keys: [n-grams], sorted; see `_keys`.
    weights: i(g) w(g), [n-grams, labels].
    squares: i(g)², [n-grams].
    bias: [labels].
    """

    keys: Keys
    weights: FloatArray
    squares: FloatArray
    bias: FloatArray

    def logits(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        """[texts, labels], of the texts' token ids."""
        chunks = (texts[at : at + CHUNK_TEXTS] for at in range(0, len(texts), CHUNK_TEXTS))
        empty = np.zeros((0, len(self.bias)), np.float32)
        return np.concatenate([empty, *map(self._logits, chunks)])

    def _logits(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        rows, keys = _keys(texts)
        places, known = self._places(keys)
        rows, places = rows[known], places[known]
        length = np.bincount(rows, self.squares[places], len(texts))
        sums = np.zeros((len(texts), len(self.bias)), np.float32)
        np.add.at(sums, rows, self.weights[places])
        scale = np.sqrt(np.maximum(length, 1e-9)).astype(np.float32)
        found: FloatArray = self.bias + sums / scale[:, None]
        return found

    def by_token(self, ids: Sequence[int]) -> FloatArray:
        """What each token adds to the logits, [tokens, labels]: a pair's part goes to both."""
        _, keys = _keys([ids])
        places, known = self._places(keys)
        found = np.zeros((len(ids), len(self.bias)), np.float32)
        scale = np.sqrt(max(float(self.squares[places[known]].sum()), 1e-9))
        for number in np.flatnonzero(known):
            weights = self.weights[places[number]] / scale
            if number < len(ids):
                found[number] += weights
            else:
                found[number - len(ids) : number - len(ids) + 2] += weights / 2
        return found

    def widened(self, labels: int) -> "NgramTable":
        """The table with so many labels; of those that it does not know it says nothing."""
        more = labels - len(self.bias)
        return replace(
            self,
            weights=np.pad(self.weights, ((0, 0), (0, more))),
            bias=np.pad(self.bias, (0, more)),
        )

    def _places(self, keys: Keys) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Where each key stands in the table, and whether it does."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return places, self.keys[places] == keys


@dataclass(frozen=True, slots=True)
class NgramModel:
    """The tables of a bundle by task, and for each stage the factor by which they count there."""

    tables: Mapping[str, NgramTable] = field(default_factory=dict)
    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NgramReader:
    """Says what the n-grams of a bundle add for texts, where no engine does."""

    model: NgramModel
    tokenizer: WindowTokenizer

    def logits(self, task: str, texts: Sequence[str], labels: int, stage: int) -> FloatArray:
        """[texts, labels]: what is added to the logits of the task's head at the end of a stage."""
        if task not in self.model.tables:
            return np.zeros((len(texts), labels), np.float32)
        ids = [tokens.ids for tokens in self.tokenizer.encode(texts)]
        found = self.model.tables[task].widened(labels).logits(ids)
        return found * np.float32(self.model.shares[task][stage])


def fit_ngrams(
    labels: int, texts: Sequence[Sequence[int]], targets: IntArray, seed: int
) -> NgramTable | None:
    """A table fitted on the texts' token ids; None where no n-gram is in two texts."""
    import scipy.sparse as sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.feature_selection import SelectKBest, chi2
    from sklearn.linear_model import LogisticRegression

    rows, keys = _keys(texts)
    known, columns = np.unique(keys, return_inverse=True)
    counts = sparse.csr_matrix(
        (np.ones(len(rows), np.float64), (rows, columns)), (len(texts), len(known))
    )
    counts.sum_duplicates()
    frequent = np.bincount(counts.indices, minlength=len(known)) >= LEAST_TEXTS
    if not frequent.any() or len(np.unique(targets)) < 2:
        return None
    counts, known = counts[:, frequent], known[frequent]
    most = TABLE_BYTES // (KEY_BYTES + SQUARE_BYTES + labels)
    if most < len(known):
        chosen = SelectKBest(chi2, k=most).fit(counts, targets).get_support()
        counts, known = counts[:, chosen], known[chosen]
    idf = TfidfTransformer(norm=None).fit(counts).idf_
    lengths = np.sqrt(np.maximum(counts @ idf**2, 1e-9))
    weighed = sparse.diags(1 / lengths) @ counts @ sparse.diags(idf)
    model = LogisticRegression(C=PENALTY, max_iter=MAX_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        # Stopping before the optimum only regularises a little more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(weighed, targets)
    weight, bias = all_labels(model.coef_, model.intercept_, model.classes_, labels)
    return NgramTable(
        keys=known,
        weights=np.ascontiguousarray((weight * idf).T, np.float32),
        squares=(idf**2).astype(np.float32),
        bias=bias.astype(np.float32),
    )


def fit_share(head: FloatArray, ngrams: FloatArray, targets: IntArray) -> tuple[float, float]:
    """By which factors the logits of a head and of n-grams, [texts, labels], are to be added: those
    of the greatest likelihood (Platt scaling of two models; convex), neither of them negative."""
    from scipy.optimize import minimize

    both = np.stack([head, ngrams]).astype(np.float64)
    rows = np.arange(len(targets))

    def objective(factors: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = np.tensordot(factors, both, 1)
        peak = logits.max(axis=1, keepdims=True)
        powers = np.exp(logits - peak)
        total = powers.sum(axis=1, keepdims=True)
        loss = (np.log(total) + peak)[:, 0] - logits[rows, targets]
        expected = (both * (powers / total)).sum(axis=2)
        slopes = (expected - both[:, rows, targets]).mean(axis=1)
        return float(loss.mean()), slopes

    bounds = [(0.2, 5.0), (0.0, 5.0)]
    found = minimize(objective, np.array([1.0, 0.1]), jac=True, method="L-BFGS-B", bounds=bounds)
    of_head, of_ngrams = found.x
    return float(of_head), float(of_ngrams)


def write_ngrams(file: Path, tables: Mapping[str, NgramTable]) -> None:
    """Weights are rounded to 8 bits, with a scale a label."""
    from safetensors.numpy import save_file

    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for task, table in tables.items():
        scale = np.maximum(np.abs(table.weights).max(axis=0), 1e-9) / 127
        arrays[f"{task}.keys"] = table.keys
        arrays[f"{task}.weights"] = np.round(table.weights / scale).astype(np.int8)
        arrays[f"{task}.scale"] = scale.astype(np.float32)
        arrays[f"{task}.squares"] = table.squares
        arrays[f"{task}.bias"] = table.bias
    save_file(arrays, file)
    file.chmod(0o644)  # safetensors gives it to its owner alone


def read_ngrams(file: Path) -> dict[str, NgramTable]:
    """The tables by task."""
    from safetensors.numpy import load_file

    arrays = load_file(file)
    tasks = [name.removesuffix(".keys") for name in arrays if name.endswith(".keys")]
    return {
        task: NgramTable(
            keys=arrays[f"{task}.keys"],
            weights=arrays[f"{task}.weights"] * arrays[f"{task}.scale"],
            squares=arrays[f"{task}.squares"],
            bias=arrays[f"{task}.bias"],
        )
        for task in tasks
    }


def _keys(texts: Sequence[Sequence[int]]) -> tuple[IntArray, Keys]:
    """The n-grams of texts: the row of each, and its key: all tokens by their ids, then all pairs
    of neighbours by both ids, of which the first, plus one, is in the upper half."""
    lengths = np.array([len(ids) for ids in texts], np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    ids = np.fromiter((i for text in texts for i in text), np.uint64, int(lengths.sum()))
    follows = rows[1:] == rows[:-1]
    pairs = ((ids[:-1] + np.uint64(1)) << _PAIR | ids[1:])[follows]
    return np.concatenate([rows, rows[1:][follows]]), np.concatenate([ids, pairs])
