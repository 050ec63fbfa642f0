"""Titles, years and genres, from either of the two file layouts."""

import pandas as pd
import pytest

from accentlib.data.movielens import GENRES, parse_ratings, parse_recbole_item, parse_u_item, split_title
from accentlib.errors import DataError, InputError


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Godfather, The (1972)", "The Godfather", 1972),
        ("American in Paris, An (1951)", "An American in Paris", 1951),
        ("Enfer, L' (1994)", "L'Enfer", 1994),
        ("Boot, Das (1981)", "Das Boot", 1981),
        ("Convent, The (Convento, O) (1995)", "The Convent (O Convento)", 1995),
        (
            "Horseman on the Roof, The (Hussard sur le toit, Le) (1995)",
            "The Horseman on the Roof (Le Hussard sur le toit)",
            1995,
        ),
        ("Die xue shuang xiong (Killer, The) (1989)", "Die xue shuang xiong (The Killer)", 1989),
        ("Good, The Bad and The Ugly, The (1966)", "The Good, The Bad and The Ugly", 1966),
        ("Seven (Se7en) (1995)", "Seven (Se7en)", 1995),
        ("Paris, Texas (1984)", "Paris, Texas", 1984),
        ("Murder at 1600 (1997)", "Murder at 1600", 1997),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Great Giving (1995) (V)", "Great Giving", 1995),
        ("unknown", "unknown", None),
        ("No Year", "No Year", None),
    ],
)
def test_split_title(text, title, year):
    assert split_title(text) == (title, year)


def u_item_line(item, title, *genres):
    flags = "|".join("1" if genre in genres else "0" for genre in GENRES)
    return f"{item}|{title}|01-Jan-1995||http://example.org|{flags}\n"


def test_both_layouts_give_the_same_films():
    u_item = (
        u_item_line(1, "Toy Story (1995)", "Animation", "Children's", "Comedy")
        + u_item_line(12, "Usual Suspects, The (1995)", "Crime", "Thriller")
        + u_item_line(267, "unknown", "unknown")
        + u_item_line(543, "Misérables, Les (1995)", "Drama", "Musical")
        + u_item_line(1412, "Land Before Time III: The Time of the Great Giving (1995) (V)", "Animation", "Children's")
    ).encode("latin-1")
    recbole = (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's Comedy\n"
        "12\tUsual Suspects, The\t1995\tCrime Thriller\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        "543\tMisérables, Les\t1995\tDrama Musical\n"
        "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
    ).encode()
    films = parse_u_item(u_item)
    pd.testing.assert_frame_equal(films, parse_recbole_item(recbole))
    assert films.loc[543].tolist() == ["Les Misérables", 1995, ("Drama", "Musical")]
    assert films["year"].isna().tolist() == [False, False, True, False, False]


def test_latin_1_control_characters_do_not_break_a_line():
    assert (
        parse_u_item(u_item_line(5, "Odd\x85Title (1990)", "Drama").encode("latin-1")).loc[5, "title"] == "Odd\x85Title"
    )


def test_broken_film_files_are_refused():
    with pytest.raises(DataError, match="Line 2 of MovieLens' u.item has 2 fields"):
        parse_u_item((u_item_line(1, "A (1990)") + "2|B\n").encode())
    with pytest.raises(DataError, match="Line 2 of RecBole's ml-100k.item has 3 fields"):
        parse_recbole_item(b"header\n1\tA\t1990\n")


def test_broken_ratings_are_refused():
    with pytest.raises(InputError, match="u.data has an empty cell"):
        parse_ratings(b"1\t2\t3\n")
    with pytest.raises(InputError, match="rating 6 in data row 1"):
        parse_ratings(b"1\t2\t6\t10\n")
    with pytest.raises(DataError, match="cannot be read as four columns"):
        parse_ratings(b"1\t2\t3\t4\n1\t2\t3\t4\t5\n")


def test_the_real_films(sample):
    films = sample.films
    assert films.columns.tolist() == ["item", "title", "year", "genres"]
    assert films["item"].tolist() == sample.item_ids.tolist()
    assert str(films["year"].dtype) == "Int64" and films["year"].notna().all()
    assert films["year"].between(1920, 1999).all()
    assert not films["title"].str.contains(r"\(\d{4}\)|, (?:The|A|An|La|Le|Les|Il)$", regex=True).any()
    # Always in the order of u.item's flags, whichever file they came from.
    order = {genre: place for place, genre in enumerate(GENRES)}
    assert all(list(genres) == sorted(genres, key=order.__getitem__) and genres for genres in films["genres"])
    codes = {item: code for code, item in enumerate(sample.item_ids.tolist())}
    assert sample.film_name(codes[127]) == "The Godfather (1972)"
    assert sample.film_name(codes[1412]) == "Land Before Time III: The Time of the Great Giving (1995)"
    assert films.loc[codes[50], "genres"] == ("Action", "Adventure", "Romance", "Sci-Fi", "War")
