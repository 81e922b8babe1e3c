"""The columns that a configuration needs of a data set: whether they exist and are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sasrecf_tune.errors import DataError, suggest
from sasrecf_tune.inputs.data_settings import check_combinations
from sasrecf_tune.inputs.dataset_files import DatasetFiles, columns, text_format
from sasrecf_tune.inputs.feature_columns import check_features
from sasrecf_tune.inputs.value_checks import is_interval

_READ = ("inter", "user", "item")
# RecBole 1.2.1 has the name of the history's column for this item column only (sequential_dataset.py).
_BENCHMARK_ITEM = "item_id"

TIMES_ARE_NUMBERS = "Write times as numbers, such as seconds since 1970: 1535760000 for 2018-09-01."

Header = Mapping[str, str]  # the columns of a file with their types


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
    for suffix in config["additional_feat_suffix"] or []:
        if not data.file(str(suffix)).is_file():
            raise DataError(
                "the file does not exist, and additional_feat_suffix names it",
                where=str(data.file(str(suffix))),
                fix="Remove it from additional_feat_suffix: SASRecF does not read it.",
            )
    headers = _headers(data, config, features)
    item_id = str(config["ITEM_ID_FIELD"])
    if features:
        check_features(data, config, headers["item"], features)
    needed = _needed(data, config, headers, features)
    _check_loaded(data, config, needed)
    _check_dropped(data, config, headers, features)
    _check_names(data, config, headers, features)
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


def reads_items(data: DatasetFiles, config: Mapping[str, Any]) -> bool:
    """Whether RecBole reads the item file."""
    return reads_file(data, config, "item")


def reads_file(data: DatasetFiles, config: Mapping[str, Any], source: str) -> bool:
    """Whether RecBole reads the file of users or items.

    Source: recbole/data/dataset/dataset.py, _load_user_or_item_feat.
    """
    load = config["load_col"]
    return data.file(source).is_file() and (load is None or bool(load.get(source)))


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
    if features or reads_items(data, config):
        needed["item"] = [item, *features]
    for key, name in _named_columns(config):
        sources = ["inter"] if key == "threshold" else list(_READ)
        if name in headers["item"] and name in features:
            sources = ["item"]
        source = next((one for one in sources if name in headers[one]), None)
        if source is None:
            known = [one for each in sources for one in headers[each]]
            raise DataError(
                f"the data set has no column {name!r}{suggest(name, known)}",
                where=key,
                fix=f"The columns of {data.interactions.name}: {', '.join(headers['inter'])}.",
            )
        _check_type(data, key, name, source, headers[source][name], config)
        own = {"inter": [], "user": [user], "item": [item]}[source]
        needed[source] = list(dict.fromkeys([*needed.get(source, own), name]))
    return needed


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
        text = ", ".join(
            f"{source}: {names if names == '*' else '[' + ', '.join(names) + ']'}"
            for source, names in complete.items()
        )
        raise DataError(
            f"columns are needed that RecBole is not told to load: {', '.join(missing)}",
            where="load_col",
            fix=f'Load them: --set "load_col={{{text}}}" (or the same in a config file).',
        )


def _check_dropped(
    data: DatasetFiles, config: Mapping[str, Any], headers: Mapping[str, Header], features: Sequence[str]
) -> None:
    """Check that RecBole does not drop a column that the model reads after loading it.

    Source: recbole/data/dataset/dataset.py, _drop_unused_col and _set_label_by_threshold.
    """
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    used = {"inter": {user, item}, "item": {item, *features}, "user": {user}}
    if config["benchmark_filename"]:
        used["inter"].add(f"{item}{config['LIST_SUFFIX']}")
    for source, names in (config["unused_col"] or {}).items():
        if source not in used or (source != "inter" and not reads_file(data, config, source)):
            raise DataError(
                f"it names columns of {data.name}.{source}, which RecBole does not load",
                where="unused_col",
                fix=f"Remove {source} from unused_col.",
            )
        for name in names:
            if name in used[source]:
                raise DataError(
                    f"column {name!r} is needed, but unused_col drops it",
                    where="unused_col",
                    fix=f"Remove {name} from unused_col.",
                )
    for name in config["threshold"] or {}:
        needed = {*used["inter"], str(config["TIME_FIELD"])}
        if name in needed or not headers["inter"][name].startswith("float"):
            raise DataError(f"column {name!r} cannot be made a label", where="threshold")


def _check_names(
    data: DatasetFiles, config: Mapping[str, Any], headers: Mapping[str, Header], features: Sequence[str]
) -> None:
    """Check for column names that RecBole cannot tell apart: it has one type and one numbering for a name."""
    loaded = {source: loaded_columns(data, config, source, headers[source]) for source in _READ}
    user, item = str(config["USER_ID_FIELD"]), str(config["ITEM_ID_FIELD"])
    taken = {user, str(config["TIME_FIELD"]), str(config["ITEM_LIST_LENGTH_FIELD"])}
    taken |= {name + str(config["LIST_SUFFIX"]) for name in headers["inter"]}
    taken.add(f"{config['NEG_PREFIX']}{config['ITEM_ID_FIELD']}")
    for name in sorted(loaded["item"] & taken):
        raise DataError(
            f"the item column {name!r} has a name that RecBole gives to a column of its own",
            where=f"{data.file('item')}:1",
            fix="Rename it in the file, or remove it from load_col.",
        )
    special = {*features, *(config["numerical_features"] or [])}
    for first, second in (("inter", "item"), ("inter", "user"), ("user", "item")):
        for name in sorted(loaded[first] & loaded[second]):
            if name in {("inter", "item"): {item}, ("inter", "user"): {user}}.get((first, second), set()):
                continue
            kinds = {headers[first][name], headers[second][name]}
            if kinds == {"float"} and name not in special:
                continue
            raise DataError(
                f"column {name!r} is in {data.name}.{first} and in {data.name}.{second}: RecBole takes one "
                "name for one column",
                where=f"{data.file(second)}:1",
                fix=f"Rename one, or load only one: leave {name} out of {first} or of {second} in load_col.",
            )


def loaded_columns(data: DatasetFiles, config: Mapping[str, Any], source: str, header: Header) -> set[str]:
    """The columns of a file that RecBole loads."""
    if source != "inter" and not reads_file(data, config, source):
        return set()
    listed = "*" if config["load_col"] is None else config["load_col"].get(source) or []
    dropped = (config["unload_col"] or {}).get(source) or []
    return {name for name in header if (listed == "*" or name in listed) and name not in dropped}
