"""What the book's own Sphinx extension mends in the HTML of a page."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from book.tools.accessible import FAULTS, mended

FLAT = pd.DataFrame(
    {"film": ["Fargo", "M"], "score": [5.8, float("nan")], "ties": [3, 1_000]}, index=pd.Index([7, 8], name="place")
)
DEEP = pd.DataFrame(
    [[1, "45 %", -1e-9]] * 4,
    index=pd.MultiIndex.from_product([["ncf", "rcf"], [5, 10]], names=["recommender", "k"]),
    columns=pd.MultiIndex.from_tuples([("found", "a"), ("found", "b"), ("size", "a")], names=[None, "search"]),
)


def cells(frame: pd.DataFrame, select: str) -> list[str]:
    return [cell.get_text() for cell in BeautifulSoup(mended(frame.to_html()), "html.parser").select(select)]


@pytest.mark.parametrize(
    ("frame", "scope", "found"),
    [
        (FLAT, "col", ["film", "score", "ties", "place"]),
        (FLAT, "row", ["7", "8"]),
        (DEEP, "colgroup", ["found"]),
        (DEEP, "col", ["size", "a", "b", "a", "recommender", "k"]),
        (DEEP, "rowgroup", ["ncf", "rcf"]),
        (DEEP, "row", ["search", "5", "10", "5", "10"]),  # "search" names the line of headers beside it
        (pd.DataFrame({"x": [1]}), "row", ["0"]),
    ],
)
def test_each_header_says_what_it_heads(frame, scope, found):
    assert cells(frame, f"th[scope={scope}]") == found
    assert cells(frame, "th:not([scope])") == []


def test_numbers_are_marked_with_the_headers_right_above_them():
    assert cells(FLAT, "thead tr:first-child .number") == ["score", "ties"]
    assert cells(FLAT, "tbody .number") == ["5.8", "3", "NaN", "1000"]
    assert len(cells(DEEP, "tbody .number")) == 12
    assert cells(DEEP, "thead tr:first-child .number") == []
    assert cells(pd.DataFrame({"interval": ["16 to 43"], "empty": [None]}), ".number") == []


def test_long_names_of_rows_are_marked():
    assert cells(pd.DataFrame({"x": [1, 2]}, index=["all users", "all users, on two threads"]), ".long") == [
        "all users, on two threads"
    ]


def test_nothing_else_is_touched():
    page = "<p>a &lt; b</p><table class='docutils'><tr><th></th></tr></table><section id='proof'>"
    assert mended(page) == page
    assert mended("".join(FAULTS) + page) == "".join(FAULTS.values()) + page
