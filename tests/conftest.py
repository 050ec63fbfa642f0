"""What several tests share."""

import pytest

from accentlib.data import Sample, load_movielens


@pytest.fixture(scope="session")
def sample() -> Sample:
    """The paper's sample of MovieLens 100K, fetched from wherever it is to be had."""
    return load_movielens()
