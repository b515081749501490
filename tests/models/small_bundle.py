"""A bundle of the small encoder with heads of two stages; made in a few seconds."""

import shutil
from pathlib import Path

from models.bundle import MANIFEST, Manifest, write_manifest
from models.training import train

RECIPE = "exits: [1]\npooled_layers: 1\n"


def write_bundle(folder: Path, data: Path, encoder: Path) -> Path:
    """Trains on `data`; returns the bundle's folder in `folder`."""
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE)
    out = folder / "bundle"
    train(data, out, recipe=str(recipe), encoder=encoder, threads=1, report=lambda _: None)
    return out


def another_bundle(bundle: Path, folder: Path, seed: int) -> Path:
    """A copy of a bundle with another seed in its manifest, so of another version."""
    shutil.copytree(bundle, folder)
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    write_manifest(folder, manifest.model_copy(update={"seed": seed}))
    return folder
