import pytest

from models.classifier import Classifier


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The shipped bundle."""
    return Classifier.load()
