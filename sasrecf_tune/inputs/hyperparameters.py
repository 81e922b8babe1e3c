"""The table of RecBole's configuration keys: type, range, default and meaning of each, and what it affects.

Source: RecBole 1.2.1, properties/model/SASRecF.yaml and SASRec.yaml, properties/overall.yaml,
properties/dataset/sample.yaml, and the documentation of SASRecF.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Literal

from sasrecf_tune.inputs.literals import Scalar, Value

Kind = Literal["int", "float", "str", "bool", "list", "dict", "interval", "any"]
# "yes": a search may give it several values; "fixed": one value for all trials, because scores would not be
# comparable otherwise; "no": not a hyperparameter, set by an option or not at all.
Tunable = Literal["yes", "fixed", "no"]

# The models that can be tuned; SASRec is SASRecF without item features.
SASRECF, SASREC = "SASRecF", "SASRec"
# The data set inside the recbole package; RecBole reads it from there, whatever data_path is.
BUILTIN_DATASET = "ml-100k"
MODELS = (SASRECF, SASREC)

_KIND_TEXTS: Mapping[Kind, str] = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "True or False",
    "list": "a list",
    "dict": "a mapping {key: value}",
    "interval": "an interval such as [5,inf)",
    "any": "any value",
}


@dataclass(frozen=True)
class Hyperparameter:
    """One key of RecBole's configuration.

    Args:
        low: Lower bound; `open_low` excludes it.
        high: Upper bound, included.
        any_case: RecBole takes `choices` in upper and lower case.
        optional: None is allowed.
        why_not: Why it cannot be searched, if `tunable` is not "yes".
        models: The models that have it.
        affects_data: Trials that differ in it need their own prepared data. A wrong yes costs time, a wrong
            no correctness.
        affects_evaluation: Scores of studies that differ in it are not comparable.
        fusion_key: Trials that differ in it cannot train as one model; those that differ in one of the group
            "evaluation" cannot be validated together.
        is_path: A directory. A trial's result does not depend on it.
        unused: It has no effect here: no model of `models` reads it, or this program decides it.
        instead: The option to use in its place.
    """

    name: str
    kind: Kind
    default: Value
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    _: KW_ONLY
    group: Literal["model", "training", "data", "evaluation", "environment"]
    open_low: bool = False
    choices: tuple[Scalar, ...] = ()
    any_case: bool = False
    optional: bool = False
    tunable: Tunable = "yes"
    why_not: str = ""
    models: tuple[str, ...] = MODELS
    affects_data: bool = True
    affects_evaluation: bool = False
    fusion_key: bool = False
    is_path: bool = False
    unused: bool = False
    instead: str = ""

    @property
    def range_text(self) -> str:
        """The legal values in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        above = "above" if self.open_low else "of at least"
        low = "" if self.low == -math.inf else f"{above} {self.low}"
        high = "" if self.high == math.inf else f"at most {self.high}"
        bounds = " and ".join(filter(None, (low, high)))
        return f"{_KIND_TEXTS[self.kind]} {bounds}".rstrip() + (" or None" if self.optional else "")


# Rows stay on as few lines as they fit in.
# fmt: off
_model = partial(Hyperparameter, group="model", affects_data=False)
_MODEL = (
    _model("hidden_size", "int", 64, "width of the hidden state and of item embeddings", 1, 65536,
        fusion_key=True),
    _model("inner_size", "int", 256, "inner width of the feed-forward layers", 1, 1 << 20, fusion_key=True),
    _model("n_layers", "int", 2, "number of transformer layers", 1, 256, fusion_key=True),
    _model("n_heads", "int", 2, "attention heads of each layer; must divide hidden_size", 1, 1024),
    _model("hidden_dropout_prob", "float", 0.5, "probability that an element is zeroed", 0, 1),
    _model("attn_dropout_prob", "float", 0.5, "probability that an attention weight is zeroed", 0, 1),
    _model("hidden_act", "str", "gelu", "activation of the feed-forward layers",
        choices=("gelu", "relu", "swish", "tanh", "sigmoid"), fusion_key=True),
    _model("layer_norm_eps", "float", 1e-12, "added to LayerNorm's denominator", 0, 1, fusion_key=True),
    _model("initializer_range", "float", 0.02, "standard deviation of the initial weights", 0, 100,
        open_low=True),
    _model("selected_features", "list", ["class"], "item columns that are concatenated to the item",
        models=(SASRECF,), fusion_key=True),
    _model("pooling_mode", "str", "sum", "how the values of one multi-valued feature are pooled",
        choices=("max", "mean", "sum"), models=(SASRECF,), fusion_key=True),
    _model("loss_type", "str", "CE", "CE: cross-entropy over all items; BPR: pairs with sampled negatives",
        choices=("BPR", "CE"), fusion_key=True),
)

_training = partial(Hyperparameter, group="training", affects_data=False)
_TRAINING = (
    _training("learning_rate", "float", 0.001, "step size of the optimiser", 0, 100, open_low=True),
    _training("train_batch_size", "int", 2048, "training samples a step", 1, 1 << 24, fusion_key=True),
    _training("weight_decay", "float", 0.0, "L2 penalty on all weights", 0, 100),
    # RecBole's sixth, sparse_adam, refuses SASRecF's dense gradients.
    _training("learner", "str", "adam", "optimiser", choices=("adam", "adamw", "sgd", "adagrad", "rmsprop"),
        any_case=True),
    _training("epochs", "int", 300, "most training epochs of a trial", 1, 1_000_000),
    _training("stopping_step", "int", 10, "evaluations without progress before a trial ends", 0, 1 << 30),
    _training("eval_step", "int", 1, "epochs between two evaluations", 1, 1_000_000),
    _training("clip_grad_norm", "dict", None, "arguments of clip_grad_norm_, such as {'max_norm': 5}",
        optional=True),
    _training("train_neg_sample_args", "dict",
        {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0},
        "negative sampling of BPR; follows loss_type", optional=True, fusion_key=True),
    _training("seed", "int", 2020, "seed of a trial", 0, 2**32 - 1),
    _training("enable_amp", "bool", False, "mixed precision training"),
    _training("enable_scaler", "bool", False, "gradient scaler of mixed precision"),
    _training("shuffle", "bool", True, "new order of the samples in each epoch"),
    Hyperparameter("MAX_ITEM_LIST_LENGTH", "int", 50, "most items of a history that the model sees", 1,
        100_000, group="data", fusion_key=True),
)

_SAME_MEASURE = "trials must be measured in the same way"
_NO_EFFECT = "it has no effect on results"
_evaluation = partial(
    Hyperparameter, group="evaluation", tunable="fixed", affects_data=False, why_not=_SAME_MEASURE
)
_EVALUATION = (
    _evaluation("eval_args", "dict",
        {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "how the data is split and ranked", affects_data=True, affects_evaluation=True, fusion_key=True),
    _evaluation("repeatable", "bool", True, "items of the history may be recommended", affects_data=True,
        affects_evaluation=True),
    _evaluation("metrics", "list", ["Recall", "MRR", "NDCG", "Hit", "Precision"], "metrics to compute",
        tunable="no", why_not=f"{_SAME_MEASURE}; use --metric and --set 'metrics=[...]'", fusion_key=True),
    _evaluation("topk", "list", [10], "cut-offs of the metrics", tunable="no",
        why_not=f"{_SAME_MEASURE}; use --set 'topk=[...]'", fusion_key=True),
    _evaluation("valid_metric", "str", "MRR@10", "metric to select by", tunable="no",
        why_not=f"{_SAME_MEASURE}; use --metric"),
    _evaluation("valid_metric_bigger", "bool", True, "whether more is better; RecBole derives it",
        tunable="no", why_not="RecBole derives it from the metric", unused=True, instead="--metric"),
    _evaluation("eval_batch_size", "int", 4096, "users ranked at a time; no effect on results", 1, 1 << 30,
        why_not=_NO_EFFECT),
    _evaluation("metric_decimal_place", "int", 4, "decimals of the metrics", 1, 17),
    _evaluation("tail_ratio", "float", 0.1, "share of items that TailPercentage takes for the tail", 0,
        open_low=True),
    _evaluation("loss_decimal_place", "int", 4, "decimals of the loss in logs", 1, 17, why_not=_NO_EFFECT),
)


# Names and formats that RecBole does without: it reads no such column, or takes Python's default.
_DISPENSABLE = {"LABEL_FIELD", "encoding", "seq_separator"}
_data_setting = partial(Hyperparameter, group="data")


def _data(name: str, kind: Kind, default: Value, meaning: str, **columns: Any) -> Hyperparameter:
    return _data_setting(
        name, kind, default, meaning,
        # RecBole can do without a filter or a list of columns, but not without the names it builds on.
        optional=kind != "str" or default is None or name in _DISPENSABLE,
        tunable="fixed",
        why_not="it changes which users and items are evaluated, so scores would not be comparable",
        **columns,
    )


# Settings of the data that the data sets of other models read.
_unread = partial(
    _data_setting, optional=True, tunable="no", why_not="SASRecF does not read it", unused=True
)


_DATA = (
    _data("user_inter_num_interval", "interval", "[0,inf)",
        "users kept by their number of interactions, such as [5,inf)", affects_evaluation=True),
    _data("item_inter_num_interval", "interval", "[0,inf)",
        "items kept by their number of interactions, such as [5,inf)", affects_evaluation=True),
    _data("filter_inter_by_user_or_item", "bool", True,
        "drop interactions of users and items that are filtered out"),
    _data("val_interval", "dict", None, "interactions kept by a column's value", affects_evaluation=True),
    _data("rm_dup_inter", "str", None, "which of repeated interactions to keep: first, last",
        choices=("first", "last"), affects_evaluation=True),
    _data("load_col", "dict", {"inter": ["user_id", "item_id"]}, "columns to read from each file"),
    _data("unload_col", "dict", None, "columns not to read"),
    _data("unused_col", "dict", None, "columns to read but not to use"),
    _data("numerical_features", "list", [], "float columns to embed"),
    _data("normalize_field", "list", None, "float columns to normalise"),
    _data("normalize_all", "bool", None, "normalise all float columns"),
    _data("discretization", "dict", None, "float columns to put into bins"),
    _data("threshold", "dict", None, "labels from a column's value", affects_evaluation=True),
    _data("seq_len", "dict", None, "most values of a sequence column"),
    _data("benchmark_filename", "list", None, "names of ready-made splits", affects_evaluation=True),
    _data("additional_feat_suffix", "list", None, "further files to read"),
    _data("alias_of_user_id", "list", None, "columns that share the users' numbering"),
    _data("alias_of_item_id", "list", None, "columns that share the items' numbering"),
    _unread("alias_of_entity_id", "list", None, "columns that share the entities' numbering"),
    _unread("alias_of_relation_id", "list", None, "columns that share the relations' numbering"),
    _data("preload_weight", "dict", None, "ready-made embeddings"),
    _data("field_separator", "str", "\t", "between two columns of an atomic file"),
    _data("seq_separator", "str", " ", "between the values of a sequence column"),
    _data("encoding", "str", "utf-8", "of the atomic files"),
    _data("USER_ID_FIELD", "str", "user_id", "column of users", affects_evaluation=True),
    _data("ITEM_ID_FIELD", "str", "item_id", "column of items", affects_evaluation=True),
    _unread("RATING_FIELD", "str", "rating", "column of ratings"),
    _data("TIME_FIELD", "str", "timestamp", "column of times, which order a history",
        affects_evaluation=True),
    _data("LABEL_FIELD", "str", "label", "column of labels"),
    _data("NEG_PREFIX", "str", "neg_", "prefix of negative items' columns"),
    _data("ITEM_LIST_LENGTH_FIELD", "str", "item_length", "column of history lengths"),
    _data("LIST_SUFFIX", "str", "_list", "suffix of history columns"),
    _unread("POSITION_FIELD", "str", "position_id", "column of positions"),
    _unread("HEAD_ENTITY_ID_FIELD", "str", "head_id", "of knowledge graphs"),
    _unread("TAIL_ENTITY_ID_FIELD", "str", "tail_id", "of knowledge graphs"),
    _unread("RELATION_ID_FIELD", "str", "relation_id", "of knowledge graphs"),
    _unread("ENTITY_ID_FIELD", "str", "entity_id", "of knowledge graphs"),
    _unread("kg_reverse_r", "bool", False, "of knowledge graphs"),
    _unread("entity_kg_num_interval", "any", "[0,inf)", "of knowledge graphs"),
    _unread("relation_kg_num_interval", "any", "[0,inf)", "of knowledge graphs"),
)


def _environment(
    name: str, default: Value, meaning: str, instead: str = "", kind: Kind = "any", **columns: Any
) -> Hyperparameter:
    why_not = "it is not a hyperparameter" + (f"; use {instead}" if instead else "")
    return Hyperparameter(
        name, kind, default, meaning, group="environment", optional=True, tunable="no", why_not=why_not,
        instead=instead, **columns,
    )


_unused = partial(_environment, affects_data=False, unused=True)
_ENVIRONMENT = (
    _environment("model", "SASRecF", "the model", "--model", "str", fusion_key=True),
    _environment("dataset", BUILTIN_DATASET, "the data set", "--dataset", "str"),
    _environment("data_path", "dataset/", "directory of data sets", "--data-path", "str", is_path=True),
    _environment("reproducibility", True, "deterministic cuDNN", affects_data=False),
    _unused("gpu_id", "0", "GPU to use", "--gpus"),
    _unused("use_gpu", True, "RecBole 1.2.1 ignores it", "--gpus"),
    _unused("worker", 0, "processes that load data", "--workers"),
    _unused("state", "INFO", "level of logs"),
    _unused("checkpoint_dir", "saved", "directory of weights", "--out", is_path=True),
    _unused("show_progress", True, "progress bars"),
    _unused("save_dataset", False, "save the filtered data set"),
    _unused("dataset_save_path", None, "a saved data set"),
    _unused("save_dataloaders", False, "save the loaders"),
    _unused("dataloaders_save_path", None, "saved loaders"),
    _unused("log_wandb", False, "log to Weights & Biases", "--log wandb"),
    _unused("wandb_project", "recbole", "project there", "--log wandb"),
    _unused("require_pow", False, "of EmbLoss, which SASRecF does not have"),
    _unused("transform", None, "adds columns to a batch that SASRecF does not read"),
    _unused("config_file", None, "config files", "--config-files"),
)
# fmt: on

TABLE: Mapping[str, Hyperparameter] = {
    key.name: key for key in (*_MODEL, *_TRAINING, *_EVALUATION, *_DATA, *_ENVIRONMENT)
}

# Keys that RecBole adds to a configuration itself; no user sets them, so they have no row.
_ADDED_BY_RECBOLE = {
    *("MODEL_INPUT_TYPE", "device", "eval_type", "local_rank", "single_spec"),
    *("valid_neg_sample_args", "test_neg_sample_args"),
}
DATA_INDEPENDENT_KEYS = frozenset(
    _ADDED_BY_RECBOLE | {key.name for key in TABLE.values() if not key.affects_data}
)
COMPARABILITY_KEYS = tuple(key.name for key in TABLE.values() if key.affects_evaluation)
PATH_KEYS = frozenset(key.name for key in TABLE.values() if key.is_path)
_FUSION = [key for key in TABLE.values() if key.fusion_key]
FUSION_KEYS = tuple(key.name for key in _FUSION if key.group != "evaluation")
FUSED_EVALUATION_KEYS = tuple(key.name for key in _FUSION if key.group == "evaluation")


def features_of(model: str, config: Mapping[str, Value]) -> tuple[str, ...]:
    """The item columns that `model` takes with `config`; a missing key has RecBole's default."""
    known = TABLE["selected_features"]
    selected = config.get(known.name, known.default) if model in known.models else None
    return tuple(map(str, selected)) if isinstance(selected, list | tuple) else ()


def shape(config: Mapping[str, Any]) -> str:
    """A text that is equal for configurations that can train as one model."""
    return repr([config.get(key) for key in FUSION_KEYS])


def evaluation(config: Mapping[str, Any]) -> str:
    """A text that is equal for configurations that can be validated together."""
    return repr([config.get(key) for key in FUSED_EVALUATION_KEYS])
