"""What can go wrong, as a person is told it.

BellwetherError
├── ConfigurationError   a settings, sources, rules or taxonomy file is wrong: the command line ends
│                        with 2
├── BundleError          a model bundle cannot be used: the command line ends with 1
├── RecordRejected       one record is unusable: the pipeline turns it into a dead letter
└── ServerUnavailable    a server does not answer or refuses us: the command line ends with 1
"""

from enum import StrEnum


class BellwetherError(Exception):
    """Root. `str(error)` is one plain sentence: what is wrong and what to do."""


class ConfigurationError(BellwetherError):
    """A setting or a file of settings is wrong; the sentence names file, line and reason."""


class BundleError(BellwetherError):
    """A model bundle is missing, damaged, or made for other tasks."""


class Reason(StrEnum):
    """Why a record is a dead letter."""

    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    REJECTED_BY_INDEX = "rejected_by_index"
    MODEL_ERROR = "model_error"


class RecordRejected(BellwetherError):
    """One record cannot become a document. The pipeline makes it a dead letter and goes on."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ServerUnavailable(BellwetherError):
    """Kafka, Redis or Elasticsearch does not answer, or does not let us in."""


def in_words(error: OSError) -> BellwetherError:
    """What the system refused, and which file, where it names one; of a copy the one being made."""
    said = error.strerror or str(error) or type(error).__name__
    file = error.filename2 or error.filename
    return BellwetherError(f"{said}: {file}" if file else said)
