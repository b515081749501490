"""Recipes: those that come with the package, and the words for one that is wrong."""

from pathlib import Path

import pytest

from models.recipe import Recipe, load_recipe, shipped_recipes
from schemas.errors import ConfigurationError


def test_the_shipped_recipes() -> None:
    assert shipped_recipes() == ("default", "heads", "lora")
    assert load_recipe("heads") == Recipe()
    methods = {
        name: found.method
        for name in shipped_recipes()
        if (found := load_recipe(name).finetuning) is not None
    }
    assert methods == {"default": "full", "lora": "lora"}


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text("seed: 3\nfinetuning:\n  epochs: 1\n")
    recipe = load_recipe(str(file))
    assert recipe.seed == 3
    assert recipe.finetuning is not None
    assert recipe.finetuning.epochs == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a list\n", "wrong.yaml:1: expected settings by name"),
        ("seed: 1\nfinetuning:\n  epochs: 0\n", r"wrong.yaml:3: finetuning.epochs: "),
        ("seed: 1\nfinetuning:\n  method: magic\n", r"wrong.yaml:3: finetuning.method: "),
        ("sede: 1\n", r"wrong.yaml:1: sede: "),
        ("languages: []\n", r"wrong.yaml:1: languages: "),
        ("languages: [English]\n", r"wrong.yaml:1: languages"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load_recipe(str(file))


def test_an_unknown_recipe_is_told_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no recipe 'magic'.*default, heads, lora"):
        load_recipe("magic")
    with pytest.raises(ConfigurationError, match="no recipe"):
        load_recipe(str(tmp_path / "nothing.yaml"))
