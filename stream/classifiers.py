"""The classifier that the settings ask for."""

from models.bundle import taxonomy_of
from models.classifier import Classifier
from stream.settings import Settings


def load_classifier(settings: Settings, *, threads: int = 0) -> Classifier:
    """Raises BundleError as `Classifier.load` does, ConfigurationError for the taxonomy's file."""
    return Classifier.load(
        settings.model,
        taxonomy=taxonomy_of(settings.model, settings.taxonomy),
        device=settings.device,
        threads=threads,
        early_exit=settings.early_exit,
        cached_texts=settings.cached_texts,
    )
