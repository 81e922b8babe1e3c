"""`check` refuses what `run` refuses, with the same words, and accepts what it accepts."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sasrecf_tune.cli import session
from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import TuneError
from sasrecf_tune.executors.inline import InlineExecutor
from tests.support.recbole_alone import recbole_itself
from tests.support.shop import SESSION_SETTINGS, SMALL, edit, write_sessions, write_shop
from tests.support.synthetic_data import muted

__all__ = ["muted"]

Change = Callable[[str], str]

SPLIT = "split: {LS: valid_and_test}"


def drop_column(index: int) -> Change:
    return lambda text: "\n".join(
        "\t".join(field for i, field in enumerate(line.split("\t")) if i != index)
        for line in text.splitlines()
    )


def head(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new, 1)


def with_users(text: str) -> str:
    users = sorted({line.split("\t")[0] for line in text.splitlines()[1:]})
    return "user_id:token\tage:float\n" + "".join(f"{user}\t{20 + i}\n" for i, user in enumerate(users))


def without_prices(text: str) -> str:
    return re.sub(r"\t\d+\.0\t", "\t\t", text)


def pairs(text: str) -> str:
    rows = [f"u{i // 2}\ti{i % 20}\t1\t{i}" for i in range(40)]
    return "\n".join([text.splitlines()[0], *rows])


def vectors(_: str) -> str:
    return "vec_id:token\tvec:float_seq\n" + "".join(f"i{i}\t1 2\n" for i in range(20))


LABELED = f"metrics=[AUC] valid_metric=AUC eval_args={{{SPLIT}, order: TO, mode: labeled}}"
PRICE = "selected_features=[price] numerical_features=[price]"
FURTHER = "additional_feat_suffix=[vec] load_col={inter: '*', item: '*', vec: '*'}"

# Name, changes of the shop's files, options, and what is said; "" for inputs that can be trained.
CASES: list[tuple[str, Mapping[str, Change], str, str]] = [
    # columns to load
    ("nothing given", {}, "", ""),
    ("no load_col", {}, "selected_features=[brand]", ""),
    ("a filter's column", {}, "val_interval={rating: '[2,inf)'}", ""),
    ("a label's column", {}, "threshold={rating: 3}", ""),
    (
        "explicit load_col",
        {},
        "load_col={inter: [user_id, item_id], item: [item_id, brand]}",
        "timestamp (shop.inter)",
    ),
    (
        "unknown column",
        {},
        "val_interval={ratings: '[2,inf)'}",
        "no column 'ratings': did you mean `rating`?",
    ),
    (
        "load and unload",
        {},
        "load_col={inter: [user_id, item_id, timestamp]} unload_col={inter: [rating]}",
        "cannot both",
    ),
    ("letters", {}, "load_col={inter: user_id}", "needs a list of columns for inter"),
    ("items", {}, "load_col={inter: '*', items: '*'}", "did you mean `item`?"),
    ("all columns", {}, "load_col={inter: '*', item: '*'}", ""),
    ("no load_col at all", {}, "load_col=null", ""),
    ("selected but unused", {}, "unused_col={item: [brand]}", "unused_col drops it"),
    ("ids unused", {}, "unused_col={inter: [user_id]}", "unused_col drops it"),
    ("time unused", {}, "unused_col={inter: [timestamp]}", ""),
    ("unused of no file", {}, "unused_col={user: [age]}", "RecBole does not load"),
    ("selected but unloaded", {}, "load_col=null unload_col={item: [brand]}", "unload_col drops it"),
    # features
    ("two floats", {}, "selected_features=[price,rank] numerical_features=[price,rank]", "only one of them"),
    ("a float", {}, "selected_features=[price] numerical_features=[price]", ""),
    ("a float and others", {}, "selected_features=[tags,price,brand] numerical_features=[price]", ""),
    ("a float not numerical", {}, "selected_features=[price]", "embeds only if told to"),
    ("tokens numerical", {}, "numerical_features=[brand]", "has type token, not float"),
    (
        "bins of two",
        {},
        "selected_features=[price] numerical_features=[price] discretization={price: {method: ED}}",
        "bucket",
    ),
    (
        "bins",
        {},
        "selected_features=[price] numerical_features=[price] "
        "discretization={price: {method: ED, bucket: 4}}",
        "",
    ),
    ("bins not numerical", {}, "discretization={price: {method: LD}}", "not in numerical_features"),
    ("both normalised", {}, "normalize_field=[rating] normalize_all=True", "cannot both be set"),
    # files
    ("no item id", {"item": drop_column(0)}, "", "there is no column 'item_id' (ITEM_ID_FIELD)"),
    ("item id renamed", {"item": head("item_id", "movie_id")}, "", "there is no column 'item_id'"),
    ("item id of numbers", {"item": head("item_id:token", "item_id:float")}, "", "must have type token"),
    (
        "other ids",
        {"item": lambda text: text.replace("\ni", "\nx")},
        "",
        "no item_id of shop.inter is in shop.item",
    ),
    (
        "other ids kept",
        {"item": lambda text: text.replace("\ni", "\nx")},
        "filter_inter_by_user_or_item=False",
        "no item_id of",
    ),
    ("no item file", {"item": lambda _: ""}, "", "the file is empty"),
    ("only names", {"item": lambda text: text.splitlines()[0]}, "", "no rows"),
    ("no interactions", {"inter": lambda text: text.splitlines()[0] + "\n"}, "", "no rows"),
    ("empty", {"inter": lambda _: ""}, "", "the file is empty"),
    (
        "a name in two files",
        {"item": head("brand", "rating")},
        "load_col=null selected_features=[tags]",
        "is in shop.inter and in shop.item",
    ),
    ("not loaded twice", {"inter": head("rating:float", "brand:token")}, "", ""),
    ("dates", {"inter": lambda text: text.replace("\t140", "\t2018-09-0")}, "", "Write times as numbers"),
    ("dates as tokens", {"inter": head("timestamp:float", "timestamp:token")}, "", "Write times as numbers"),
    ("no time", {"inter": drop_column(3)}, "", "there is no column 'timestamp'"),
    (
        "words as prices",
        {"item": lambda text: text.replace("\t1.0\t", "\tcheap\t")},
        "selected_features=[price] numerical_features=[price]",
        "remove it from numerical_features",
    ),
    ("words not loaded", {"item": lambda text: text.replace("\t1.0\t", "\tcheap\t")}, "", ""),
    ("an item twice", {"item": lambda text: text + text.splitlines()[-1] + "\n"}, "", ""),
    ("users", {"user": with_users}, "load_col=null", ""),
    (
        "other users",
        {"user": lambda text: with_users(text).replace("\nu", "\nv")},
        "load_col=null",
        "no user_id of shop.inter",
    ),
    (
        "users without ids",
        {"user": lambda text: with_users(text).replace("user_id", "uid")},
        "load_col=null",
        "no column 'user_id'",
    ),
    ("users not read", {"user": lambda _: "what is this"}, "", ""),
    # users, items and splits
    (
        "histories of one",
        {
            "inter": lambda text: "\n".join(
                [text.splitlines()[0], *(f"u{i}\ti{i % 20}\t1\t{i}" for i in range(40))]
            )
        },
        "",
        "the training split is empty",
    ),
    (
        "histories of two",
        {
            "inter": lambda text: "\n".join(
                [text.splitlines()[0], *(f"u{i // 2}\ti{i % 20}\t1\t{i}" for i in range(40))]
            )
        },
        "",
        "the validation split is empty",
    ),
    ("no user left", {}, "user_inter_num_interval='[900,inf)'", "no interactions are left"),
    ("no value left", {}, "val_interval={rating: '[9,inf)'}", "no interactions are left"),
    ("topk", {}, "topk=100", "topk 100 is more than the 20 items"),
    ("topk of all", {}, "topk=20", ""),
    ("topk of candidates", {}, "eval_args={split: {LS: valid_and_test}, order: TO, mode: uni5}", ""),
    # evaluation
    ("order RO", {}, f"eval_args={{{SPLIT}, order: RO, mode: full}}", "order of eval_args must be TO"),
    ("order left out", {}, f"eval_args={{{SPLIT}, mode: full}}", "order of eval_args must be TO"),
    ("order of words", {}, f"eval_args={{{SPLIT}, order: time, mode: full}}", "must be TO"),
    ("split left out", {}, "eval_args={order: TO}", ""),
    ("only mode", {}, "eval_args={mode: uni100}", "order of eval_args must be TO"),
    ("mode of no number", {}, f"eval_args={{{SPLIT}, order: TO, mode: uni}}", "uniN or popN"),
    ("mode of words", {}, f"eval_args={{{SPLIT}, order: TO, mode: uniform}}", "uniN or popN"),
    ("mode of zero", {}, f"eval_args={{{SPLIT}, order: TO, mode: uni0}}", "uniN or popN"),
    (
        "labels",
        {},
        f"eval_args={{{SPLIT}, order: TO, mode: labeled}}",
        "mode labeled cannot be used with Recall",
    ),
    ("no labels", {}, LABELED, "there is no column 'label' (LABEL_FIELD)"),
    ("labels of a threshold", {}, f"{LABELED} threshold={{rating: 3}}", ""),
    ("labels of a column", {"inter": head("rating", "label")}, LABELED, ""),
    ("labels of another column", {}, f"{LABELED} LABEL_FIELD=rating", ""),
    ("labels of text", {"inter": head("rating:float", "label:token")}, LABELED, "Write label:float"),
    (
        "labels unused",
        {},
        f"{LABELED} LABEL_FIELD=rating unused_col={{inter: [rating]}}",
        "unused_col drops it",
    ),
    (
        "equal labels",
        {},
        f"{LABELED} threshold={{rating: 9}}",
        "all labels (label) of the validation split are 0",
    ),
    (
        "labels, then candidates",
        {},
        f"threshold={{rating: 3}} {LABELED.replace('labeled', '{valid: labeled, test: uni5}')}",
        "cannot be used with uni5 for test",
    ),
    (
        "candidates, then labels",
        {},
        f"threshold={{rating: 3}} {LABELED.replace('labeled', '{valid: uni5, test: labeled}')}",
        "",
    ),
    ("one mode", {}, f"eval_args={{{SPLIT}, order: TO, mode: {{valid: uni5, test: full}}}}", ""),
    (
        "misspelt phase",
        {},
        f"eval_args={{{SPLIT}, order: TO, mode: {{vaild: uni5}}}}",
        "did you mean `valid`?",
    ),
    ("pop", {}, f"eval_args={{{SPLIT}, order: TO, mode: pop5}}", ""),
    ("two ratios", {}, "eval_args={split: {RS: [0.8, 0.2]}, order: TO, mode: full}", "three ratios"),
    (
        "ratios of text",
        {},
        "eval_args={split: {RS: ['0.8', '0.1', '0.1']}, order: TO, mode: full}",
        "three ratios",
    ),
    (
        "no validation",
        {},
        "eval_args={split: {RS: [0.8, 0, 0.2]}, order: TO, mode: full}",
        "nothing to train or to validate",
    ),
    ("no test", {}, "eval_args={split: {RS: [0.8, 0.2, 0]}, order: TO, mode: full}", ""),
    ("ratios", {}, "eval_args={split: {RS: [8, 1, 1]}, order: TO, mode: full, group_by: user}", ""),
    ("no groups", {}, "eval_args={split: {RS: [8, 1, 1]}, order: TO, mode: full, group_by: none}", ""),
    (
        "other groups",
        {},
        "eval_args={split: {RS: [8, 1, 1]}, order: TO, mode: full, group_by: item}",
        "group_by",
    ),
    ("time", {}, "eval_args={split: {TS: [8, 1, 1]}, order: TO, mode: full}", ""),
    ("test only", {}, "eval_args={split: {LS: test_only}, order: TO, mode: full}", "nothing to validate on"),
    ("valid only", {}, "eval_args={split: {LS: valid_only}, order: TO, mode: full}", ""),
    (
        "leave two out",
        {},
        "eval_args={split: {LS: valid_and_tset}, order: TO}",
        "did you mean `valid_and_test`?",
    ),
    ("two splits", {}, "eval_args={split: {LS: valid_only, RS: [8, 1, 1]}, order: TO}", "one of RS"),
    ("another split", {}, "eval_args={split: {CV: 5}, order: TO}", "one of RS"),
    ("no such key", {}, f"eval_args={{{SPLIT}, order: TO, modes: full}}", "did you mean `mode`?"),
    ("no such metric", {}, "metrics=[Foo]", "unknown metric 'Foo' in metrics"),
    ("a metric with a cut-off", {}, "metrics=[NDCG@10]", "Set the cut-offs with topk"),
    ("mixed metrics", {}, "metrics=[AUC,MRR]", "cannot compute AUC together with MRR"),
    ("lower case", {}, "metrics=[ndcg,mrr]", ""),
    ("not repeatable", {}, "repeatable=False", "repeatable must be True"),
    # values
    ("no interval", {}, "val_interval={rating: 3}", "must be an interval"),
    ("malformed interval", {}, "val_interval={rating: '[3,'}", "must be an interval"),
    ("interval of words", {}, "val_interval={rating: above 3}", "must be an interval"),
    ("two labels", {}, "threshold={rating: 3, timestamp: 5}", "one column a number"),
    ("time as label", {}, "threshold={timestamp: 5}", "cannot be made a label"),
    ("lengths of nothing", {}, "selected_features=[tags] seq_len={tags: 0}", "a whole number from 1"),
    ("one length", {}, "selected_features=[tags] seq_len={tags: 1}", ""),
    ("no ids", {"inter": lambda text: re.sub(r"\nu\d+", "\n", text)}, "", "drops rows without ids"),
    ("no prices", {"item": without_prices}, PRICE, "column 'price' has no numbers"),
    (
        "endless prices",
        {"item": lambda text: text.replace("\t1.0\t", "\tinf\t")},
        PRICE,
        "infinite or too large",
    ),
    ("numbers of words", {"item": head("token_seq", "float_seq")}, "load_col=null", "as tags:token_seq."),
    ("further columns", {"vec": vectors}, f"{FURTHER} alias_of_item_id=[vec_id]", ""),
    ("further ids alone", {"vec": vectors}, FURTHER, "SASRecF does not read such files"),
    ("a further name", {"vec": lambda _: "vec_id\tvec\n"}, FURTHER, "such as item_id:token"),
    ("further no more", {"ent": vectors}, "load_col={inter: '*', item: '*', ent: '*'}", ""),
    (
        "a name of RecBole's",
        {"item": head("brand", "timestamp")},
        "selected_features=[timestamp]",
        "Rename it",
    ),
    (
        "leave one of two out",
        {"inter": pairs},
        f"eval_args={{{SPLIT.replace('valid_and_test', 'valid_only')}, order: TO}}",
        "a user needs three",
    ),
    ("users as items", {}, "alias_of_item_id=[user_id]", "both as a user and as an item"),
    ("unknown alias", {}, "alias_of_item_id=[other]", "no column 'other'"),
    # further
    ("no separator", {}, "field_separator=''", "`field_separator` must not be empty"),
    ("no separator of values", {}, "selected_features=[tags] seq_separator=''", ""),
    ("no prefix", {}, "loss_type=BPR NEG_PREFIX=''", "`NEG_PREFIX` must not be empty"),
    ("a suffix twice", {}, "additional_feat_suffix=[inter]", "which RecBole reads anyway"),
    ("no such encoding", {}, "encoding=nonsense", "must name an encoding of text"),
    (
        "another encoding",
        {"item": lambda text: text.replace("b1", "\ufffd")},
        "encoding=ascii",
        "not ascii: byte 0xef",
    ),
    (
        "a misspelt number column",
        {},
        "numerical_features=[prize]",
        "The columns of shop.item: item_id, brand",
    ),
    ("a list for a float", {}, "val_interval={rating: [2, 5]}", ""),
    ("words for a float", {}, "val_interval={rating: ['2', '5']}", "is no filter"),
    ("an interval for tokens", {}, "val_interval={brand: '[0,3]'}", "is no filter"),
    ("a list for tokens", {}, "val_interval={brand: [b0, b1, b2]}", ""),
    ("numbers for tokens", {}, "val_interval={brand: [0, 1]}", "in quotes"),
    ("a list for sequences", {}, "selected_features=[tags] val_interval={tags: [t0]}", "is no filter"),
    ("a missing suffix", {}, "additional_feat_suffix=[ent]", "additional_feat_suffix names it"),
    ("weights", {}, "preload_weight={item_id: brand}", "preload_weight"),
    (
        "one item",
        {
            "inter": lambda text: re.sub(r"\ti\d+\t", "\ti1\t", text),
            "item": lambda text: "\n".join(text.splitlines()[:1] + text.splitlines()[2:3]),
        },
        "",
        "ranking needs two",
    ),
    ("histories in a plain file", {"inter": head("rating:float", "item_id_list:float")}, "load_col=null", ""),
    ("a length in a plain file", {"inter": head("rating:float", "item_length:float")}, "load_col=null", ""),
    ("commas", {}, "field_separator=','", "the first line must be fields"),
    (
        "no types",
        {"inter": head("user_id:token\titem_id:token", "user_id\titem_id")},
        "",
        "the first line must be fields",
    ),
    ("negatives", {}, "loss_type=BPR train_neg_sample_args={distribution: popularity, sample_num: 3}", ""),
    (
        "dynamic negatives",
        {},
        "loss_type=BPR "
        "train_neg_sample_args={distribution: uniform, sample_num: 1, dynamic: True, candidate_num: 3}",
        "",
    ),
    ("no duplicates", {}, "rm_dup_inter=last", ""),
    ("cores", {}, "item_inter_num_interval='[5,inf)' user_inter_num_interval='[5,inf)'", ""),
    ("a metric above the items", {}, "valid_metric=MRR@50", "topk 50 is more than the 20 items"),
    ("GAUC alone", {}, "metrics=[GAUC] valid_metric=GAUC topk=100", ""),
    ("time as number", {}, "numerical_features=[timestamp]", ""),
    ("normalised", {}, "normalize_all=True", ""),
    ("normalised time", {}, "normalize_field=[timestamp]", ""),
    ("user is item", {}, "ITEM_ID_FIELD=user_id", "both as a user and as an item"),
    ("another length field", {}, "ITEM_LIST_LENGTH_FIELD=brand", "a name that RecBole gives"),
    ("another suffix", {}, "LIST_SUFFIX=_seq", ""),
    ("empty suffix", {}, "LIST_SUFFIX=''", "`LIST_SUFFIX` must not be empty"),
    ("no such part", {}, "benchmark_filename=[train,valid,test]", "shop.train.inter"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer in this process: a worker would import torch for each case."""

    @contextlib.contextmanager
    def executor(*_: object) -> Iterator[InlineExecutor]:
        from sasrecf_tune.training.runner import Runner

        runner = Runner("")
        yield InlineExecutor(runner.train, runner.describe, runner.measure)

    monkeypatch.setattr(session, "open_executor", executor)


def answer(*arguments: str) -> tuple[int, str]:
    """The exit code, and the message of an error."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            app(list(arguments), standalone_mode=False)
    except TuneError as error:
        return error.exit_code, "\n".join(error.texts)
    except typer.Exit as end:
        return end.exit_code, ""
    return 0, ""


def both(dataset: str, settings: Mapping[str, Any], options: list[str]) -> tuple[int, str]:
    """The one answer of `check` and `run --dry-run`."""
    Path("lr.test").write_text("learning_rate choice [0.01]\n")
    sets = [f"--set={key}={value}" for key, value in settings.items()] + [f"--set={text}" for text in options]
    common = ["--dataset", dataset, "--data-path", "data", *sets]
    checked = answer("check", "lr.test", *common)
    assert answer("run", "--params-file", "lr.test", "--gpus", "none", "--dry-run", *common) == checked
    return checked


@pytest.mark.parametrize(
    ("changes", "options", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_check_and_run_agree(
    shop: Path, tmp_path: Path, changes: Mapping[str, Change], options: str, said: str
) -> None:
    shutil.copytree(shop, tmp_path / "data")
    edit(tmp_path / "data", "shop", changes)
    agree("shop", SMALL, options, said)


# Of ready-made histories: the changes of a part, options, and what is said.
SESSIONS: list[tuple[str, Mapping[str, Change], str, str]] = [
    ("without time", {}, "", ""),
    ("without load_col", {}, "load_col=", ""),
    ("two parts", {}, "benchmark_filename=[train,test]", "must name three parts"),
    ("four parts", {}, "benchmark_filename=[train,valid,test,more]", "must name three parts"),
    ("one part", {}, "benchmark_filename=train", "must name three parts"),
    ("another name", {}, "benchmark_filename=[train,dev,test]", "sess.dev.inter: the file does not exist"),
    ("no parts named", {}, "benchmark_filename=", "benchmark_filename=[train, valid, test]"),
    ("no alias", {}, "alias_of_item_id=", "alias_of_item_id=[item_id_list]"),
    ("no histories", {"train": drop_column(1)}, "", "no column item_id_list:token_seq"),
    ("an empty history", {"valid": lambda text: f"{text}s\t\ti1\n"}, "", "item_id_list is empty"),
    ("a missing history", {"train": lambda text: f"{text}s\tNA\ti1\n"}, "", "item_id_list is empty"),
    ("long histories", {}, "MAX_ITEM_LIST_LENGTH=2", "more than MAX_ITEM_LIST_LENGTH (2)"),
    ("no item", {"test": lambda text: f"{text}s\ti1\t\n"}, "", "RecBole does not filter"),
    (
        "another column",
        {"train": head("item_id:token", "target:token")},
        "",
        "Rename that of the next item to item_id",
    ),
    ("one part differs", {"test": head("item_id:token", "target:token")}, "", "are not those of"),
    ("a test part twice", {}, "benchmark_filename=[train,test,test]", ""),
    ("a filter", {}, "user_inter_num_interval='[2,inf)'", ""),
    ("random order", {}, "eval_args={order: RO}", "order of eval_args must be TO"),
]


@pytest.mark.parametrize(
    ("changes", "options", "said"), [case[1:] for case in SESSIONS], ids=[case[0] for case in SESSIONS]
)
def test_ready_made_histories(tmp_path: Path, changes: Mapping[str, Change], options: str, said: str) -> None:
    write_sessions(tmp_path / "data")
    for part, change in changes.items():
        path = tmp_path / "data" / "sess" / f"sess.{part}.inter"
        path.write_text(change(path.read_text()))
    agree("sess", SMALL | SESSION_SETTINGS, options, said)


def test_ready_made_histories_have_the_scores_of_stock_recbole(tmp_path: Path) -> None:
    write_sessions(tmp_path / "data")
    Path("lr.test").write_text("learning_rate choice [0.01]\n")
    sets = [f"--set={key}={value}" for key, value in (SMALL | SESSION_SETTINGS).items()]
    common = ["--dataset", "sess", "--data-path", "data", "--gpus", "none", *sets]
    assert answer("run", "--params-file", "lr.test", *common) == (0, "")
    (row,) = csv.DictReader(Path("tuning/sess-lr/trials.csv").read_text().splitlines())
    ((score, valid, _),) = recbole_itself(tmp_path, [{"config_file_list": ["tuning/sess-lr/best.yaml"]}])
    assert {key: float(row[f"valid {key}"]) for key in valid} == valid
    assert valid["mrr@10"] == score


def test_the_columns_to_load_are_in_all_results(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop, tmp_path / "data")
    Path("lr.test").write_text("learning_rate choice [0.01]\n")
    sets = [f"--set={key}={value}" for key, value in SMALL.items()]
    common = ["--dataset", "shop", "--data-path", "data", "--gpus", "none", *sets]
    assert answer("run", "--params-file", "lr.test", *common) == (0, "")
    best = yaml.safe_load(Path("tuning/shop-lr/best.yaml").read_text())
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "brand"]}
    assert best["load_col"] == columns
    # The same command, and one that gives the columns, continue the study.
    assert answer("run", "--params-file", "lr.test", *common) == (0, "")
    given = f"--set=load_col={json.dumps(columns)}"
    assert answer("run", "--params-file", "lr.test", *common, given) == (0, "")


def test_notes(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(shop, tmp_path / "data")
    Path("lr.test").write_text("learning_rate choice [0.01]\n")
    sets = [f"--set={key}={value}" for key, value in SMALL.items()]
    sets.append("--set=eval_args={split: {LS: valid_and_test}, order: TO, mode: uni5}")
    app(["check", "lr.test", "--dataset", "shop", "--data-path", "data", *sets], standalone_mode=False)
    out = capsys.readouterr().out
    assert "note: load_col: added timestamp, item_id, brand" in out
    assert "only 6 items are ranked" in out


def test_the_data_set_inside_recbole_needs_no_path(
    tiny_yaml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lr.test").write_text("learning_rate choice [0.01]\n")
    app(
        ["check", "lr.test", "--config-files", str(tiny_yaml), "--data-path", "data"],
        standalone_mode=False,
    )
    assert (
        "note: --data-path has no effect: RecBole reads the ml-100k that comes with it"
        in capsys.readouterr().out
    )


def agree(dataset: str, settings: Mapping[str, str], options: str, said: str) -> None:
    """Check that both commands answer the same: `said`, or nothing."""
    given = separate(options)
    names = {text.partition("=")[0] for text in given}
    kept = {key: value for key, value in settings.items() if key not in names}
    code, message = both(dataset, kept, [text for text in given if not text.endswith("=")])
    assert code == (2 if said else 0), message
    assert said in message
    for word in ("Error", "Traceback", "NoneType", "object has no"):
        assert word not in message


def separate(options: str) -> list[str]:
    """The KEY=VALUE of a text with several, whose values may have spaces."""
    return [part for part in re.split(r" (?=[a-zA-Z_]+=)", options) if part]
