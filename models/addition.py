"""An addition to a bundle, and how the extended bundle is written.

Nothing that is in the parent's graphs is written anew: each gets one product more, beside those
that are there. So what the other heads say, and the logits of a head's known labels, stay the same
bit for bit, on any processor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models import bundle as bundles
from models.added_heads import AddedHead
from models.answers import measured, reference
from models.bundle import Bundle, Manifest, replace_folder, write_manifest
from models.classifier import Classifier
from models.data import Example, Split, of_task
from models.heads import head_arrays
from models.network import with_columns
from models.probes import write_probes
from models.statistics import read_statistics, write_statistics
from schemas.taxonomy import COMPANY_SENTIMENT, Taxonomy

ADDITIONS = "additions"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Addition:
    """What a bundle gets: a task more, or labels of a task.

    labels: those that are new.
    heads: what is added, by the head's name.
    data, examples: the file that it was learnt from, and its texts.
    """

    parent: Bundle
    task: str
    labels: tuple[str, ...]
    taxonomy: Taxonomy
    heads: Mapping[str, AddedHead]
    data: Path
    examples: Sequence[Example]
    seed: int

    def write(self, out: Path, threads: int, report: Report) -> Manifest:
        """Puts the extended bundle at `out`, measured and sealed."""
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent) as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            self._write_files(folder)
            sealed = self._seal(folder, threads, report)
            replace_folder(folder, out)
        report(f"Wrote bundle {sealed.version} to {out}")
        return sealed

    def _write_files(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        arrays = head_arrays(self.parent)
        for stage, graph in enumerate(self.parent.graphs):
            columns = {name: head.columns[stage] for name, head in self.heads.items()}
            (folder / graph.name).write_bytes(with_columns(graph.read_bytes(), columns))
            for name, head in columns.items():
                for part, array in (("weight", head.weight), ("bias", head.bias)):
                    key = f"{stage + 1}/{name}.{part}"
                    there = [arrays[key]] if key in arrays else []
                    arrays[key] = np.concatenate([*there, array], axis=-1)
        save_file(arrays, folder / bundles.HEADS)
        (folder / bundles.HEADS).chmod(0o644)  # safetensors gives it to its owner alone
        for name in (bundles.TOKENIZER, bundles.WEIGHTS, bundles.NGRAMS):
            copyfile(self.parent.folder / name, folder / name)
        known = read_statistics(self.parent.folder / bundles.STATISTICS)
        more = {name: head.statistics for name, head in self.heads.items() if head.statistics}
        write_statistics(folder / bundles.STATISTICS, {**known, **more})
        (folder / bundles.TAXONOMY).write_text(self.taxonomy.as_yaml(), encoding="utf-8")
        (folder / bundles.PROBES).write_bytes(b"")

    def _manifest(self) -> Manifest:
        parent = self.parent.manifest
        entries = {name: head.entry for name, head in self.heads.items()}
        record: dict[str, Any] = {
            "task": self.task,
            "labels": list(self.labels),
            "file": self.data.name,
            "sha256": sha256(self.data.read_bytes()).hexdigest(),
            "texts": len(self.examples),
            "seed": self.seed,
        }
        additions = [*parent.settings.get(ADDITIONS, []), record]
        return parent.model_copy(
            update={
                "settings": {**parent.settings, ADDITIONS: additions},
                "taxonomy_version": self.taxonomy.version,
                "company_sentiment": entries.pop(COMPANY_SENTIMENT, parent.company_sentiment),
                "tasks": {**parent.tasks, **entries},
                "parent": parent.version,
                "version": "",
            }
        )

    def _seal(self, folder: Path, threads: int, report: Report) -> Manifest:
        """Measures the task as served and asks the probes, then seals the bundle for good."""
        task, manifest = self.task, self._manifest()
        write_manifest(folder, manifest)
        classifier = Classifier.load(folder, threads=threads)
        whole = Classifier.load(folder, threads=threads, early_exit=False)
        write_probes(folder / bundles.PROBES, whole.classify)
        found = measured(classifier, of_task(self.examples, task, Split.TEST))
        for values in found.values():
            report(
                f"{task} as served, {values['texts']:,.0f} texts kept back: accuracy "
                f"{values['accuracy']:.3f}, macro-F1 {values['macro_f1']:.3f}"
            )
        spread = reference(classifier, self.examples, task)
        if spread and task in manifest.reference:
            spread[task] = manifest.reference[task].joined(spread[task])
        elif task in self.parent.taxonomy.tasks:
            spread = {}  # of the known labels the file has too few texts to go by
        measures = {
            "metrics": {**manifest.metrics, task: found},
            "reference": {**manifest.reference, **spread},
        }
        return write_manifest(folder, manifest.model_copy(update=measures))
