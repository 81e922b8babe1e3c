"""The settings of an import. Each field is declared once, with the command-line option that sets it."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

from typer import Option

from sasrecf_tune.errors import InputError

Kind = Literal["token", "token_seq", "float", "skip"]
# Rows that are left out only if told to.
Drop = Literal["missing", "unreadable", "duplicates", "unseen-items"]

_FEATURE = re.compile(r"(?P<name>.+?):(?P<kind>token_seq|token|float|skip)(?::(?P<separator>.+))?", re.DOTALL)


class FeatureSetting(NamedTuple):
    """What the user says of an item column: its kind, and what separates the values of a token_seq."""

    kind: Kind
    separator: str = ""


def parse_feature(text: str) -> tuple[str, FeatureSetting]:
    """Convert "NAME:KIND" or "NAME:token_seq:SEPARATOR".

    Raises:
        InputError: The text is neither.

    Example:
        >>> parse_feature("genres:token_seq:|")
        ('genres', FeatureSetting(kind='token_seq', separator='|'))
    """
    found = _FEATURE.fullmatch(text)
    if found is None or (found["separator"] and found["kind"] != "token_seq"):
        raise InputError(
            f"invalid `--feature` value {text!r}",
            fix="Write NAME:KIND, where KIND is token, token_seq, float or skip; a token_seq takes its "
            "separator too, such as 'genres:token_seq:|'.",
        )
    return found["name"], FeatureSetting(found["kind"], found["separator"] or "")  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """How tables are read. What is None is guessed; `items` is a file, or in Python a data frame."""

    items: Annotated[
        Path | None,
        Option("--items", metavar="FILE", help="Table of the items with their features.  [default: none]"),
    ] = None
    out: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="DIR/NAME",
            help="Directory to write; its last part is the name.  [default: data/ and the file's name]",
        ),
    ] = None
    user: Annotated[
        str | None, Option("--user", metavar="COLUMN", help="Column of users.  [default: by its name]")
    ] = None
    item: Annotated[
        str | None, Option("--item", metavar="COLUMN", help="Column of items.  [default: by its name]")
    ] = None
    time: Annotated[
        str | None,
        Option(
            "--time", metavar="COLUMN", help="Column of times: ISO dates or numbers.  [default: by its name]"
        ),
    ] = None
    time_format: Annotated[
        str | None,
        Option("--time-format", metavar="FORMAT", help="Format of other dates, such as '%d/%m/%Y %H:%M'."),
    ] = None
    rating: Annotated[
        str | None,
        Option(
            "--rating", metavar="COLUMN", help="Column of ratings, which is written too.  [default: none]"
        ),
    ] = None
    min_rating: Annotated[
        float | None,
        Option(
            "--min-rating",
            metavar="X",
            help="Leave out interactions with a lower rating.  [default: keep all]",
        ),
    ] = None
    item_key: Annotated[
        str | None,
        Option("--item-key", metavar="COLUMN", help="Column of item ids in --items.  [default: by its name]"),
    ] = None
    features: Annotated[
        list[str],
        Option(
            "--feature",
            metavar="NAME:KIND",
            help="Kind of an item column: token, token_seq, float or skip; 'genres:token_seq:|' gives the "
            "separator; may be repeated.  [default: by its values]",
        ),
    ] = field(default_factory=list)
    drop: Annotated[
        list[str],
        Option(
            "--drop",
            metavar="ROWS",
            help="Rows to leave out: missing (no user, item or time), unreadable, duplicates, unseen-items "
            "(items without interactions); may be repeated.  [default: none]",
        ),
    ] = field(default_factory=list)
    separator: Annotated[
        str | None,
        Option(
            "--separator",
            metavar="TEXT",
            help="Between columns, such as ';' or '::'.  [default: by the content]",
        ),
    ] = None
    encoding: Annotated[
        str | None, Option("--encoding", metavar="NAME", help="Encoding of the text.  [default: utf-8]")
    ] = None
    header: Annotated[
        bool | None,
        Option(
            "--header/--no-header",
            help="Whether the first line names the columns.  [default: by the content]",
        ),
    ] = None
    quotes: Annotated[
        bool | None,
        Option("--quotes/--no-quotes", help="Whether quotes can enclose a field.  [default: by the content]"),
    ] = None
    force: Annotated[bool, Option("--force", help="Replace an existing data set of this name.")] = False

    def feature_settings(self) -> dict[str, FeatureSetting]:
        """What is said of item columns.

        Raises:
            InputError: A text is invalid.
        """
        settings: dict[str, FeatureSetting] = {}
        for name, setting in map(parse_feature, self.features):
            if settings.setdefault(name, setting) != setting:
                raise InputError(f"`--feature` names {name!r} twice", fix="Give its kind once.")
        return settings

    def __post_init__(self) -> None:
        for kind in self.drop:
            if kind not in get_args(Drop):
                raise InputError(
                    f"invalid `--drop` value {kind!r}", fix=f"The values are {', '.join(get_args(Drop))}."
                )
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise InputError("`--min-rating` must be a number", fix="For example: --min-rating 4.")
        if self.separator == "":
            raise InputError("`--separator` must not be empty", fix="For example: --separator ';'.")
