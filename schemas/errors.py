"""What can go wrong, as a person is told it.

BellwetherError
├── ConfigurationError   a settings, sources, rules or taxonomy file is wrong: the command line ends
│                        with 2
├── BundleError          a model bundle cannot be used: the command line ends with 1
├── RecordRejected       one record is unusable: the pipeline turns it into a dead letter
└── ServerUnavailable    a server does not answer or refuses us: the command line ends with 1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.dead_letters import Reason


class BellwetherError(Exception):
    """Root. `str(error)` is one plain sentence: what is wrong and what to do."""


class ConfigurationError(BellwetherError):
    """A setting or a file of settings is wrong; the sentence names file, line and reason."""


class BundleError(BellwetherError):
    """A model bundle is missing, damaged, or made for other tasks."""


class RecordRejected(BellwetherError):
    """One record cannot become a document. The pipeline makes it a dead letter and goes on."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ServerUnavailable(BellwetherError):
    """Kafka, Redis or Elasticsearch does not answer, or does not let us in."""
