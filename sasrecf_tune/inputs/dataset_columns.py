"""The columns that a configuration needs of a data set: whether they exist and are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sasrecf_tune.errors import DataError, suggest
from sasrecf_tune.inputs.column_conflicts import check_dropped, check_names
from sasrecf_tune.inputs.data_settings import FILES, check_combinations, load_col_text
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, text_format
from sasrecf_tune.inputs.evaluation_settings import label_column
from sasrecf_tune.inputs.feature_columns import check_features
from sasrecf_tune.inputs.loading import READ, Header, loaded_columns, reads_file, reads_items
from sasrecf_tune.inputs.value_checks import is_interval

# RecBole 1.2.1 has the name of the history's column for this item column only (sequential_dataset.py).
_BENCHMARK_ITEM = "item_id"

TIMES_ARE_NUMBERS = "Write times as numbers, such as seconds since 1970: 1535760000 for 2018-09-01."


def check_columns(
    data: DatasetFiles, config: Mapping[str, Any], features: tuple[str, ...]
) -> tuple[str, ...]:
    """Check that the columns that the model reads exist and are loaded.

    Args:
        config: RecBole's complete configuration.
        features: Item columns that the model takes. Without any, the item file is checked only if RecBole is
            told to load it.

    Returns:
        The item columns that could be features.

    Raises:
        DataError: names what is missing, what there is, and what to set.
        ConfigFileError: Data settings exclude each other.
    """
    check_combinations(config)
    for key in ("load_col", "unload_col", "unused_col"):
        for source in config[key] or {}:
            near = suggest(source, FILES) if source not in FILES and not data.file(source).is_file() else ""
            if near:
                raise DataError(
                    f"it names the file {data.name}.{source}, which does not exist{near}", where=key
                )
    features = _of_the_file(config, features)
    _additional_columns(data, config)
    headers = _headers(data, config, features)
    item_id = str(config["ITEM_ID_FIELD"])
    if features:
        check_features(data, config, headers["item"], features)
    needed = _needed(data, config, headers, features)
    _check_loaded(data, config, needed)
    check_dropped(data, config, headers, features)
    check_names(data, config, headers, features)
    reads_item_file = features or reads_items(data, config)
    return tuple(name for name in headers["item"] if name != item_id) if reads_item_file else ()


def added_columns(
    data: DatasetFiles, config: Mapping[str, Any], features: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    """RecBole's default load_col with all columns that the configuration needs, and those that it lacks.

    Raises:
        DataError: A column does not exist.
    """
    load = config["load_col"]
    if load is None:
        return {}, []
    features = _of_the_file(config, features)
    headers = _headers(data, config, features)
    complete: dict[str, Any] = {
        source: names if names == "*" else [name for name in names if name in headers.get(source, {})]
        for source, names in load.items()
    }
    added: list[str] = []
    for source, names in _needed(data, config, headers, features).items():
        listed = complete.get(source) or []
        if listed != "*" and (new := [name for name in names if name not in listed]):
            added += new
            complete[source] = [*listed, *new]
    return complete, list(dict.fromkeys(added))


def _of_the_file(config: Mapping[str, Any], features: tuple[str, ...]) -> tuple[str, ...]:
    """The features without the item id, which RecBole embeds once more, also without an item file."""
    return tuple(name for name in features if name != config["ITEM_ID_FIELD"])


def _headers(data: DatasetFiles, config: Mapping[str, Any], features: Sequence[str]) -> dict[str, Header]:
    """The columns of the files of interactions, users and items, with those that must exist checked."""
    form = text_format(config)
    inter = columns(data.interactions, *form)
    read = loaded_columns(data, config, "inter", inter)
    for part in config["benchmark_filename"] or []:
        other = columns(data.interactions_of(str(part)), *form)
        if {name: other.get(name) for name in read} != {name: inter[name] for name in read}:
            raise DataError(
                f"its columns ({', '.join(other)}) or their types are not those of {data.interactions.name} "
                f"({', '.join(inter)})",
                where=f"{data.interactions_of(str(part))}:1",
            )
    headers: dict[str, Header] = {"inter": inter}
    for source in ("user", "item"):
        try:
            headers[source] = columns(data.file(source), *form)
        except DataError:
            if reads_file(data, config, source) or (source == "item" and features):
                raise
            headers[source] = {}  # RecBole does not open the file
    _check_id_columns(data, config, headers)
    return headers


def _check_id_columns(data: DatasetFiles, config: Mapping[str, Any], headers: Mapping[str, Header]) -> None:
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    wanted = [(data.interactions, "inter", "USER_ID_FIELD", "token")]
    wanted.append((data.interactions, "inter", "ITEM_ID_FIELD", "token"))
    if not config["benchmark_filename"]:
        wanted.append((data.interactions, "inter", "TIME_FIELD", "float"))
    if label_column(config):
        wanted.append((data.interactions, "inter", "LABEL_FIELD", "float"))
    for source, key in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):
        if reads_file(data, config, source):
            wanted.append((data.file(source), source, key, "token"))
    for path, source, key, kind in wanted:
        name, header = str(config[key]), headers[source]
        if name not in header:
            fix = f"Its columns: {', '.join(header)}."
            if key == "ITEM_ID_FIELD" and config["benchmark_filename"]:
                fix += f" Rename that of the next item to {_BENCHMARK_ITEM}: RecBole 1.2.1 needs the name."
            elif source == "inter":
                fix += f" Set {key} to one of them: --set {key}=NAME."
                if key == "LABEL_FIELD":
                    fix += " Or make labels of a column with threshold, for example threshold={rating: 3}."
            else:
                fix += f" It must have {name}:token, with the ids of {data.interactions.name}."
            raise DataError(f"there is no column {name!r} ({key})", where=str(path), fix=fix)
        if header[name] != kind:
            fix = f"Write {name}:{kind} in the first line."
            if key == "TIME_FIELD":
                fix = f"{TIMES_ARE_NUMBERS} Then write {name}:float in the first line."
            what = f"column {name!r} ({key}) must have type {kind}, not {header[name]}"
            raise DataError(what, where=f"{path}:1", fix=fix)
    if config["benchmark_filename"]:
        _check_histories(data, config, headers["inter"], user, item)


def _check_histories(
    data: DatasetFiles, config: Mapping[str, Any], inter: Header, user: str, item: str
) -> None:
    """Check that ready-made splits have a column of ready-made histories."""
    history = f"{item}{config['LIST_SUFFIX']}"
    where = f"{data.interactions}:1"
    if inter.get(history) != "token_seq":
        raise DataError(
            f"there is no column {history}:token_seq with the history of each row",
            where=where,
            fix=f"benchmark_filename needs rows of {user}:token, {history}:token_seq (items before) and "
            f"{item}:token (the next item). To let RecBole split plain interactions, put them into one file "
            f"{data.name}.inter and remove benchmark_filename.",
        )
    if item != _BENCHMARK_ITEM:
        raise DataError(
            f"with benchmark_filename, RecBole 1.2.1 needs the item column to be called {_BENCHMARK_ITEM}, "
            f"not {item!r}",
            where=where,
            fix=f"Rename {item} and {history} in the files, and remove ITEM_ID_FIELD.",
        )
    if history not in (config["alias_of_item_id"] or []):
        raise DataError(
            f"RecBole would number the items of {history} apart from those of {item}",
            where="alias_of_item_id",
            fix=f'Add it: --set "alias_of_item_id=[{history}]".',
        )


def _needed(
    data: DatasetFiles, config: Mapping[str, Any], headers: Mapping[str, Header], features: Sequence[str]
) -> dict[str, list[str]]:
    """The columns that RecBole must load, by file."""
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    needed = {"inter": [user, item]}
    if config["benchmark_filename"]:
        needed["inter"].append(f"{item}{config['LIST_SUFFIX']}")
    else:
        needed["inter"].append(str(config["TIME_FIELD"]))
    if label := label_column(config):
        needed["inter"].append(label)
    if features or reads_items(data, config):
        needed["item"] = [item, *features]
    for key, name in _named_columns(config):
        sources = ["inter"] if key == "threshold" else list(READ)
        if name in headers["item"] and name in features:
            sources = ["item"]
        source = next((one for one in sources if name in headers[one]), None)
        if source is None and key.startswith("alias_of") and name in _additional_columns(data, config):
            continue
        if source is None:
            known = [one for each in sources for one in headers[each]]
            raise DataError(
                f"the data set has no column {name!r}{suggest(name, known)}",
                where=key,
                fix=" ".join(
                    f"The columns of {data.name}.{each}: {', '.join(headers[each])}."
                    for each in sources
                    if headers[each]
                ),
            )
        _check_type(data, key, name, source, headers[source][name], config)
        own = {"inter": [], "user": [user], "item": [item]}[source]
        needed[source] = list(dict.fromkeys([*needed.get(source, own), name]))
    return needed


def _additional_columns(data: DatasetFiles, config: Mapping[str, Any]) -> set[str]:
    """The columns of the files of additional_feat_suffix."""
    found: set[str] = set()
    for path in (data.file(str(suffix)) for suffix in config["additional_feat_suffix"] or []):
        if not path.is_file():
            raise DataError(
                "the file does not exist, and additional_feat_suffix names it",
                where=str(path),
                fix="Remove it from additional_feat_suffix: SASRecF does not read it.",
            )
        read = config["load_col"] is None or path.suffix[1:] in config["load_col"]
        found.update(columns(path, *text_format(config)) if read else ())
    return found


def _named_columns(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings that name columns, each with a column, which RecBole requires to be loaded."""
    # Those of numerical_features that discretization names are in both.
    for key in ("val_interval", "threshold", "normalize_field", "numerical_features", "alias_of_user_id"):
        for name in config[key] or []:
            yield key, str(name)
    for name in config["alias_of_item_id"] or []:
        yield "alias_of_item_id", str(name)


def _check_type(
    data: DatasetFiles, key: str, name: str, source: str, kind: str, config: Mapping[str, Any]
) -> None:
    if key == "numerical_features" and not kind.startswith("float"):
        raise DataError(
            f"column {name!r} of {data.name}.{source} has type {kind}, not float or float_seq",
            where=key,
            fix=f"Remove it from numerical_features: {kind} columns are embedded without that.",
        )
    if key == "val_interval":
        kept = config[key][name]
        fits = {"float": is_interval(str(kept)), "token": isinstance(kept, list)}.get(kind, False)
        if not fits:
            raise DataError(
                f"column {name!r} has type {kind}, for which {kept!r} is no filter",
                where=key,
                fix="A float column takes an interval such as '[3,inf)', a token column a list of values; "
                "others cannot be filtered.",
            )
    if key.startswith("alias_of") and not kind.startswith("token"):
        raise DataError(f"column {name!r} has type {kind}, not token or token_seq", where=key)


def _check_loaded(data: DatasetFiles, config: Mapping[str, Any], needed: Mapping[str, list[str]]) -> None:
    """Check that RecBole loads the `needed` columns of each file.

    Source: recbole/data/dataset/dataset.py, _get_load_and_unload_col.
    """
    for source, names in needed.items():
        for name in names:
            if name in ((config["unload_col"] or {}).get(source) or []):
                raise DataError(
                    f"column {name!r} is needed, but unload_col drops it",
                    where="unload_col",
                    fix=f"Remove {name} from unload_col.",
                )
    load = config["load_col"]
    if load is None:
        return
    complete: dict[str, Any] = dict(load)
    missing: list[str] = []
    for source, names in needed.items():
        listed = load.get(source) or []
        if listed != "*":
            missing += [f"{name} ({data.name}.{source})" for name in names if name not in listed]
            complete[source] = list(dict.fromkeys([*listed, *names]))
    if missing:
        raise DataError(
            f"columns are needed that RecBole is not told to load: {', '.join(missing)}",
            where="load_col",
            fix=f'Load them: --set "{load_col_text(complete)}" (or the same in a config file).',
        )
