"""A Sphinx extension: mends, in each page's HTML, what a screen reader stumbles over and no setting changes.

In passing it gives the cells of a pandas table classes to be styled by, of which pandas has none: `number` in a column of
numbers, and `long` for the name of a row that may take several lines on a phone.
"""

import re

from bs4 import BeautifulSoup, Tag

PANDAS_TABLE = re.compile(r'<table border="1" class="dataframe">.*?</table>', re.DOTALL)
NUMBER = re.compile(r"[-+−]?[\d,]*\.?\d+(e[-+]?\d+)?\s?%?", re.IGNORECASE)
LONG = 16  # letters
NO_VALUE = {"", "NaN", "None", "NaT", "<NA>", "..."}

# What Sphinx and its extensions write, and what is written instead. A list of citations holds no list items, the role
# of an entry is deprecated, and the contents of all proofs and exercises of a page have one id.
FAULTS = {
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    ' role="doc-biblioentry"': "",
    ' id="proof-content"': "",
    ' id="exercise-content"': "",
    ' id="solution-content"': "",
}


def mended(html: str) -> str:
    """The body of a page without these faults."""
    for fault, instead in FAULTS.items():
        html = html.replace(fault, instead)
    return PANDAS_TABLE.sub(lambda table: mended_table(table.group()), html)


def mended_table(html: str) -> str:
    """A table of pandas whose header cells say what they head."""
    table = BeautifulSoup(html, "html.parser")
    head, body = table.thead.find_all("tr"), table.tbody.find_all("tr")
    mark_numbers(head, body)
    n_labels = max((len(row.find_all("th")) for row in body), default=0)
    for row in head:
        cells = row.find_all("th")
        names_labels = not any(text(cell) for cell in cells[n_labels:])
        for place, cell in enumerate(cells):
            names_row = place < n_labels and not names_labels
            set_scope(cell, "row" if names_row else "colgroup" if cell.has_attr("colspan") else "col")
    for row in body:
        for cell in row.find_all("th"):
            set_scope(cell, "rowgroup" if cell.has_attr("rowspan") else "row")
            if len(text(cell)) > LONG:
                cell["class"] = "long"
    return str(table)


def set_scope(cell: Tag, scope: str) -> None:
    """An empty cell heads nothing and becomes a plain one."""
    if text(cell):
        cell["scope"] = scope
    else:
        cell.name = "td"


def mark_numbers(head: list[Tag], body: list[Tag]) -> None:
    """Give the cells of each column of numbers, and the headers right above them, the class `number`."""
    columns = list(zip(*(row.find_all("td") for row in body)))
    headers = [row.find_all("th")[-len(columns) :] for row in head if columns and not row.find(colspan=True)]
    for place, column in enumerate(columns):
        values = {text(cell) for cell in column} - NO_VALUE
        if values and all(map(NUMBER.fullmatch, values)):
            for cell in (*column, *(row[place] for row in headers)):
                cell["class"] = "number"


def text(cell: Tag) -> str:
    return cell.get_text(strip=True)


def mend(app, page: str, template: str, context: dict, doctree) -> None:  # what Sphinx calls
    if "body" in context:
        context["body"] = mended(context["body"])


def setup(app) -> dict[str, bool]:
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
