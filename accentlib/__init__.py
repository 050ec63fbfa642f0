"""Counterfactual explanations for neural recommenders: the library under the ACCENT book.

One direction: data -> recommender -> influence -> search -> verification -> tables. The rooms, each
with the chapter that derives it: `data` (book/data.md), `ncf` (book/ncf.md), `influence`
(book/influence.md), `ncf.fia` (book/fia.md), `explain` (book/accent.md), `attention` (book/attention.md), `verify`
and `evaluate` (book/verification.md), and the command line, `python -m accentlib --help`.
"""

import logging

# A library stays silent unless asked; the command line shows these messages on standard error.
logging.getLogger("accentlib").addHandler(logging.NullHandler())
