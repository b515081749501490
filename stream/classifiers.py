"""The classifier that the settings ask for."""

from models.classifier import Classifier
from schemas.taxonomy import Taxonomy
from stream.settings import Settings


def load_classifier(settings: Settings, taxonomy: Taxonomy, *, threads: int = 0) -> Classifier:
    """Raises BundleError as `Classifier.load` does."""
    return Classifier.load(
        settings.model,
        taxonomy=taxonomy,
        device=settings.device,
        threads=threads,
        early_exit=settings.early_exit,
        cached_texts=settings.cached_texts,
    )
