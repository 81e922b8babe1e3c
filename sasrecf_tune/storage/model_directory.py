"""The files of a model directory: a final model with everything that recommending needs.

A model directory may come from somebody else. Nothing in it is executed or unpickled: tensors are in
safetensors files, all else is JSON.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.messages import TrainOn
from sasrecf_tune.storage.files import refuse_links
from sasrecf_tune.storage.manifest_schema import UNREADABLE, value_text
from sasrecf_tune.storage.per_user_files import PARTS, per_user_file

T = TypeVar("T")

# Names of the tensors in data.safetensors. Those of item features begin with FEATURE. The history of the user
# in row u is ITEMS[ENDS[u - 1]:ENDS[u]], in time order.
FEATURE, ITEMS, ENDS = "feature.", "history.items", "history.ends"
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
# The models of an ensemble.
MOST_MEMBERS = 32
_FIT_AGAIN = "Write it again with `sasrecf-tune fit`, or restore it from a copy."


class Feature(msgspec.Struct, frozen=True):
    """An item column that the model reads.

    Attributes:
        size: Number of its values as RecBole counts them, the padding included.
    """

    name: str
    kind: Literal["token", "token_seq", "float"]
    size: _Positive


class Architecture(msgspec.Struct, frozen=True):
    """What the model is built from, in RecBole's terms; `longest` is MAX_ITEM_LIST_LENGTH."""

    hidden_size: Annotated[int, msgspec.Meta(ge=1, le=65536)]
    inner_size: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    n_layers: Annotated[int, msgspec.Meta(ge=1, le=256)]
    n_heads: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"]
    layer_norm_eps: Annotated[float, msgspec.Meta(ge=0)]
    longest: _Positive
    pooling_mode: Literal["mean", "max", "sum"] = "mean"
    features: tuple[Feature, ...] = ()


class Columns(msgspec.Struct, frozen=True):
    """The names of the columns of the data set."""

    user: str
    item: str
    time: str = ""


class Counts(msgspec.Struct, frozen=True):
    """The size of the data set after filtering."""

    users: _Count
    items: _Count
    interactions: _Count


class Training(msgspec.Struct, frozen=True):
    """How the model was trained.

    Attributes:
        on: The parts of the data.
        best_epochs: The best epochs of the runs on the training part, from which `epochs` follows.
    """

    on: TrainOn
    epochs: _Count
    seed: _Count
    engine: str
    best_epochs: tuple[_Count, ...] = ()
    device: str = ""
    threads: _Count = 0
    seconds: float = 0.0


class Member(msgspec.Struct, frozen=True):
    """One model of an ensemble, with its own metrics."""

    seed: _Count
    epochs: _Count
    valid: dict[str, float] = {}
    test: dict[str, float] = {}


class Origin(msgspec.Struct, frozen=True):
    """The study that chose the configuration.

    Attributes:
        score: The validation score; of a confirmed configuration the mean over `seeds`.
        interval: Half of the 95% interval of this mean.
        how: How it was chosen, in sentences.
        dataset, fingerprint: The data set of the study, if the model was trained on another one; else empty.
    """

    study: str
    metric: str
    trial: _Count
    score: float
    how: str
    seeds: tuple[_Count, ...] = ()
    interval: float | None = None
    params: dict[str, Any] = {}
    dataset: str = ""
    fingerprint: str = ""


class ModelManifest(msgspec.Struct, frozen=True):
    """The content of model.json.

    Attributes:
        valid: Validation metrics of this model; empty if it was trained on the validation part.
        test: Test metrics of this model; empty if it was trained on the test part.
        config: The RecBole configuration.
        members: The models of an ensemble, whose scores are averaged; empty for one model.
    """

    format: Literal[1]
    sasrecf_tune: str
    created: str
    model: Literal["SASRecF", "SASRec"]
    architecture: Architecture
    columns: Columns
    counts: Counts
    training: Training
    origin: Origin
    dataset: str
    fingerprint: str
    config: dict[str, Any]
    valid: dict[str, float] = {}
    test: dict[str, float] = {}
    members: Annotated[tuple[Member, ...], msgspec.Meta(max_length=MOST_MEMBERS)] = ()
    machine: dict[str, Any] = {}
    versions: dict[str, str | None] = {}


class Ids(msgspec.Struct, frozen=True):
    """The content of ids.json: the original id of each row of the model; the first row is padding."""

    users: list[str]
    items: list[str]


@dataclass(frozen=True)
class ModelDirectory:
    """A model directory and the names of its files."""

    directory: Path

    @property
    def manifest(self) -> Path:
        """What the model is and how it was made; see `ModelManifest`."""
        return self.directory / "model.json"

    @property
    def weights(self) -> Path:
        """The parameters, by the names that RecBole's model gives them."""
        return self.directory / "weights.safetensors"

    def weights_of(self, members: int) -> list[Path]:
        """The parameters of each model of an ensemble, or of the only model."""
        more = [self.directory / f"weights-{number}.safetensors" for number in range(2, members + 1)]
        return [self.weights, *more]

    @property
    def data(self) -> Path:
        """The values of item features, and the histories of users."""
        return self.directory / "data.safetensors"

    @property
    def ids(self) -> Path:
        """The original ids; see `Ids`."""
        return self.directory / "ids.json"

    @property
    def card(self) -> Path:
        """The model card, for people."""
        return self.directory / "README.md"

    @property
    def files(self) -> list[Path]:
        """The files that each model directory has."""
        return [self.manifest, self.weights, self.data, self.ids, self.card]

    @property
    def per_user(self) -> Path:
        """The metrics of each user, as `per_user_file` takes them; only if they were wanted."""
        return self.directory / "per-user"

    @property
    def written(self) -> list[Path]:
        """All files that a model directory may have."""
        per_user = [per_user_file(self.per_user, part) for part in PARTS]
        return [*self.files, *self.weights_of(MOST_MEMBERS)[1:], *per_user]

    def check(self) -> None:
        """Check that the files that are read are regular files, and that none is a link.

        Raises:
            InputError: There is no model.
            StorageError: A file is missing, a link, or not a regular file.
        """
        if not self.manifest.is_file():
            raise InputError(
                "not a model directory: it has no model.json",
                where=str(self.directory),
                fix="`sasrecf-tune fit` writes one.",
            )
        refuse_links(self.directory, "what it leads to would be read")
        for path in self.files[:-1]:
            check_regular(path)

    def read_manifest(self) -> ModelManifest:
        """Read model.json.

        Raises:
            StorageError: It cannot be read, or a value in it is invalid.
        """
        return _decode(self.manifest, ModelManifest)

    def read_ids(self, counts: Counts) -> Ids:
        """Read ids.json, which must have as many ids as `counts` says, the padding not counted.

        Raises:
            StorageError: It cannot be read, or a value in it is invalid.
        """
        ids = _decode(self.ids, Ids)
        for name, found, wanted in (
            ("users", len(ids.users), counts.users),
            ("items", len(ids.items), counts.items),
        ):
            if found != wanted + 1:
                raise damaged(self.ids, f"has {found:,} {name}, not {wanted + 1:,}")
        return ids

    def write_json(self, path: Path, content: ModelManifest | Ids) -> None:
        """Write model.json or ids.json.

        Raises:
            OSError: It cannot be written.
        """
        text = json.dumps(
            msgspec.to_builtins(content),
            indent=2 if isinstance(content, ModelManifest) else None,
            ensure_ascii=True,
            default=str,
        )
        path.write_text(text + "\n", encoding="utf-8")


def check_regular(path: Path) -> None:
    """Check that a file of a model directory is a regular file.

    Raises:
        StorageError: It is missing, or is something else.
    """
    try:
        regular = stat.S_ISREG(path.lstat().st_mode)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    if not regular:
        raise damaged(path, "is not a regular file")


def damaged(path: Path, what: str) -> StorageError:
    """Return the error that a file of a model directory is damaged."""
    return StorageError(f"the model is damaged: {path.name} {what}", where=str(path.parent), fix=_FIT_AGAIN)


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    except UNREADABLE as error:
        raise damaged(path, f"is invalid: {value_text(error)}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise damaged(path, "is not JSON") from error
