"""A final model, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sasrecf_tune.api.arguments import check_arguments, is_list
from sasrecf_tune.api.error_text import keyword_names
from sasrecf_tune.errors import InputError
from sasrecf_tune.storage.directory import relative
from sasrecf_tune.storage.model_directory import ModelDirectory

if TYPE_CHECKING:
    import pandas as pd

    from sasrecf_tune.inference.histories import Histories


class Model:
    """A model that recommends items by their original ids. `load_model` and `Study.fit` return it."""

    def __init__(self, path: Path, device: str | None = None) -> None:
        from sasrecf_tune.inference.recommender import Recommender

        self._path = path
        self._recommender = Recommender(path, device)

    @property
    def path(self) -> Path:
        """The model directory."""
        return self._path

    @property
    def users(self) -> list[str]:
        """The users whose histories are in the model directory."""
        histories = self._recommender.histories
        return [] if histories is None else list(histories.users)

    @property
    def items(self) -> list[str]:
        """The items that can be recommended."""
        return list(self._recommender.index)

    @property
    def card(self) -> str:
        """The model card, README.md of the directory: how the model was made, and its scores."""
        return ModelDirectory(self._path).card.read_text(encoding="utf-8")

    def recommend(
        self,
        histories: Mapping[Any, Sequence[Any]] | pd.DataFrame | None = None,
        *,
        users: Sequence[Any] | None = None,
        top: int = 10,
        include_seen: bool = False,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
    ) -> pd.DataFrame:
        """Return the best items of each history, with the columns user, item, rank and score.

        Items and users that the model does not know have no rows.

        Args:
            histories: The items of each user in time order; or a table with a row for each interaction, in
                columns named as in the data, or with usual names such as `user`, `item` and `time`. Default:
                those of the data that the model was made from.
            users: Of the data, those to recommend for.
            top: The number of items of each user.
            include_seen: Whether items of the user's own history may be recommended.
            user: In a table of histories: the column of the users. Default: found by its name.
            item: The column of the items. Default: found by its name.
            time: The column of the times. Default: found by its name; without one, rows are in time order.

        Raises:
            InputError: An argument cannot be used.

        Example:
            >>> model = load_model("tuning/ml-100k-quickstart")  # doctest: +SKIP
            >>> model.recommend({"me": ["242", "302"]}, top=3)  # doctest: +SKIP
        """
        check_arguments(Model.recommend, locals())
        import pandas as pd

        if top < 1:
            raise InputError(f"must be at least 1, not {top}", where="top")
        named = {"user": user, "item": item, "time": time}
        columns = {role: name for role, name in named.items() if name is not None}
        if columns and not hasattr(histories, "columns"):
            raise InputError("is about a table of histories", where=next(iter(columns)), fix="Remove it.")
        chosen = self._chosen(histories, users, columns)
        parts = self._recommender.recommend(chosen, top, include_seen)
        tables = [pd.DataFrame(part.columns()) for part in parts]
        empty = pd.DataFrame({"user": [], "item": [], "rank": [], "score": []})
        return pd.concat(tables, ignore_index=True) if tables else empty

    def item_vectors(self) -> pd.DataFrame:
        """Return the vector of each item, by its id, with which outputs are multiplied to give scores."""
        import pandas as pd

        ids, vectors = self._recommender.item_vectors()
        return pd.DataFrame(vectors, index=pd.Index(ids, name="item"))

    def _chosen(self, histories: Any, users: Sequence[Any] | None, columns: Mapping[str, str]) -> Histories:
        from sasrecf_tune.inference.histories import from_mapping, known_users
        from sasrecf_tune.inference.history_file import read_histories

        if histories is not None and users is not None:
            raise InputError("`histories` and `users` cannot be used together", fix="Remove one of them.")
        if isinstance(histories, Mapping) and not all(map(is_list, histories.values())):
            raise InputError("the items of a user must be a list", where="histories")
        index = self._recommender.index
        if isinstance(histories, Mapping):
            return from_mapping(histories, index)
        if hasattr(histories, "columns"):  # of pandas or polars
            with keyword_names():
                return read_histories(histories, self._recommender.manifest.columns, index, columns)[0]
        if histories is not None:
            raise InputError("must be a mapping of users to items, or a data frame", where="histories")
        known = self._recommender.histories
        if known is None:
            raise InputError("the data of this model had ready-made histories: give some", where="histories")
        if users is None:
            return known
        return known_users(known, map(str, users))[0]

    def __repr__(self) -> str:
        manifest = self._recommender.manifest
        size = f"{len(self.items):,} items"
        return f"<Model {manifest.model} on {manifest.dataset}, {size}, in {relative(self.path)}>"


def load_model(model: str | Path, *, out: str | Path = "tuning", device: str | None = None) -> Model:
    """Read a final model, which `sasrecf-tune fit` or `Study.fit` wrote.

    Args:
        model: A model directory, or a study: its name below `out`, or the path of its directory.
        out: The directory of studies.
        device: "cpu" or "cuda". Default: a GPU if there is one.

    Raises:
        InputError: There is no such model.
        StorageError: It is damaged.

    Example:
        >>> model = load_model("tuning/ml-100k-quickstart")  # doctest: +SKIP
        >>> model.recommend(top=5).to_csv("recommendations.csv")  # doctest: +SKIP
    """
    from sasrecf_tune.api import session

    check_arguments(load_model, locals())
    with keyword_names():
        return Model(session.find_model(Path(out), str(model)).resolve(), device)
