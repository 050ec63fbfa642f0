"""Where the files come from: order, checks, cache, and one clear sentence where they are not to be had."""

import hashlib
import logging
import os
import re
import zipfile
from pathlib import Path

import pytest
import requests

from accentlib.data import fetch_freebase, fetch_relations, load_movielens, sources
from accentlib.data.files import ARCHIVE, RELATIONS, SHA256, WHEEL
from accentlib.data.movielens import GENRES, parse_ratings
from accentlib.errors import DataError

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def real():
    """The bytes of the real u.data, from whichever source there is."""
    return sources.fetch_ratings().ratings


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty cache and an empty local folder, named by the two variables; the local one not set yet."""
    cache, local = tmp_path / "cache", tmp_path / "local"
    local.mkdir()
    monkeypatch.setenv("ACCENT_CACHE", str(cache))
    monkeypatch.delenv("ACCENT_DATA", raising=False)
    sources._say_once.cache_clear()
    return cache, local


@pytest.fixture
def no_network(monkeypatch):
    """No download gets through: nobody listens at the proxy, and pip may use no index."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, NOWHERE)
        monkeypatch.setenv(name.upper(), NOWHERE)
    for name in ("no_proxy", "NO_PROXY", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def film_lines():
    flags = "|".join("1" if genre == "Drama" else "0" for genre in GENRES)
    return "".join(f"{item}|Film {item}, The (1990)|||  |{flags}\n" for item in range(1, 1683)).encode("latin-1")


def pin(monkeypatch, name, content):
    """Make `content` the known content of the file `name`."""
    monkeypatch.setitem(SHA256, name, hashlib.sha256(content).hexdigest())


def write_archive(path, u_data, u_item):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", u_data)
        archive.writestr("ml-100k/u.item", u_item)
    return path.read_bytes()


def one_sentence(caught):
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and not re.search(r"\. [A-Z]", message), message
    return message


def test_the_ratings_are_those_of_movielens(real):
    assert hashlib.sha256(real).hexdigest() == "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
    table = parse_ratings(real)
    assert (len(table), table["user"].nunique(), table["item"].nunique()) == (100_000, 943, 1682)


@pytest.mark.parametrize("place", ["ml-100k", "."])
def test_unpacked_files_give_the_same_sample(folders, monkeypatch, real, sample, place):
    (folders[1] / place).mkdir(exist_ok=True)
    (folders[1] / place / "u.data").write_bytes(real)
    (folders[1] / place / "u.item").write_bytes(film_lines())
    pin(monkeypatch, "u.item", film_lines())
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    mine = load_movielens()
    assert mine.digest == sample.digest
    assert mine.source == "ACCENT_DATA (u.data)"
    assert mine.film_name(0) == "The Film 1 (1990)"
    assert not folders[0].exists()


def test_the_archive_gives_the_same_sample(folders, monkeypatch, real, sample):
    pin(monkeypatch, ARCHIVE, write_archive(folders[1] / ARCHIVE, real, film_lines()))
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    mine = load_movielens()
    assert (mine.digest, mine.source) == (sample.digest, "ACCENT_DATA (ml-100k.zip)")


def test_the_ratings_inside_an_archive_are_checked(folders, monkeypatch, real):
    altered = real.replace(b"196\t242\t3\t", b"196\t242\t4\t", 1)
    pin(monkeypatch, ARCHIVE, write_archive(folders[1] / ARCHIVE, altered, film_lines()))
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    with pytest.raises(DataError, match="ml-100k.zip are not those of MovieLens 100K") as caught:
        load_movielens()
    one_sentence(caught)


@pytest.mark.parametrize("name", [ARCHIVE, WHEEL, "u.data"])
def test_an_altered_local_file_is_refused(folders, monkeypatch, name):
    (folders[1] / name).write_bytes(b"196\t242\t3\t881250949\n")
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    with pytest.raises(
        DataError, match=f"{name} is altered or truncated .* put the original file in its place"
    ) as caught:
        load_movielens()
    one_sentence(caught)


def test_films_missing_beside_the_ratings(folders, monkeypatch, real):
    (folders[1] / "u.data").write_bytes(real)
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    with pytest.raises(DataError, match="u.item cannot be read: No such file") as caught:
        load_movielens()
    one_sentence(caught)


def test_a_folder_that_is_none(folders, monkeypatch):
    monkeypatch.setenv("ACCENT_DATA", str(folders[1] / "absent"))
    with pytest.raises(DataError, match="ACCENT_DATA names '.*absent', which is not a folder") as caught:
        load_movielens()
    one_sentence(caught)


def test_a_folder_without_any_known_file(folders, monkeypatch):
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    with pytest.raises(DataError, match="holds none of ml-100k.zip") as caught:
        load_movielens()
    one_sentence(caught)


def test_no_network_names_every_source_and_the_way_out(folders, no_network):
    with pytest.raises(DataError) as caught:
        load_movielens()
    message = one_sentence(caught)
    assert "GroupLens: no connection" in message
    assert "PyPI: pip says 'No matching distribution found for recbole==1.2.1'" in message
    assert "ACCENT_DATA" in message
    assert list(folders[0].iterdir()) == []


def test_a_cached_file_needs_no_network(folders, no_network, monkeypatch, real, sample):
    folders[0].mkdir()
    pin(monkeypatch, ARCHIVE, write_archive(folders[0] / ARCHIVE, real, film_lines()))
    mine = load_movielens()
    assert (mine.digest, mine.source) == (sample.digest, "GroupLens (ml-100k.zip)")


@pytest.mark.parametrize("name", [ARCHIVE, WHEEL])
def test_an_altered_cached_file_is_refused_and_left(folders, name):
    folders[0].mkdir()
    (folders[0] / name).write_bytes(b"cut")
    with pytest.raises(DataError, match=f"{name} is altered or truncated .* delete it") as caught:
        load_movielens()
    one_sentence(caught)
    assert (folders[0] / name).read_bytes() == b"cut"
    assert len(list(folders[0].iterdir())) == 1


def test_relations_alone_send_the_ratings_elsewhere_and_that_is_said(folders, monkeypatch, no_network, caplog):
    (folders[1] / RELATIONS[0]).write_text("1|0|0|0\n")
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    with caplog.at_level(logging.WARNING, "accentlib"), pytest.raises(DataError, match="could not be fetched"):
        load_movielens()
    assert "holds relations but no ratings" in caplog.text


def test_pip_is_next_and_that_is_said(folders, monkeypatch, caplog):
    def wheel(url, output, manager):
        Path(output).write_bytes(b"the wheel")

    def refuse(url, output, manager):
        raise requests.ConnectTimeout("a long story")

    read = []
    monkeypatch.setattr(sources, "http", refuse)
    monkeypatch.setattr(sources, "pip_download", wheel)
    monkeypatch.setattr(sources, "_read_archive", lambda path, where: read.append((path, where)))
    pin(monkeypatch, WHEEL, b"the wheel")
    with caplog.at_level(logging.WARNING, "accentlib"):
        sources.fetch_ratings()
        sources.fetch_ratings()  # now from the cache: http is not asked again
    assert read == [(folders[0] / WHEEL, "PyPI")] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "MovieLens 100K is not to be had from GroupLens: no answer in time."
    ]


def test_relations_from_the_local_folder(folders, monkeypatch):
    for name in RELATIONS:
        (folders[1] / name).write_text(name)
        pin(monkeypatch, name, name.encode())
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    found = fetch_relations()
    assert (found.auxiliary, found.relational) == tuple(folders[1] / name for name in RELATIONS)
    (folders[1] / RELATIONS[1]).write_text("altered")
    with pytest.raises(DataError, match=f"{RELATIONS[1]} is altered or truncated"):
        fetch_relations()


def test_relations_that_are_not_to_be_had_are_none_and_that_is_said(folders, no_network, caplog):
    with caplog.at_level(logging.WARNING, "accentlib"):
        assert fetch_relations() is None
    assert "auxiliary-mapping.txt is not in ACCENT_DATA, and GitHub: no connection." in caplog.text


def write_wheel(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.link", "the links")
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.kg", "the triples")
    return path.read_bytes()


def test_freebase_from_the_local_folder_then_the_cache_then_pip(folders, monkeypatch):
    content = write_wheel(folders[1] / WHEEL)
    pin(monkeypatch, WHEEL, content)
    monkeypatch.setattr(sources, "pip_download", lambda url, output, manager: Path(output).write_bytes(content))
    fetched = fetch_freebase()
    assert (fetched.link, fetched.triples, fetched.source) == (b"the links", b"the triples", f"{WHEEL} from PyPI")
    assert [path.name for path in folders[0].iterdir()] == [WHEEL]
    monkeypatch.setattr(sources, "pip_download", None)
    assert fetch_freebase() == fetched
    monkeypatch.setenv("ACCENT_DATA", str(folders[1]))
    assert fetch_freebase().source == f"{WHEEL} from ACCENT_DATA"


def test_an_altered_wheel_gives_no_freebase(folders):
    folders[0].mkdir()
    (folders[0] / WHEEL).write_bytes(b"cut")
    with pytest.raises(DataError, match=f"{WHEEL} is altered or truncated .* delete it"):
        fetch_freebase()


def test_no_network_no_freebase_and_the_way_out_is_said(folders, no_network):
    with pytest.raises(DataError, match="Freebase's triples could not be fetched .PyPI: pip says") as caught:
        fetch_freebase()
    assert "ACCENT_DATA" in one_sentence(caught)
    assert list(folders[0].iterdir()) == []
