"""Fine-tuning on a small encoder: what learns, what stays, and what a killed run leaves."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.batches import MOST_REPEATS, BatchSampler, TextSet
from models.bundle import Manifest
from models.classifier import Classifier
from models.data import load_examples
from models.encoder import WORDS, Encoder, load_encoder
from models.finetuning import finetuned, last_checkpoint
from models.recipe import Finetuning, Recipe
from schemas.errors import ConfigurationError
from schemas.taxonomy import load_taxonomy

KILL_AFTER_SECONDS = 120


def learn(
    encoder: Encoder, data: Path, folder: Path, **settings: object
) -> tuple[Encoder, list[str]]:
    """The encoder after it learnt, and what was reported."""
    said: list[str] = []
    learnt = finetuned(
        encoder,
        load_examples(data),
        load_taxonomy(),
        Recipe(pooled_layers=1, exits=(1,)),
        Finetuning.model_validate(settings),
        folder=folder,
        report=said.append,
    )
    return learnt.encoder, said


def changed(before: Encoder, after: Encoder) -> set[str]:
    return {
        name
        for name, weight in before.weights.items()
        if not np.array_equal(weight, after.weights[name])
    }


def test_everything_learns_but_the_words(data: Path, encoder: Path, tmp_path: Path) -> None:
    before = load_encoder(encoder)
    after, said = learn(before, data, tmp_path, epochs=1)
    assert changed(before, after) == before.weights.keys() - {WORDS}
    assert [line.split(":")[0] for line in said] == ["pass 1.0"]


def test_low_rank_matrices_are_merged(data: Path, encoder: Path, tmp_path: Path) -> None:
    before = load_encoder(encoder)
    after, _ = learn(before, data, tmp_path, method="lora", rank=2, epochs=1)
    dense = {name for name in before.weights if ".layer." in name and "LayerNorm" not in name}
    assert changed(before, after) == {name for name in dense if name.endswith("weight")}
    for name in changed(before, after):
        difference = after.weights[name] - before.weights[name]
        assert np.linalg.matrix_rank(difference, tol=1e-4) <= 2


def test_the_loss_falls_and_every_stage_is_reported(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    _, said = learn(
        load_encoder(encoder), data, tmp_path, epochs=8, patience=8, head_learning_rate=0.03
    )
    losses = [float(line.rpartition(" ")[2]) for line in said if line.startswith("step")]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]
    passes = [line for line in said if line.startswith("pass")]
    assert len(passes) == 8
    assert all("sentfin_companies" in line and "exit_1" in line for line in passes)


def sets_of(*sizes: int) -> list[TextSet]:
    return [
        TextSet(
            f"set{number}",
            "task",
            ("text",) * size,
            (0,) * size,
            tuple(1 + p % 7 for p in range(size)),
        )
        for number, size in enumerate(sizes)
    ]


def drawn(sampler: BatchSampler, number: int) -> Sequence[Sequence[tuple[int, int]]]:
    sampler.set_epoch(number)
    return list(sampler)


def test_a_batch_is_of_one_set_and_of_full_size() -> None:
    sampler = BatchSampler(sets_of(1000, 100, 3), Finetuning(batch_texts=8), seed=0)
    batches = drawn(sampler, 0)
    assert len(batches) == len(sampler)
    assert {len(batch) for batch in batches} == {8}
    assert all(len({number for number, _ in batch}) == 1 for batch in batches)


def texts_seen(*sizes: int) -> list[list[int]]:
    """How often each text of each set comes in one pass, where shares go by the square root."""
    settings = Finetuning(batch_texts=8, sampling_power=0.5)
    sampler = BatchSampler(sets_of(*sizes), settings, seed=0)
    seen = Counter(key for batch in drawn(sampler, 0) for key in batch)
    return [
        [seen[number, position] for position in range(size)] for number, size in enumerate(sizes)
    ]


def test_a_small_set_has_more_than_its_share_and_no_text_comes_twice_before_all_came() -> None:
    large, small = texts_seen(1600, 900)
    assert sum(large) / sum(small) == pytest.approx((1600 / 900) ** 0.5, rel=0.05)
    assert set(small) == {1, 2}
    assert set(large) == {0, 1}


def test_a_set_however_small_is_not_shown_over_and_over() -> None:
    _, small = texts_seen(1600, 40)
    assert sum(small) == MOST_REPEATS * 40 + 4  # rounded to whole batches


def test_a_pass_can_be_drawn_again_and_differs_from_the_next() -> None:
    first, again = (
        BatchSampler(sets_of(200, 50), Finetuning(batch_texts=8), seed=4) for _ in range(2)
    )
    assert drawn(first, 1) == drawn(again, 1)
    assert drawn(first, 1) != drawn(first, 2)


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for steps in (50, 100, 150):
        (tmp_path / f"checkpoint-{steps}").mkdir()
    for steps in (50, 100):
        (tmp_path / f"checkpoint-{steps}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_checkpoints_of_other_settings_are_not_taken_up(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    learn(load_encoder(encoder), data, tmp_path, epochs=1)
    other = Recipe(pooled_layers=2)
    (tmp_path / "recipe.json").write_text(other.model_dump_json())
    with pytest.raises(ConfigurationError, match="run with other settings"):
        learn(load_encoder(encoder), data, tmp_path, epochs=1)


def start(
    data: Path, encoder: Path, out: Path, recipe: Path, *launcher: str
) -> subprocess.Popen[str]:
    command = [sys.executable, *(launcher or ("-m",)), "stream", "train", "--recipe", str(recipe)]
    command += ["--data", str(data), "--encoder", str(encoder), "--out", str(out)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=KILL_AFTER_SECONDS)
    assert process.returncode == 0, said
    return said


@pytest.mark.long
def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("finetuning: {epochs: 3, checkpoint_minutes: 0.01}\n")
    undisturbed = tmp_path / "undisturbed"
    finished(start(data, encoder, undisturbed, recipe))
    out = tmp_path / "killed"
    killed = start(data, encoder, out, recipe)
    deadline = time.monotonic() + KILL_AFTER_SECONDS
    while not last_checkpoint(tmp_path / "killed-checkpoints" / "run-1"):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not out.exists()
    assert "Going on from" in finished(start(data, encoder, out, recipe))
    assert not (tmp_path / "killed-checkpoints").exists()
    for task, sources in manifest(out).metrics.items():
        for source, expected in manifest(undisturbed).metrics[task].items():
            assert sources[source]["accuracy"] == pytest.approx(expected["accuracy"], abs=0.005)


@pytest.mark.long
def test_two_processes_learn_together_and_one_makes_the_bundle(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "bundle"
    recipe.write_text("finetuning: {epochs: 1}\n")
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "-m")
    said = finished(start(data, encoder, out, recipe, *launcher))
    assert said.count("Wrote bundle") == 1
    assert said.count("pass 1.0") == 1
    assert manifest(out).recipe == "recipe"
    Classifier.load(out)


def manifest(bundle: Path) -> Manifest:
    return Manifest.model_validate_json((bundle / "manifest.json").read_bytes())
