"""The usual names of columns, and the raw layouts of well-known data sets that have no names in them.

MovieLens: u.data, u.item (100K), ratings.dat, movies.dat (1M, 10M). Amazon reviews: files of ratings only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

USER, ITEM, TIME, RATING = "user", "item", "time", "rating"

# The first name that a table has is taken. Case and what is no letter or digit do not count.
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    USER: (
        *(
            "userid",
            "user",
            "uid",
            "reviewerid",
            "customerid",
            "visitorid",
            "memberid",
            "accountid",
            "profileid",
        ),
        *("personid", "playerid", "listenerid", "readerid", "customer", "reviewer", "username", "sessionid"),
        *("session", "u"),
    ),
    ITEM: (
        *(
            "itemid",
            "item",
            "iid",
            "parentasin",
            "asin",
            "movieid",
            "productid",
            "articleid",
            "bookid",
            "isbn",
        ),
        *("trackid", "songid", "artistid", "gameid", "appid", "newsid", "videoid", "businessid", "venueid"),
        *(
            "poiid",
            "recipeid",
            "animeid",
            "courseid",
            "contentid",
            "sku",
            "movie",
            "product",
            "article",
            "book",
        ),
        *("track", "song", "game", "stockcode", "i"),
    ),
    TIME: (
        *(
            "timestamp",
            "time",
            "unixreviewtime",
            "datetime",
            "eventtime",
            "unixtime",
            "ts",
            "createdat",
            "date",
        ),
        *("created", "tstamp", "timestampms", "reviewtime", "ratedat", "eventtimestamp", "tdat"),
        *("eventts", "unixtimestamp", "orderdate", "orderedat", "purchasedate", "invoicedate", "dateadded"),
        "t",
    ),
    RATING: ("rating", "overall", "stars", "score", "reviewscore", "r"),
}

_ASIN = re.compile(r"[A-Z0-9]{10}")
_REVIEWER = re.compile(r"A[A-Z0-9]{11,20}")
# File names of MovieLens and Amazon whose columns are user, item, rating, time.
_RATINGS = re.compile(r"u\.data|ua\.base|ub\.base|ratings\.dat|ratings_\w+\.csv", re.IGNORECASE)
_ITEM_FILES = {
    ("movies.dat", 3): ("movie_id", "title", "genres"),
    ("u.item", 24): (
        *(
            "movie_id",
            "title",
            "release_date",
            "video_release_date",
            "imdb_url",
            "unknown",
            "Action",
            "Adventure",
        ),
        *(
            "Animation",
            "Childrens",
            "Comedy",
            "Crime",
            "Documentary",
            "Drama",
            "Fantasy",
            "Film-Noir",
            "Horror",
        ),
        *("Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
    ),
}
# Files that are known not to be UTF-8, and have no quotes.
LATIN_1 = frozenset({"movies.dat", "users.dat", "u.item", "u.user"})
# The share of the first rows that must fit; the others are reported later.
_MOST = 0.9
EARLIEST = 1e8  # seconds since 1970: the year 1973


def plain(name: str) -> str:
    """The name without case and without what is no letter or digit."""
    return re.sub(r"[\W_]", "", name).casefold()


def usual_column(role: str, columns: Sequence[str]) -> str | None:
    """The first of `columns` that has a usual name of `role`, None without any."""
    by_plain = {plain(column): column for column in reversed(columns)}
    return next((by_plain[name] for name in USUAL_NAMES[role] if name in by_plain), None)


def is_usual(name: str) -> bool:
    """Whether a column of this name is known."""
    return any(plain(name) in names for names in USUAL_NAMES.values())


def known_columns(file: str, rows: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """The columns of a well-known file without a header; None if it is not known.

    Args:
        file: Its name, without the ending of a compression.
        rows: Its first rows.
    """
    width = len(rows[0]) if rows else 0
    if known := _ITEM_FILES.get((file.lower(), width)):
        return known
    full = [row for row in rows if len(row) == width]

    def most(test: Callable[[Sequence[str]], object]) -> bool:
        return sum(bool(test(row)) for row in full) >= _MOST * len(rows)

    if width != 4 or not most(lambda row: _is_rating(row[2]) and _is_time(row[3])):
        return None
    if most(lambda row: _ASIN.fullmatch(row[0]) and _REVIEWER.fullmatch(row[1])):
        return "item_id", "user_id", "rating", "timestamp"
    if _RATINGS.fullmatch(file) or most(lambda row: _REVIEWER.fullmatch(row[0]) and _ASIN.fullmatch(row[1])):
        return "user_id", "item_id", "rating", "timestamp"
    return None


def is_number(text: str) -> bool:
    """Whether the text is a number that RecBole reads, and not as infinity."""
    found = re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", text)
    return found is not None and math.isfinite(float(text))


def _is_rating(text: str) -> bool:
    return is_number(text) and 0 <= float(text) <= 100


def _is_time(text: str) -> bool:
    return is_number(text) and float(text) >= EARLIEST
