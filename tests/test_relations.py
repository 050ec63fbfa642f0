"""Relations: both sources' counts, the checks of what is handed in, the sampling rule, and the words."""

import logging
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib import relations as module
from accentlib.data import FreebaseFiles, fetch_freebase, fetch_relations
from accentlib.errors import DataError, InputError
from accentlib.relations import build_relations, load_relations, shared_in_words, shared_values
from accentlib.relations.authors import authors_relations, parse_auxiliary, parse_rows
from accentlib.relations.freebase import freebase_relations, people
from accentlib.relations.names import genre_names
from accentlib.relations.newer_ids import NEWER_ID
from accentlib.relations.sampling import relation_rows
from tests.small import small_sample


@pytest.fixture(scope="session")
def files():
    """The authors' two files; where they are not to be had, the tests that need them are skipped."""
    found = fetch_relations()
    if found is None:
        pytest.skip("the RCF authors' relation files are not to be had here")
    return found


@pytest.fixture(scope="session")
def authors(sample, files):
    return authors_relations(sample, files)


@pytest.fixture(scope="session")
def freebase(sample):
    return freebase_relations(sample)


@pytest.fixture(scope="session")
def code(sample):
    """{original id: item code} of MovieLens' films."""
    return {item: place for place, item in enumerate(sample.item_ids.tolist())}


GENRES = ["Comedy", "Crime", "Drama", "War"]


def some_relations(seed=0, sample=None, **changes):
    """Relations of the small sample's films, drawn at random: genres named, directors and actors numbered."""
    rng = np.random.default_rng(seed)
    sample = sample or small_sample()
    several = [rng.choice(GENRES, size=rng.integers(0, 4)).tolist() for _ in range(sample.n_items)]
    attributes = {
        "genre": several,
        "director": rng.integers(0, 9, size=(sample.n_items, 1)).tolist(),
        "actor": rng.integers(0, 40, size=(sample.n_items, 3)).tolist(),
    }
    return build_relations(sample, attributes | changes, source="made up"), attributes


def one_sentence(caught):
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and not re.search(r"\. [A-Z]", message), message
    return message


# The authors' files


def test_counts_of_the_authors_relations(sample, authors):
    assert np.bincount(authors.value_type, minlength=4).tolist() == [0, 26, 1154, 3946]
    assert (authors.n_films, authors.n_values) == (1673, 5126)
    assert np.bincount(authors.rows[:, 1]).tolist() == [0, 48509, 17753, 30947]
    assert len(np.unique(authors.rows[:, [0, 3, 4]])) == 1638
    assert authors.item_ids[: sample.n_items].tolist() == sample.item_ids.tolist()
    assert authors.item_ids[sample.n_items :].tolist() == [1122, 1472, 1618, 1653, 1673, 1674]
    assert authors.source.startswith("the RCF authors' files (")


def test_what_a_model_is_trained_on_is_pinned(authors):
    assert authors.digest == "82cbb40e96e4399af9d000e1af1bd7fac9698462b4c21c0f81b2bdaabf861c54"


def test_the_authors_attributes_line_by_line(files, authors):
    """Against a plain reading of the file: same values, numbered genres, then directors, then actors."""
    code = {item: film for film, item in enumerate(authors.item_ids.tolist())}
    seen = 0
    for line in files.auxiliary.read_text().split():
        item, *fields = line.split("|")
        if int(item) in code:
            lists = [[int(number) for number in field.split(",")] for field in fields]
            expected = sorted({start + v for start, values in zip((0, 26, 1180), lists, strict=True) for v in values})
            assert authors.values_of(code[int(item)]).tolist() == expected
            seen += 1
    assert seen == authors.n_films


def test_the_authors_rows_one_by_one(files, authors):
    """Ids and values are translated back, and every row says the truth."""
    starts = np.array([0, 0, 26, 1180])
    back = authors.rows.copy()
    back[:, [0, 3, 4]] = authors.item_ids[back[:, [0, 3, 4]]]
    back[:, 2] -= starts[back[:, 1]]
    lines = files.relational.read_text().split()
    assert lines[0] == "head,type,value,tail_pos,tail_neg"
    assert [",".join(map(str, row)) for row in back.tolist()] == lines[1:]
    having = [set(authors.values_of(film).tolist()) for film in range(authors.n_films)]
    for head, kind, value, tail_pos, tail_neg in authors.rows.tolist():
        assert authors.value_type[value] == kind and head != tail_pos
        assert value in having[head] and value in having[tail_pos] and value not in having[tail_neg]


def test_the_authors_rows_fit_our_rule(sample, authors):
    """A row a training positive and type: their heads are our heads, but for ties in time."""
    ours = relation_rows(sample, authors.attributes, authors.value_type)
    assert np.bincount(ours[:, 1]).tolist() == [0, 48511, 17771, 30961]
    for kind in (1, 2, 3):
        mine, theirs = (Counter(rows[rows[:, 1] == kind, 0].tolist()) for rows in (ours, authors.rows))
        assert (mine - theirs).total() + (theirs - mine).total() < 0.01 * mine.total()


def test_names_of_the_authors_genres(authors):
    named = [name for name in authors.value_names[:26] if name is not None]
    assert sorted(named) == [
        "Action", "Adventure", "Animation", "Children's", "Comedy", "Documentary", "Drama", "Film-Noir", "Horror",
        "Musical", "Romance", "Sci-Fi", "Thriller", "War", "Western",
    ]  # fmt: skip
    assert not any(authors.value_names[26:])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"1|0|0", "Line 2 of RCF's auxiliary-mapping.txt is no film with three lists"),
        (b"1|0|0|a", "Line 2"),
        (b"1|0|0|-1", "Line 2"),
        (b"x|0|0|1", "Line 2"),
        (b"7|0|0|1", "Line 2 of RCF's auxiliary-mapping.txt is the second one of film 7"),
    ],
)
def test_a_broken_auxiliary_file_is_refused(line, complaint):
    assert parse_auxiliary(b"7|1,1|2|3,4\n") == {7: ([1, 1], [2], [3, 4])}
    with pytest.raises(DataError, match=complaint) as caught:
        parse_auxiliary(b"7|1|2|3,4\n" + line + b"\n")
    one_sentence(caught)


@pytest.mark.parametrize(
    "table", [b"head,type,value,tail_pos\n1,1,1,1\n", b"head,type,value,tail_pos,tail_neg\n1,4,1,1,1\n", b"a,b\n1,x\n"]
)
def test_broken_relation_rows_are_refused(table):
    with pytest.raises(DataError, match="relational_data.csv") as caught:
        parse_rows(table)
    one_sentence(caught)


# Freebase and MovieLens' genres


def test_counts_of_the_relations_from_freebase(sample, freebase):
    assert np.bincount(freebase.value_type, minlength=4).tolist() == [0, 18, 1059, 2379]
    assert freebase.item_ids.tolist() == sample.item_ids.tolist()
    assert np.bincount(freebase.rows[:, 1]).tolist() == [0, 48460, 17451, 39285]
    assert freebase.digest == "a61f1c2905d088fd760fa79dc2d03acac1bc7c06304b1c156000b8e810507742"
    assert freebase.source.startswith("Freebase (recbole") and freebase.source.endswith("MovieLens' genres")
    actors = np.diff(freebase.attributes[:, freebase.value_type == 3].tocsr().indptr)
    assert actors.max() == 4 and np.median(actors) == 4


def test_genres_from_movielens_keep_their_names(sample, freebase, code):
    for item in (1, 50, 127, 1373):
        names = [freebase.value_names[v] for v in freebase.values_of(code[item])]
        assert {name for name in names if name} == set(sample.films.at[code[item], "genres"]) - {"unknown"}


def test_leading_actors_are_those_of_most_films_then_of_the_smallest_id(sample, code, monkeypatch):
    """Of six actors of Star Wars four stay; the casts of two other films show which."""
    casts = {50: "abcdef", 172: "bcdef", 181: "ac", 1: "f", 2: "e", 3: "a"}  # films: a 3, b 2, c 3, d 2, e 3, f 3
    lines = {item: f"{NEWER_ID[item]}\tm.{item}\n" for item in casts}
    triples = "".join(f"m.{item}\tfilm.film.actor\t{actor}\n" for item, cast in casts.items() for actor in cast)
    files = FreebaseFiles(f"h\n{''.join(lines.values())}".encode(), f"h\n{triples}".encode(), "a file")
    monkeypatch.setattr("accentlib.relations.freebase.fetch_freebase", lambda: files)
    relations = freebase_relations(sample)
    actors = {item: relations.values_of(code[item]) for item in casts}
    actors = {item: set(values[relations.value_type[values] == 3].tolist()) for item, values in actors.items()}
    a, c = (actors[3], actors[181] - actors[3])
    e, f = actors[2], actors[1]
    assert actors[50] == a | c | e | f
    assert len(actors[172]) == 4 and actors[172] >= c | e | f and (relations.value_type == 3).sum() == 5


def test_newer_ids_fit_the_sequels_that_freebase_knows(sample, code):
    """The films of a Freebase sequel pair mostly share a word of their titles, but under the right ids alone."""
    files = fetch_freebase()
    film = {entity: int(item) for item, entity in (line.split("\t") for line in files.link.decode().splitlines()[1:])}
    sequels = people(files.link, files.triples, "film.film.sequel")
    pairs = [(item, film[other]) for item, others in sequels.items() for other in others if other in film]
    older = {newer: item for item, newer in NEWER_ID.items()}

    def common_words(first, second):
        titles = (sample.films.at[code[item], "title"].lower() for item in (first, second))
        first, second = (set(re.findall(r"[a-z]{4,}", title)) - {"part"} for title in titles)
        return bool(first & second)

    mapped = [(older.get(a), older.get(b)) for a, b in pairs]
    shared = [common_words(a, b) for a, b in mapped if a in code and b in code]
    assert len(shared) > 50 and np.mean(shared) > 0.6
    unmapped = [common_words(a, b) for a, b in pairs if a in code and b in code]
    assert len(unmapped) > 30 and np.mean(unmapped) < 0.05


def test_only_copies_of_one_film_have_the_same_newer_id(sample, code):
    twins = Counter(NEWER_ID.values())
    for newer in (newer for newer, times in twins.items() if times > 1):
        names = {sample.film_name(code[item]) for item, other in NEWER_ID.items() if other == newer and item in code}
        assert len(names) == 1
    assert len(NEWER_ID) == 1539 and max(NEWER_ID) <= 1682


def test_freebase_and_the_authors_agree_on_directors(sample, authors, freebase):
    """Most pairs of films that Freebase ties by a director are tied in the authors' file too."""
    n = sample.n_items
    tied = []
    for relations in (authors, freebase):
        directed = relations.attributes[:n, relations.value_type == 2]
        pairs = (directed @ directed.T).toarray() > 0
        tied.append(pairs & ~np.eye(n, dtype=bool))
    assert (tied[0] & tied[1]).sum() > 0.85 * tied[1].sum()


@pytest.mark.parametrize(
    ("link", "triples"),
    [(b"h\n1\tm.a\n2\tm.a\n", b"h\n"), (b"h\nx\tm.a\n", b"h\n"), (b"h\n1\n", b"h\n"), (b"h\n1\tm.a\n", b"h\nm.a\tr\n")],
)
def test_broken_freebase_files_are_refused(link, triples):
    with pytest.raises(DataError, match="RecBole's ml-100k") as caught:
        people(link, triples, "r")
    one_sentence(caught)


def test_people_of_freebase():
    link = b"item_id:token\tentity_id:token\n7\tm.a\n3\tm.b\n"
    triples = b"head\trelation\ttail\nm.a\tr\tm.z\nm.a\tr\tm.y\nm.a\tr\tm.z\nm.b\tother\tm.z\nm.c\tr\tm.z\n"
    assert people(link, triples, "r") == {7: ["m.y", "m.z"]}


# Which source


def test_other_samples_are_refused():
    with pytest.raises(InputError, match="known for the sample 'ml-100k' only, not for 'table'") as caught:
        load_relations(small_sample())
    one_sentence(caught)


def test_what_was_used_instead_is_said(sample, freebase, monkeypatch, caplog):
    monkeypatch.setattr(module, "fetch_relations", lambda: None)
    with caplog.at_level(logging.WARNING, "accentlib"):
        found = load_relations(sample)
    assert (found.digest, found.source) == (freebase.digest, freebase.source)
    assert caplog.messages == [f"RCF's relation files are not to be had; used instead: {freebase.source}."]


def test_the_authors_files_come_first(sample, authors):
    assert load_relations(sample).digest == authors.digest


# Relations of any sample


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_built_relations_against_plain_sets(seed):
    relations, attributes = some_relations(seed)
    n = relations.n_films
    of = [{(kind, label) for kind in attributes for label in attributes[kind][film]} for film in range(n)]
    # One label for each value code, found from the films that have it.
    labels = sorted(set().union(*of), key=lambda pair: (["genre", "director", "actor"].index(pair[0]), pair[1]))
    assert len(labels) == relations.n_values
    for film in range(n):
        assert [labels[v] for v in relations.values_of(film)] == sorted(of[film], key=labels.index)
        other = (film * 7 + seed) % n
        assert {labels[v] for v in shared_values(relations, film, other)} == of[film] & of[other]
    assert [relations.value_names[v] for v, (kind, _) in enumerate(labels) if kind == "genre"] == sorted(
        {label for kind, label in labels if kind == "genre"}
    )


def entries(relations, sample, user, film, kind):
    """All (j, value) of a training positive and a type, by the rule's words."""
    train = sample.train[(sample.train["user"] == user) & (sample.train["rating"] >= 3)]
    with_value = Counter(relations.values.tolist())
    return [
        (j, v)
        for j in train["item"].tolist()
        if j != film
        for v in shared_values(relations, film, j).tolist()
        if relations.value_type[v] == kind and with_value[v] < relations.n_films
    ]


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_drawn_rows_follow_the_rule(seed):
    sample = small_sample()
    relations, _ = some_relations(seed, sample, director=[[0]] * 30)  # a director who has made all films
    rows = iter(relations.rows.tolist())
    for action in sample.train[sample.train["rating"] >= 3].itertuples():
        for kind in (1, 2, 3):
            possible = entries(relations, sample, action.user, action.item, kind)
            if possible:
                head, row_kind, value, tail_pos, tail_neg = next(rows)
                assert (head, row_kind) == (action.item, kind) and (tail_pos, value) in possible
                assert value not in relations.values_of(tail_neg)
    assert next(rows, None) is None


def test_every_entry_and_every_lacking_film_is_equally_likely():
    sample = small_sample()
    relations, _ = some_relations(3, sample)
    arguments = sample, relations.attributes, relations.value_type
    draws = np.array([relation_rows(*arguments, seed) for seed in range(1500)])
    row = tested = 0
    for action in sample.train[sample.train["rating"] >= 3].itertuples():
        for kind in (1, 2, 3):
            possible = entries(relations, sample, action.user, action.item, kind)
            if not possible:
                continue
            if row % 40 == 0:
                drawn = Counter(map(tuple, draws[:, row][:, [3, 2]].tolist()))
                assert set(drawn) <= set(possible)
                check_even([drawn[entry] for entry in possible])
                value = int(draws[0, row, 2])
                negatives = Counter(draws[draws[:, row, 2] == value, row, 4].tolist())
                lacking = [film for film in range(relations.n_films) if value not in relations.values_of(film)]
                check_even([negatives[film] for film in lacking])
                tested += 1
            row += 1
    assert tested > 3 and row == draws.shape[1]


def check_even(counts):
    """No count is further from their mean than chance takes it (five standard deviations)."""
    mean = np.mean(counts)
    assert np.abs(np.array(counts) - mean).max() <= 5 * np.sqrt(mean), counts


def test_rows_are_drawn_with_a_fixed_seed():
    assert (some_relations()[0].rows == some_relations()[0].rows).all()
    sample, (relations, _) = small_sample(), some_relations()
    other = relation_rows(sample, relations.attributes, relations.value_type, seed=1)
    assert other.shape == relations.rows.shape and (other != relations.rows).any()


def test_films_without_attributes_give_no_rows():
    relations = build_relations(small_sample(), {}, source="nothing")
    assert relations.rows.shape == (0, 5) and relations.n_values == 0 and relations.n_films == 30
    assert shared_values(relations, 0, 1).tolist() == []


def test_the_digest_is_of_everything_but_the_words():
    sample = small_sample()
    lists = [["a"]] * 10 + [["b"]] * 20
    one = build_relations(sample, {"genre": lists}, source="here")
    renamed = build_relations(sample, {"genre": lists}, source="there", names={"genre": {"a": "x"}})
    assert renamed.digest == one.digest and renamed.value_names == ("x", None)
    others = [
        build_relations(sample, {"director": lists}, source="here"),
        build_relations(sample, {"genre": lists[::-1]}, source="here"),
        build_relations(sample, {"genre": lists}, one.rows[:-1], source="here"),
        build_relations(sample, {"genre": lists, "actor": [[]] * 29 + [[1]]}, source="here"),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 5


def test_wrong_attributes_are_refused():
    sample = small_sample()
    for attributes, complaint in (
        ({"studio": [[]] * 30}, "attribute type 'studio' is unknown; allowed are genre, director, actor"),
        ({"genre": [[]] * 29}, "'genre' has 29 lists; needed is one for each of the 30 items"),
        ({"actor": [[1, "a"]] * 30}, "'actor' cannot be put in order"),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            build_relations(sample, attributes, source="made up")
        one_sentence(caught)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([30, 1, 0, 1, 20], r"row 1 \(30, 1, 0, 1, 20\) has a head outside 0 to 29"),
        ([0, 0, 0, 1, 20], "has a type outside 1 to 3"),
        ([0, 4, 0, 1, 20], "has a type outside 1 to 3"),
        ([0, 1, 3, 1, 20], "has a value outside 0 to 2"),
        ([0, 1, 0, -1, 20], "has a tail_pos outside 0 to 29"),
        ([0, 1, 0, 1, 30], "has a tail_neg outside 0 to 29"),
        ([0, 2, 0, 1, 20], "names a type that is not its value's"),
        ([1, 1, 0, 1, 20], "has the same film as head and tail_pos"),
        ([20, 1, 0, 1, 21], "its head lacks the value"),
        ([0, 1, 0, 20, 21], "its tail_pos lacks the value"),
        ([0, 1, 0, 1, 2], "its tail_neg has the value"),
    ],
)
def test_wrong_rows_are_refused(row, complaint):
    attributes = {"genre": [["a"]] * 10 + [["b"]] * 20, "director": [[5]] * 30}
    good = [0, 1, 0, 1, 20]
    assert build_relations(small_sample(), attributes, np.array([good]), source="").rows.tolist() == [good]
    with pytest.raises(InputError, match=complaint) as caught:
        build_relations(small_sample(), attributes, np.array([good, row]), source="")
    one_sentence(caught)


@pytest.mark.parametrize("rows", [np.zeros((2, 4), dtype=int), np.zeros((2, 5)), np.zeros(5, dtype=int)])
def test_rows_of_a_wrong_shape_are_refused(rows):
    with pytest.raises(InputError, match=r"needed are whole numbers of shape \[R, 5\]") as caught:
        build_relations(small_sample(), {}, rows, source="")
    one_sentence(caught)


@pytest.mark.parametrize("film", [-1, 30])
def test_an_unknown_film_is_named(film):
    relations, _ = some_relations()
    for call in (lambda: shared_values(relations, 0, film), lambda: relations.values_of(film)):
        with pytest.raises(InputError, match=f"Film code {film} is outside 0 to 29"):
            call()


# Names and words


def test_genres_are_named_where_that_is_clear():
    named = [("Comedy",)] * 4 + [("Drama",)] * 4 + [("War", "Drama")] * 2
    assert genre_names([[1]] * 4 + [[0]] * 6, named, 2) == ["Drama", "Comedy"]
    # Number 1 fits Comedy and Drama nearly alike, Drama fits number 1 better than 0, number 2 never occurs.
    assert genre_names([[1]] * 8 + [[0]] * 2, [genres[-1:] for genres in named], 3) == [None, None, None]
    # Of two equals the first is named.
    assert genre_names([[0, 1]] * 4 + [[]] * 6, named, 2) == ["Comedy", None]
    assert genre_names([], [], 3) == [None, None, None]


def test_a_small_overlap_names_nothing():
    named = [("Comedy",)] * 8 + [("Drama",)] * 8
    assert genre_names([[0]] * 3 + [[]] * 13, named, 1) == ["Comedy"]
    assert genre_names([[0]] + [[]] * 15, named, 1) == [None]


WORDS = {
    "genre": [["Comedy", "War"], ["War", "Comedy"], ["Comedy"], [], ["Crime"], ["Crime"]],
    "director": [[1], [1], [1], [2], [2], [3]],
    "actor": [[1, 2], [2, 1], [7], [7, 8], [], [8]],
}


@pytest.mark.parametrize(
    ("i", "j", "words"),
    [
        (0, 1, "share the genres Comedy and War, and the director (also of 502), and 2 actors"),
        (0, 2, "share the genre Comedy, and the director (also of 501)"),
        (2, 3, "share an actor"),
        (3, 4, "share the director"),
        (3, 5, "share an actor"),
        (4, 5, "share the genre Crime"),
        (0, 5, "share nothing that is known"),
    ],
)
def test_shared_in_words(i, j, words):
    sample = small_sample()
    attributes = {kind: lists + [[]] * 24 for kind, lists in WORDS.items()}
    relations = build_relations(sample, attributes, source="made up")
    assert shared_in_words(relations, sample, i, j) == shared_in_words(relations, sample, j, i) == words


def test_nameless_values_and_named_people_in_words():
    sample = small_sample()
    attributes = {kind: lists + [[]] * 24 for kind, lists in WORDS.items()}
    names = {"genre": {"War": "War"}, "director": {1: "Jane Doe"}, "actor": {1: "A", 2: "B"}}
    relations = build_relations(sample, attributes, source="made up", names=names)
    words = "share the genre War and 1 more, and the director Jane Doe, and the actors A and B"
    assert shared_in_words(relations, sample, 0, 1) == words
    relations = build_relations(sample, attributes, source="made up", names={})
    assert shared_in_words(relations, sample, 0, 1) == "share 2 genres, and the director (also of 502), and 2 actors"
    assert shared_in_words(relations, sample, 0, 2) == "share a genre (also of 501), and the director (also of 501)"


def test_real_films_in_words(sample, freebase, code):
    words = shared_in_words(freebase, sample, code[127], code[187])
    assert words == (
        "share the genres Action, Crime and Drama, and the director (also of Apocalypse Now (1979)), and 2 actors"
    )
