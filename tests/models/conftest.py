from pathlib import Path

import pytest

from models.classifier import Classifier
from tests.models.small_bundle import write_bundle
from tests.models.small_data import write_data
from tests.models.small_encoder import write_encoder


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The shipped bundle."""
    return Classifier.load()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small labelled sets, which no test changes."""
    return write_data(tmp_path_factory.mktemp("sets") / "data")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small encoder, which no test changes."""
    return write_encoder(tmp_path_factory.mktemp("encoders") / "small")


@pytest.fixture(scope="session")
def small_bundle(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small encoder with two stages, which no test changes."""
    return write_bundle(tmp_path_factory.mktemp("bundles"), data, encoder)
