"""The classifier that the settings ask for, and what belongs to it."""

from dataclasses import dataclass
from pathlib import Path

from models.bundle import taxonomy_of
from models.classifier import Classifier
from stream.analysis import Analysis
from stream.champion import model_folder
from stream.risk import RiskModel
from stream.rules import RuleBook
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class Model:
    """A classifier and the analysis that knows its labels. A worker swaps both as one."""

    classifier: Classifier
    analysis: Analysis

    @property
    def version(self) -> str:
        return self.classifier.version


def load_classifier(settings: Settings, *, threads: int = 0) -> Classifier:
    """Raises BundleError as `Classifier.load` does, ConfigurationError for the taxonomy's file and
    for a registry that cannot be used."""
    return classifier_of(model_folder(settings), settings, threads=threads)


def classifier_of(folder: Path | None, settings: Settings, *, threads: int = 0) -> Classifier:
    """That of a bundle's folder (None: the shipped one), loaded as the settings say. Raises as
    `load_classifier`."""
    return Classifier.load(
        folder,
        taxonomy=taxonomy_of(folder, settings.taxonomy),
        device=settings.device,
        threads=threads,
        early_exit=settings.early_exit,
        cached_texts=settings.cached_texts,
    )


def load_model(folder: Path | None, settings: Settings, *, threads: int = 0) -> Model:
    """The model of a bundle's folder (None: the shipped one), warm and ready to judge.

    Raises as `load_classifier`, and ConfigurationError for rules or risk weights that name labels
    which the bundle does not have.
    """
    classifier = classifier_of(folder, settings, threads=threads)
    return Model(classifier, make_analysis(classifier, settings))


def make_analysis(classifier: Classifier, settings: Settings) -> Analysis:
    """Reads the rules and the risk weights. Raises ConfigurationError."""
    taxonomy = classifier.taxonomy
    return Analysis(
        risk=RiskModel.load(settings.risk, taxonomy),
        rules=RuleBook.load(settings.rules, taxonomy, most_symbols=settings.alert_max_symbols),
        taxonomy=taxonomy,
        prefix=settings.prefix,
        alert_max_age_seconds=settings.alert_max_age_seconds,
    )
