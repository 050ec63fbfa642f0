"""A table of one's own: what is read, and one clear sentence for what is refused."""

import re

import numpy as np
import pandas as pd
import pytest

from accentlib.data import load_table
from accentlib.errors import InputError


@pytest.fixture
def table():
    """Two users with 12 positives and 11 negatives each, one with too few; rows in no order."""
    rows = []
    for user, n_low in ((30, 11), (7, 11), (9, 3)):
        rows += [(user, 100 + item, 5 if item % 2 else 3, 50 - item) for item in range(12)]
        rows += [(user, 200 + item, 1, 80 - item) for item in range(n_low)]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def refused(table, pattern, **options):
    """The table is refused with one sentence."""
    with pytest.raises(InputError) as caught:
        load_table(table, **options)
    message = str(caught.value)
    assert re.search(pattern, message), message
    assert message.endswith(".") and ". " not in message and "\n" not in message


def test_whole_numbers_as_ids(table):
    sample = load_table(table)
    assert sample.user_ids.tolist() == [7, 30] and sample.n_items == 23
    assert len(sample.train) == 2 * (10 + 9) and len(sample.test) == 2 * (2 + 2)
    # The latest are the lowest item numbers.
    assert sorted(set(sample.item_ids[sample.test["item"]])) == [100, 101, 200, 201]
    assert sample.film_name(0) == "100"


def test_the_order_of_rows_and_further_columns_make_no_difference(table):
    other = table.sort_values(["item", "user"]).assign(mood="good")[["mood", "timestamp", "rating", "item", "user"]]
    assert load_table(other).digest == load_table(table).digest


def test_the_given_frame_is_left_as_it_was(table):
    before = table.copy()
    load_table(table)
    pd.testing.assert_frame_equal(table, before)


def test_text_as_ids_and_names(table):
    table["user"] = "u" + table["user"].astype(str)
    table["item"] = "i" + table["item"].astype(str)
    sample = load_table(table, names={"i100": "The First"})
    assert sample.user_ids.tolist() == ["u30", "u7"]
    assert sample.user_code("u7") == 1
    assert [sample.film_name(item) for item in (0, 1)] == ["The First", "i101"]


def test_thresholds(table):
    sample = load_table(table, min_per_class=3, positive_from=5.0)
    assert sample.user_ids.tolist() == [7, 9, 30]
    assert sample.positive_from == 5.0
    assert (sample.test["rating"] >= 5).sum() == 3  # floor(6 / 5) for each user


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_text_files(table, tmp_path, suffix, separator):
    path = tmp_path / f"mine{suffix}"
    table.to_csv(path, sep=separator, index=False)
    sample = load_table(path)
    assert sample.digest == load_table(table).digest
    assert (sample.name, sample.source) == ("mine", str(path))


def test_na_may_be_an_id(table, tmp_path):
    table["item"] = table["item"].astype(str).replace("100", "NA")
    table.to_csv(tmp_path / "mine.csv", index=False)
    assert "NA" in load_table(tmp_path / "mine.csv").item_ids


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    def no_engine(path):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", no_engine)
    refused(tmp_path / "mine.parquet", "needs pyarrow")


@pytest.mark.parametrize("column", ["user", "item"])
def test_missing_column(table, column):
    refused(table.rename(columns={column: "other"}), f"no column '{column}'.*found: .*other")


@pytest.mark.parametrize("value", [0, 0.5, 5.5, -1, np.inf, "four", "NaN"])
def test_rating_outside_one_to_five(table, value):
    table["rating"] = table["rating"].astype(object)
    table.loc[5, "rating"] = value
    refused(table, rf"rating {value} in data row 6; allowed is a number from 1 to 5")


@pytest.mark.parametrize("column", ["user", "item", "rating", "timestamp"])
def test_empty_cell(table, column):
    table[column] = table[column].astype(float)
    table.loc[2, column] = np.nan
    refused(table, f"empty cell or NaN in column '{column}', data row 3")


@pytest.mark.parametrize("value", [0.5, "yesterday", 1e300])
def test_timestamp_that_is_no_whole_number(table, value):
    table["timestamp"] = table["timestamp"].astype(object)
    table.loc[0, "timestamp"] = value
    refused(table, "timestamp .* in data row 1; allowed is a whole number of seconds")


def test_duplicate(table):
    again = table.iloc[[3]].assign(rating=2)
    user, item = table.loc[3, ["user", "item"]]
    refused(pd.concat([table, again]), f"two rows of item {item} by user {user}; allowed is one")


def test_ids_of_two_kinds(table):
    table["item"] = table["item"].astype(object)
    table.loc[0, "item"] = "one"
    refused(table, "item id .*allowed are whole numbers, or text throughout")


def test_fractional_id(table):
    table["user"] = table["user"] + 0.5
    refused(table, "user id .*allowed are whole numbers, or text throughout")


def test_empty_table(table, tmp_path):
    refused(table.iloc[:0], "holds no rating")
    table.iloc[:0].to_csv(tmp_path / "empty.csv", index=False)
    refused(tmp_path / "empty.csv", "empty.csv holds no rating")
    (tmp_path / "nothing.csv").write_text("")
    refused(tmp_path / "nothing.csv", "nothing.csv is not a readable .csv file")


def test_nobody_left(table):
    refused(table, "None of the 3 users of the given DataFrame has at least 13 ratings of 3 or more", min_per_class=13)


def test_file_that_cannot_be_read(tmp_path):
    refused(tmp_path / "absent.csv", "absent.csv cannot be read: No such file")
    refused(tmp_path / "mine.xlsx", r"ends in '\.xlsx'; allowed are \.csv, \.tsv, \.parquet")
    (tmp_path / "ragged.csv").write_text("user,item,rating,timestamp\n1,2,3,4\n1,2,3,4,5,6\n")
    refused(tmp_path / "ragged.csv", "ragged.csv is not a readable .csv file")


def test_without_ratings_every_row_is_a_positive(table):
    sample = load_table(table.drop(columns="rating"), min_per_class=16)
    assert sample.user_ids.tolist() == [7, 30]  # of 23 rows each; the third has 15
    everything = pd.concat([sample.train, sample.test])
    assert (everything["rating"] == 5).all() and len(everything) == 46
    assert len(sample.test) == 2 * (23 // 5)
    refused(table.drop(columns="rating"), "None of the 3 users of the given DataFrame has at least 24 rows", min_per_class=24)


def test_without_times_the_split_is_drawn_whatever_the_order_of_the_rows(table):
    bare = table.drop(columns="timestamp")
    sample = load_table(bare)
    assert load_table(bare.iloc[::-1]).digest == sample.digest
    held = sample.item_ids[sample.test.loc[sample.test["user"] == 0, "item"]]
    assert len(held) == 4 and set(held) != {100, 101, 200, 201} and set(held) != {110, 111, 209, 210}


def test_another_scale(table):
    half = table.assign(rating=table["rating"] / 10)
    sample = load_table(half, scale=(0.1, 0.5), positive_from=0.3)
    assert sample.positive_from == 0.3 and sample.train["rating"].max() == 0.5
    refused(half, "rating 0.* in data row .*; allowed is a number from 1 to 5")


def test_a_folder_of_movielens_1m(table, tmp_path):
    lines = ["::".join(map(str, row)) for row in table.itertuples(index=False)]
    (tmp_path / "ratings.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    assert load_table(tmp_path).digest == load_table(table).digest
    (tmp_path / "movies.dat").write_text("100::L\xe9on (1994)::Crime|Drama\n", encoding="latin-1")
    sample = load_table(tmp_path)
    assert sample.film_name(0) == "L\xe9on (1994)" and sample.name == tmp_path.name
    (tmp_path / "ratings.dat").write_text("1::2::5\n")
    refused(tmp_path, "must have four fields")
    (tmp_path / "ratings.dat").write_text("1::two::5::7\n")
    refused(tmp_path, "holds a field that is no number")
    (tmp_path / "ratings.dat").unlink()
    refused(tmp_path, "is a folder without ratings.dat")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"min_per_class": -1}, "min_per_class is -1, but must be a whole number of at least 0"),
        ({"min_per_class": 2.5}, "min_per_class is 2.5"),
        ({"scale": 5}, "scale is 5, but must be two numbers"),
        ({"scale": ("low", "high")}, "scale is .*, but must be two numbers"),
        ({"scale": (5, 1)}, "scale is \\(5, 1\\), but must be the lowest and then the highest"),
        ({"positive_from": 7}, "positive_from is 7, but must be a number on the scale, 1 to 5"),
        ({"positive_from": "3"}, "positive_from is '3'"),
    ],
)
def test_wrong_parameters(table, options, pattern):
    refused(table, pattern, **options)


def test_what_is_no_table():
    refused([1, 2], "table is a list, but must be a DataFrame or the path of a file or folder")


def test_dates_count_as_seconds(table):
    dates = pd.to_datetime(table["timestamp"], unit="s")
    for column in (dates, dates.dt.tz_localize("UTC"), dates.astype("datetime64[ms]")):
        assert load_table(table.assign(timestamp=column), min_per_class=1).digest == load_table(table, min_per_class=1).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"user": "customer"}), "no column 'user'; needed are user and item, possible rating and timestamp, found: customer"),
        (lambda t: t.assign(user=t["user"].astype("uint64") + 2**63), "user id 9223372036854775815; allowed are whole numbers"),
    ],
)
def test_more_tables_that_are_refused(table, change, message):
    with pytest.raises(InputError, match=message):
        load_table(change(table), min_per_class=1)


def test_titles_must_be_a_mapping(table):
    with pytest.raises(InputError, match="names is a list, but must map item ids to titles"):
        load_table(table, min_per_class=1, names=["a"])
