"""Which bundle the settings ask for: a folder, the registry's champion, or the shipped one."""

from pathlib import Path

from models.registry import Registry
from models.versions import CHAMPION
from schemas.errors import ConfigurationError
from stream.settings import Settings

NO_CHAMPION = (
    "BELLWETHER_MODEL: there is no champion in the registry yet; make one by `bellwether models "
    "promote`, or unset BELLWETHER_MODEL: the shipped model serves until there is one"
)


def open_registry(settings: Settings) -> Registry:
    """The registry of the settings; nothing is read yet, and MLflow not imported."""
    return Registry(settings.tracking, settings.registered_model, settings.registered_files)


def follows_registry(settings: Settings) -> bool:
    """Whether the registry says which model serves; a bundle's folder never changes."""
    return settings.model is None or needs_champion(settings)


def needs_champion(settings: Settings) -> bool:
    """Whether nothing but a champion will do."""
    return settings.model == Path(CHAMPION)


def model_folder(settings: Settings) -> Path | None:
    """The bundle's folder; None means the shipped one.

    Fetches the champion if it is not here yet. MLflow is imported only where a registry may exist.
    Raises ConfigurationError when the registry cannot be used, or has no champion where one is
    needed, and BundleError when its files are damaged.
    """
    if not follows_registry(settings):
        return settings.model
    registry = open_registry(settings)
    champion = registry.alias(CHAMPION)
    if champion:
        return registry.fetch(champion, settings.fetched_models)
    if needs_champion(settings):
        raise ConfigurationError(NO_CHAMPION)
    return None
