"""What one would otherwise try first: logistic regression on word uni- and bigrams."""

from collections.abc import Sequence

import numpy as np

from models.labelled import Labelled
from models.measures import IntArray


def word_ngrams(
    train: Sequence[Labelled], test: Sequence[Labelled], labels: Sequence[str]
) -> IntArray:
    """The labels that it predicts for the test texts, as positions. Needs scikit-learn."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=200, random_state=0),
    )
    model.fit([row.text for row in train], [labels.index(row.label) for row in train])
    return np.asarray(model.predict([row.text for row in test]), np.int64)
