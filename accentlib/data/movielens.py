"""MovieLens 100K: parse its files, as GroupLens or as the RecBole wheel writes them, into the paper's sample."""

from __future__ import annotations

import io
import re

import pandas as pd

from accentlib.data.sample import COLUMNS, Sample, build_sample, check_ratings
from accentlib.data.sources import fetch_ratings
from accentlib.errors import DataError

NAME = "ml-100k"

# Movies without metadata, which the paper's experiment drops everywhere.
NO_METADATA = (267, 1358, 1359, 1420, 1536, 1581, 1590, 1591)

# Movies that only RCF's relation file brings in: they have a relation, but neither a training positive
# nor a test rating. Kept here because that file is not always to be had.
RELATION_ONLY = (
    599, 777, 784, 788, 830, 852, 1122, 1290, 1307, 1308, 1309, 1325, 1342, 1345, 1350, 1357, 1360, 1362, 1365,
    1371, 1374, 1414, 1453, 1455, 1461, 1465, 1472, 1486, 1493, 1502, 1532, 1559, 1561, 1564, 1566, 1567, 1587,
    1595, 1596, 1601, 1606, 1617, 1618, 1626, 1634, 1644, 1653, 1654, 1655, 1659, 1660, 1663, 1672, 1673, 1674,
    1676,
)  # fmt: skip

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_ARTICLES = "The|A|An|Le|La|Les|L'|Un|Une|Il|Lo|Der|Die|Das|Det|El|Los|Las|O"
_INVERTED = re.compile(rf"(?P<rest>[^()\s][^()]*), (?P<article>{_ARTICLES})(?=\s*(?:[()]|$))")
_YEAR = re.compile(r"\s*\((\d{4})\)\s*(?:\(V\))?\s*$")


def load_movielens() -> Sample:
    """The paper's sample of MovieLens 100K: 452 users, 61,054 training ratings of 1600 movies.

    Movies without metadata are dropped; a user stays with at least 10 positives (rating >= 3) and 10
    negatives; per user, the last floor(n/5) positives and the last floor(n/5) negatives by time are the
    test split, equal timestamps ordered by item id. The files are found by `fetch_ratings`, whose
    errors come through; `Sample.source` says which source was used.
    """
    files = fetch_ratings()
    ratings = parse_ratings(files.ratings)
    films = parse_u_item(files.films) if files.film_format == "u.item" else parse_recbole_item(files.films)
    known = ratings[~ratings["item"].isin(NO_METADATA)]
    return build_sample(known, films, name=NAME, source=files.source)


def counts(sample: Sample) -> dict[str, int]:
    """Sizes of a sample: users, ratings and rated_movies (training split), positives (training ratings of
    at least `sample.positive_from`), test_pairs (every test positive with every test negative of the
    same user) and movies (in a training positive, in a test rating or, for MovieLens, in RCF's relations).
    """
    train, test = sample.train, sample.test
    liked = train["rating"] >= sample.positive_from
    held_out = (test["rating"] >= sample.positive_from).groupby(test["user"])
    pairs = held_out.sum() * (held_out.size() - held_out.sum())
    coded = set(train["item"][liked]) | set(test["item"])
    movies = {sample.item_ids[code] for code in coded} | set(RELATION_ONLY if sample.name == NAME else ())
    return {
        "users": sample.n_users,
        "ratings": len(train),
        "rated_movies": int(train["item"].nunique()),
        "positives": int(liked.sum()),
        "test_pairs": int(pairs.sum()),
        "movies": len(movies),
    }


def parse_ratings(u_data: bytes) -> pd.DataFrame:
    """The rows of `u.data` (user, item, rating and timestamp, parted by tabs, no header), checked."""
    try:
        table = pd.read_csv(io.BytesIO(u_data), sep="\t", names=COLUMNS)
    except ValueError as error:
        raise DataError(f"MovieLens' u.data cannot be read as four columns parted by tabs ({error}).") from error
    return check_ratings(table, "MovieLens' u.data")


def parse_u_item(u_item: bytes) -> pd.DataFrame:
    """Films from GroupLens' `u.item`: 24 fields parted by '|', in Latin-1; the last 19 flag the genres.

    Index: item id. Columns: title, year (Int64), genres (tuple of str).
    """
    rows = []
    for number, line in enumerate(_lines(u_item.decode("latin-1")), start=1):
        fields = line.split("|")
        if len(fields) != 5 + len(GENRES) or not fields[0].isdigit():
            raise DataError(f"Line {number} of MovieLens' u.item has {len(fields)} fields; needed are 24, an id first.")
        flagged = tuple(genre for genre, flag in zip(GENRES, fields[5:], strict=True) if flag == "1")
        rows.append((int(fields[0]), *split_title(fields[1]), flagged))
    return _film_table(rows)


def parse_recbole_item(item_file: bytes) -> pd.DataFrame:
    """Films from RecBole's `ml-100k.item`: id, title, year and genres (parted by spaces), with a header, in UTF-8.

    The result is that of `parse_u_item`: RecBole took the year out of the title and wrote the genres out,
    and changed nothing else but the name of the one nameless film and the year of film 1412.
    """
    rows = []
    for number, line in enumerate(_lines(item_file.decode("utf-8"))[1:], start=2):
        fields = line.split("\t")
        if len(fields) != 4 or not fields[0].isdigit():
            raise DataError(
                f"Line {number} of RecBole's ml-100k.item has {len(fields)} fields; needed are 4, an id first."
            )
        item, title, year, genres = fields
        # Joined as MovieLens writes it; this also mends the one film whose year was cut off as "V".
        rows.append((int(item), *split_title(f"{title} ({year})"), tuple(genres.split())))
    return _film_table(rows)


def split_title(text: str) -> tuple[str, int | None]:
    """'Godfather, The (1972)' -> ('The Godfather', 1972); the year is None where MovieLens knows none."""
    if text in ("unknown", "unkonwn (unkonwn)"):  # sic: RecBole's spelling of the one nameless film
        return "unknown", None
    found = _YEAR.search(text)
    title = text[: found.start()] if found else text
    return _INVERTED.sub(_article_first, title).strip(), int(found[1]) if found else None


def _lines(text: str) -> list[str]:
    # Not splitlines(): it also breaks at characters that Latin-1 text may hold inside a title.
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _article_first(found: re.Match[str]) -> str:
    gap = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{gap}{found['rest']}"


def _film_table(rows: list[tuple[int, str, int | None, tuple[str, ...]]]) -> pd.DataFrame:
    films = pd.DataFrame(rows, columns=["item", "title", "year", "genres"]).set_index("item")
    films["year"] = films["year"].astype("Int64")
    return films
