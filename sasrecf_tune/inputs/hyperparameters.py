"""The models' hyperparameters and RecBole's settings: type, range, default and meaning of each.

Sources: RecBole 1.2.1, properties/model/SASRecF.yaml and SASRec.yaml, properties/overall.yaml,
properties/dataset/sample.yaml, and the documentation of SASRecF.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sasrecf_tune.inputs.literals import Scalar, Value

Kind = Literal["int", "float", "str", "bool", "list", "dict", "any"]
# "yes": may take several values in a search; "fixed": the same value for all trials, since scores
# would not be comparable otherwise; "no": not a hyperparameter, set by an option or not at all.
Tunable = Literal["yes", "fixed", "no"]

# The models that can be tuned; SASRec is SASRecF without item features.
SASRECF, SASREC = "SASRecF", "SASRec"
MODELS = (SASRECF, SASREC)


@dataclass(frozen=True)
class Hyperparameter:
    """One key of RecBole's configuration; `low` and `high` are inclusive unless `open_low`."""

    name: str
    kind: Kind
    default: Value
    meaning: str
    group: Literal["model", "training", "data", "evaluation", "environment"]
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    choices: tuple[Scalar, ...] = ()
    optional: bool = False  # None is allowed
    tunable: Tunable = "yes"
    why_not: str = ""
    models: tuple[str, ...] = MODELS  # that have it

    @property
    def range_text(self) -> str:
        """The legal values for people."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        kinds = {
            "int": "a whole number",
            "float": "a number",
            "str": "text",
            "bool": "True or False",
            "list": "a list",
            "dict": "a mapping {key: value}",
            "any": "any value",
        }
        text = kinds[self.kind]
        low = "" if self.low == -math.inf else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = "" if self.high == math.inf else f"at most {self.high:g}"
        bounds = " and ".join(part for part in (low, high) if part)
        return (f"{text} of {bounds}" if bounds else text) + (" or None" if self.optional else "")


_P = Hyperparameter

_MODEL = (
    _P("hidden_size", "int", 64, "width of the hidden state and of item embeddings", "model", 1, 65536),
    _P("inner_size", "int", 256, "inner width of the feed-forward layers", "model", 1, 1 << 20),
    _P("n_layers", "int", 2, "number of transformer layers", "model", 1, 256),
    _P("n_heads", "int", 2, "attention heads of each layer; must divide hidden_size", "model", 1, 1024),
    _P("hidden_dropout_prob", "float", 0.5, "probability that an element is zeroed", "model", 0, 1),
    _P("attn_dropout_prob", "float", 0.5, "probability that an attention weight is zeroed", "model", 0, 1),
    _P(
        "hidden_act",
        "str",
        "gelu",
        "activation of the feed-forward layers",
        "model",
        choices=("gelu", "relu", "swish", "tanh", "sigmoid"),
    ),
    _P("layer_norm_eps", "float", 1e-12, "added to LayerNorm's denominator", "model", 0, 1),
    _P(
        "initializer_range",
        "float",
        0.02,
        "standard deviation of the initial weights",
        "model",
        0,
        100,
        open_low=True,
    ),
    _P(
        "selected_features",
        "list",
        ["class"],
        "item columns that are concatenated to the item",
        "model",
        models=(SASRECF,),
    ),
    _P(
        "pooling_mode",
        "str",
        "sum",
        "how the values of one multi-valued feature are pooled",
        "model",
        choices=("max", "mean", "sum"),
        models=(SASRECF,),
    ),
    _P(
        "loss_type",
        "str",
        "CE",
        "CE: cross-entropy over all items; BPR: pairs with sampled negatives",
        "model",
        choices=("BPR", "CE"),
    ),
)

_TRAINING = (
    _P("learning_rate", "float", 0.001, "step size of the optimiser", "training", 0, 100, open_low=True),
    _P("train_batch_size", "int", 2048, "training samples a step", "training", 1, 1 << 24),
    _P("weight_decay", "float", 0.0, "L2 penalty on all weights", "training", 0, 100),
    _P(
        "learner",
        "str",
        "adam",
        "optimiser",
        "training",
        # RecBole's sixth, sparse_adam, refuses SASRecF's dense gradients.
        choices=("adam", "adamw", "sgd", "adagrad", "rmsprop"),
    ),
    _P("epochs", "int", 300, "most training epochs of a trial", "training", 1, 1_000_000),
    _P(
        "stopping_step", "int", 10, "evaluations without progress before a trial ends", "training", 0, 1 << 30
    ),
    _P("eval_step", "int", 1, "epochs between two evaluations", "training", 1, 1_000_000),
    _P(
        "clip_grad_norm",
        "dict",
        None,
        "arguments of clip_grad_norm_, such as {'max_norm': 5}",
        "training",
        optional=True,
    ),
    _P(
        "train_neg_sample_args",
        "dict",
        {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0},
        "negative sampling of BPR; follows loss_type",
        "training",
        optional=True,
    ),
    _P("seed", "int", 2020, "seed of a trial", "training", 0, 2**32 - 1),
    _P("enable_amp", "bool", False, "mixed precision training", "training"),
    _P("enable_scaler", "bool", False, "gradient scaler of mixed precision", "training"),
    _P("shuffle", "bool", True, "new order of the samples in each epoch", "training"),
    _P("MAX_ITEM_LIST_LENGTH", "int", 50, "most items of a history that the model sees", "data", 1, 100_000),
)

_FILTER = "it changes which users and items are evaluated, so scores would not be comparable"
_FILTERS: tuple[tuple[str, Kind, Value, str], ...] = (
    (
        "user_inter_num_interval",
        "any",
        "[0,inf)",
        "users kept by their number of interactions, such as [5,inf)",
    ),
    (
        "item_inter_num_interval",
        "any",
        "[0,inf)",
        "items kept by their number of interactions, such as [5,inf)",
    ),
    (
        "filter_inter_by_user_or_item",
        "bool",
        True,
        "drop interactions of users and items that are filtered out",
    ),
    ("val_interval", "dict", None, "interactions kept by a column's value"),
    ("rm_dup_inter", "str", None, "which of repeated interactions to keep: first, last"),
    ("load_col", "dict", {"inter": ["user_id", "item_id"]}, "columns to read from each file"),
    ("unload_col", "dict", None, "columns not to read"),
    ("unused_col", "dict", None, "columns to read but not to use"),
    ("numerical_features", "list", [], "float columns to embed"),
    ("normalize_field", "list", None, "float columns to normalise"),
    ("normalize_all", "bool", None, "normalise all float columns"),
    ("discretization", "dict", None, "float columns to put into bins"),
    ("threshold", "dict", None, "labels from a column's value"),
    ("seq_len", "dict", None, "most values of a sequence column"),
    ("benchmark_filename", "list", None, "names of ready-made splits"),
    ("additional_feat_suffix", "list", None, "further files to read"),
    ("alias_of_user_id", "list", None, "columns that share the users' numbering"),
    ("alias_of_item_id", "list", None, "columns that share the items' numbering"),
    ("alias_of_entity_id", "list", None, "columns that share the entities' numbering"),
    ("alias_of_relation_id", "list", None, "columns that share the relations' numbering"),
    ("preload_weight", "dict", None, "ready-made embeddings"),
    ("field_separator", "str", "\t", "between two columns of an atomic file"),
    ("seq_separator", "str", " ", "between the values of a sequence column"),
    ("encoding", "str", "utf-8", "of the atomic files"),
    ("USER_ID_FIELD", "str", "user_id", "column of users"),
    ("ITEM_ID_FIELD", "str", "item_id", "column of items"),
    ("RATING_FIELD", "str", "rating", "column of ratings"),
    ("TIME_FIELD", "str", "timestamp", "column of times, which order a history"),
    ("LABEL_FIELD", "str", "label", "column of labels"),
    ("NEG_PREFIX", "str", "neg_", "prefix of negative items' columns"),
    ("ITEM_LIST_LENGTH_FIELD", "str", "item_length", "column of history lengths"),
    ("LIST_SUFFIX", "str", "_list", "suffix of history columns"),
    ("POSITION_FIELD", "str", "position_id", "column of positions"),
    ("HEAD_ENTITY_ID_FIELD", "str", "head_id", "of knowledge graphs; SASRecF has none"),
    ("TAIL_ENTITY_ID_FIELD", "str", "tail_id", "of knowledge graphs; SASRecF has none"),
    ("RELATION_ID_FIELD", "str", "relation_id", "of knowledge graphs; SASRecF has none"),
    ("ENTITY_ID_FIELD", "str", "entity_id", "of knowledge graphs; SASRecF has none"),
    ("kg_reverse_r", "bool", False, "of knowledge graphs; SASRecF has none"),
    ("entity_kg_num_interval", "any", "[0,inf)", "of knowledge graphs; SASRecF has none"),
    ("relation_kg_num_interval", "any", "[0,inf)", "of knowledge graphs; SASRecF has none"),
)
_DATA = tuple(
    _P(
        name,
        kind,
        default,
        meaning,
        "data",
        choices=("first", "last") if name == "rm_dup_inter" else (),
        # RecBole does without a filter or a list of columns, but not without the names it builds on.
        optional=kind != "str" or default is None or name.endswith("_interval"),
        tunable="fixed",
        why_not=_FILTER,
    )
    for name, kind, default, meaning in _FILTERS
)

_SAME_RULER = "trials must be measured in the same way"
_EVALUATION = (
    _P(
        "eval_args",
        "dict",
        {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "how the data is split and ranked",
        "evaluation",
        tunable="fixed",
        why_not=_SAME_RULER,
    ),
    _P(
        "repeatable",
        "bool",
        True,
        "items of the history may be recommended",
        "evaluation",
        tunable="fixed",
        why_not=_SAME_RULER,
    ),
    _P(
        "metrics",
        "any",
        ["Recall", "MRR", "NDCG", "Hit", "Precision"],
        "metrics to compute",
        "evaluation",
        tunable="no",
        why_not=f"{_SAME_RULER}; use --metric and --set metrics=[...]",
    ),
    _P(
        "topk",
        "any",
        [10],
        "cut-offs of the metrics",
        "evaluation",
        tunable="no",
        why_not=f"{_SAME_RULER}; use --set topk=[...]",
    ),
    _P(
        "valid_metric",
        "str",
        "MRR@10",
        "metric to select by",
        "evaluation",
        tunable="no",
        why_not=f"{_SAME_RULER}; use --metric",
    ),
    _P(
        "valid_metric_bigger",
        "bool",
        True,
        "whether more is better; RecBole derives it",
        "evaluation",
        tunable="no",
        why_not="RecBole derives it from the metric",
    ),
    _P(
        "eval_batch_size",
        "int",
        4096,
        "users ranked at a time; no effect on results",
        "evaluation",
        1,
        1 << 30,
        tunable="fixed",
        why_not="it has no effect on results",
    ),
    _P(
        "metric_decimal_place",
        "int",
        4,
        "decimals of the metrics",
        "evaluation",
        1,
        17,
        tunable="fixed",
        why_not=_SAME_RULER,
    ),
    _P(
        "loss_decimal_place",
        "int",
        4,
        "decimals of the loss in logs",
        "evaluation",
        1,
        17,
        tunable="fixed",
        why_not="it has no effect on results",
    ),
)

_NOT_ONE = "it is no hyperparameter"
_ENVIRONMENT = tuple(
    _P(name, "any", default, meaning, "environment", optional=True, tunable="no", why_not=f"{_NOT_ONE}{use}")
    for name, default, meaning, use in (
        ("model", SASRECF, "the model", "; use --model"),
        ("dataset", "ml-100k", "the data set", "; use --dataset"),
        ("data_path", "dataset/", "directory of data sets", "; use --data-path"),
        ("gpu_id", "0", "card to use", "; use --gpus"),
        ("use_gpu", True, "RecBole 1.2.1 ignores it", "; use --gpus"),
        ("worker", 0, "processes that load data", ""),
        ("state", "INFO", "level of logs", ""),
        ("reproducibility", True, "deterministic cuDNN", ""),
        ("checkpoint_dir", "saved", "directory of weights", ""),
        ("show_progress", True, "progress bars", ""),
        ("save_dataset", False, "save the filtered data set", ""),
        ("dataset_save_path", None, "a saved data set", ""),
        ("save_dataloaders", False, "save the loaders", ""),
        ("dataloaders_save_path", None, "saved loaders", ""),
        ("log_wandb", False, "log to Weights & Biases", ""),
        ("wandb_project", "recbole", "project there", ""),
        ("require_pow", False, "of EmbLoss; SASRecF has none", ""),
        ("transform", None, "of batches; SASRecF has none", ""),
        ("config_file", None, "config files", "; use --config-files"),
    )
)

TABLE: Mapping[str, Hyperparameter] = {
    parameter.name: parameter for parameter in (*_MODEL, *_TRAINING, *_DATA, *_EVALUATION, *_ENVIRONMENT)
}


def features_of(model: str, config: Mapping[str, Value]) -> tuple[str, ...]:
    """The item columns that `model` takes with `config`, a missing key being RecBole's default."""
    known = TABLE["selected_features"]
    selected = config.get(known.name, known.default) if model in known.models else None
    return tuple(map(str, selected)) if isinstance(selected, list | tuple) else ()


# RecBole's keys that must be equal; all others may be each trial's own.
FUSION_KEYS = (
    "model",
    "n_layers",
    "hidden_size",
    "inner_size",
    "hidden_act",
    "layer_norm_eps",
    "selected_features",
    "pooling_mode",
    "loss_type",
    "MAX_ITEM_LIST_LENGTH",
    "train_batch_size",
    "train_neg_sample_args",
)

# And to be validated together, these too.
EVALUATION_KEYS = ("eval_args", "metrics", "topk")


def shape(config: Mapping[str, Any]) -> str:
    """Equal for configurations of equal shapes; a key that is missing has one value for all."""
    return _values(config, FUSION_KEYS)


def evaluation(config: Mapping[str, Any]) -> str:
    """Equal where the same is evaluated by the same metrics."""
    return _values(config, EVALUATION_KEYS)


def _values(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    return repr([config.get(key) for key in keys])
