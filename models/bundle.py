"""A model bundle: one folder with everything a worker needs to serve, sealed by hashes.

    manifest.json       format, encoder, tasks with labels and temperatures, metrics, file hashes
    stage-1.onnx, ...   the int8 graphs: a run of layers each, with one output of logits a head
    tokenizer.json      of the encoder without links, as Hugging Face tokenizers writes it
    taxonomy.yaml       the tasks and labels that it was trained on
    heads.safetensors   the heads as float32, for training to go on from
    encoder.safetensors all weights but the word vectors as float16, for training and for GPUs
    probes.jsonl        texts with their answers, to be checked again on the machine that serves
    statistics.safetensors  where there is one: of the vectors that heads were fitted on (float16)

The version is the hash of the manifest, which holds the hash of every other file: a bundle cannot
change without changing its name.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import BundleError, ConfigurationError
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy, load_taxonomy

FORMAT = 2
SHIPPED_BUNDLE = Path(__file__).with_name("bundle")

MANIFEST, TOKENIZER, PROBES = "manifest.json", "tokenizer.json", "probes.jsonl"
TAXONOMY = "taxonomy.yaml"
HEADS, WEIGHTS = "heads.safetensors", "encoder.safetensors"
# A bundle may lack it.
STATISTICS = "statistics.safetensors"


class EncoderEntry(BaseModel):
    """The encoder under the heads; `sha256` is that of its weights file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str


class StageEntry(BaseModel):
    """A run of layers up to but without `end`; vectors are means over its last `pooled`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    end: int
    pooled: int


class HeadEntry(BaseModel):
    """The heads of a task, one a stage.

    labels: in the order of the logits.
    temperatures: one a stage; the graphs' logits are divided by them already.
    plain_from: for each stage but the last, from which confidence on a text goes no further.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...]
    temperatures: tuple[float, ...]
    plain_from: tuple[float, ...]


class Manifest(BaseModel):
    """What a bundle says about itself.

    languages: those of the texts that it was trained on, as ISO 639 codes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    recipe: str
    settings: dict[str, Any]
    seed: int
    encoder: EncoderEntry
    window_tokens: int
    languages: tuple[str, ...] = ("en",)
    taxonomy_version: str
    stages: tuple[StageEntry, ...]
    tasks: dict[str, HeadEntry]
    company_sentiment: HeadEntry
    metrics: dict[str, dict[str, dict[str, float]]]
    agreement: dict[str, dict[str, float]] = {}
    data_fingerprint: str
    parent: str | None = None
    files: dict[str, str]
    version: str = ""

    @property
    def heads(self) -> dict[str, HeadEntry]:
        """Every head by its name in the graphs."""
        return {**self.tasks, COMPANY_SENTIMENT: self.company_sentiment}

    def content_version(self) -> str:
        """12 hexadecimal digits over all of the content."""
        return _content_version(self.model_dump(mode="json"))


class Bundle:
    """An opened bundle: every file is there and is what the manifest says."""

    def __init__(self, folder: Path, manifest: Manifest, taxonomy: Taxonomy) -> None:
        self.folder = folder
        self.manifest = manifest
        self.taxonomy = taxonomy

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def graphs(self) -> list[Path]:
        return [self.folder / name for name in graph_files(len(self.manifest.stages))]

    @property
    def exits(self) -> list[dict[str, float]]:
        """For each stage but the last, from which confidence on each head's answer is plain."""
        return [
            {name: head.plain_from[stage] for name, head in self.manifest.heads.items()}
            for stage in range(len(self.manifest.stages) - 1)
        ]

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER

    @property
    def probes(self) -> Path:
        return self.folder / PROBES

    @classmethod
    def open(cls, folder: Path, taxonomy: Taxonomy | None = None) -> "Bundle":
        """Checks the folder against its manifest and against the taxonomy (None: its own).

        Raises BundleError: no such folder, a file missing or changed, a newer format, a task
        missing or with other labels than the taxonomy's.
        """
        manifest = _read_manifest(folder)
        _check_files(folder, manifest, {*files(len(manifest.stages)), *manifest.files})
        known = taxonomy or _own_taxonomy(folder)
        _check_tasks(folder, manifest, known)
        return cls(folder, manifest, known)


def taxonomy_of(model: Path | None, named: Path | None) -> Taxonomy:
    """The label sets of the file `named`; without one those of the bundle (None: the shipped one),
    of which nothing else is read.

    Raises ConfigurationError for the file, BundleError for the bundle.
    """
    if named:
        return load_taxonomy(named)
    folder = model or SHIPPED_BUNDLE
    _check_files(folder, _read_manifest(folder), [TAXONOMY])
    return _own_taxonomy(folder)


def graph_files(stages: int) -> list[str]:
    """The names of the graphs, in order."""
    return [f"stage-{number}.onnx" for number in range(1, stages + 1)]


def files(stages: int) -> list[str]:
    """Every file that a bundle must have, but the manifest."""
    return [*graph_files(stages), TOKENIZER, TAXONOMY, HEADS, WEIGHTS, PROBES]


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Seals the folder: adds each file's hash and the version, and writes manifest.json."""
    names = files(len(manifest.stages))
    names += [STATISTICS] if (folder / STATISTICS).is_file() else []
    hashed = manifest.model_copy(update={"files": {name: _sha256(folder / name) for name in names}})
    sealed = hashed.model_copy(update={"version": hashed.content_version()})
    (folder / MANIFEST).write_bytes(
        orjson.dumps(sealed.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n"
    )
    return sealed


def replace_folder(finished: Path, target: Path) -> None:
    """Moves a finished bundle to its place; what stood there is gone.

    A process that is killed here leaves the old bundle, the new one or none there, never a part.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}-replaced")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    shutil.move(finished, target)
    shutil.rmtree(old, ignore_errors=True)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"There is no model bundle at {folder}.")
    if not path.is_file():
        raise BundleError(f"The folder {folder} is no model bundle: it has no {MANIFEST}.")
    try:
        raw: Any = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        raise BundleError(f"The manifest {path} is damaged: it is not JSON.") from None
    _check_format(folder, raw)
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"The manifest {path} is wrong at {place}: {first['msg']}.") from None
    # By what is written: a manifest from before a field came may lack it.
    if _content_version(raw) != manifest.version:
        raise BundleError(
            f"The manifest {path} was changed after the bundle was made. Fetch the bundle again."
        )
    return manifest


def _check_format(folder: Path, raw: Any) -> None:
    number = raw.get("format") if isinstance(raw, Mapping) else None
    if not isinstance(number, int):
        raise BundleError(f"The manifest in {folder} names no format number.")
    if number > FORMAT:
        raise BundleError(
            f"The model bundle {folder} has format {number}; this version of Bellwether reads up "
            f"to {FORMAT}. Update Bellwether, or use an older bundle."
        )
    if number < FORMAT:
        raise BundleError(
            f"The model bundle {folder} has the old format {number}; this version of Bellwether "
            f"reads {FORMAT}. Train it again."
        )


def _own_taxonomy(folder: Path) -> Taxonomy:
    try:
        return load_taxonomy(folder / TAXONOMY)
    except ConfigurationError as error:
        raise BundleError(f"The taxonomy of the model bundle cannot be used: {error}.") from None


def _check_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    for name in sorted(names):
        if name not in manifest.files or not (folder / name).is_file():
            raise BundleError(f"The model bundle {folder} lacks the file {name}.")
        if _sha256(folder / name) != manifest.files[name]:
            raise BundleError(
                f"The file {name} of the model bundle {folder} was changed or is damaged: its "
                "SHA-256 is not the manifest's. Fetch the bundle again."
            )


def _check_tasks(folder: Path, manifest: Manifest, taxonomy: Taxonomy) -> None:
    for name, task in taxonomy.tasks.items():
        if name not in manifest.tasks:
            raise BundleError(f"The model bundle {folder} has no head for the task {name}.")
        if manifest.tasks[name].labels != task.labels:
            raise BundleError(
                f"The model bundle {folder} was trained on other labels of {name} than the "
                "taxonomy's. Train a bundle for this taxonomy, or unset BELLWETHER_TAXONOMY: the "
                "bundle brings the one it was trained on."
            )
    for name in manifest.tasks:
        if name not in taxonomy.tasks:
            raise BundleError(
                f"The taxonomy does not have the task {name} of the bundle {folder}. Add it, or "
                "unset BELLWETHER_TAXONOMY: the bundle brings its own."
            )
    for name, head in manifest.heads.items():
        stages = len(manifest.stages)
        if (len(head.temperatures), len(head.plain_from)) != (stages, stages - 1):
            raise BundleError(
                f"The model bundle {folder} has {stages} stages, but not so many heads for {name}."
            )
    if manifest.company_sentiment.labels != taxonomy.tasks[SENTIMENT].labels:
        raise BundleError(
            f"The model bundle {folder} has other labels for companies than the taxonomy's "
            f"{SENTIMENT}."
        )


def _content_version(manifest: Mapping[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "version"}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
