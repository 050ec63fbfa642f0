"""RCF's scores from strengths that are computed once, against the model told film by film."""

import numpy as np
import pytest
import torch

from accentlib.rcf.scores import all_scores, histories, history_strengths, score_films, shared_entries, strengths
from accentlib.relations import training_triples
from tests.plain_rcf import BARE, LONELY, entries, score, world
from tests.small_rcf import small_rcf


@pytest.fixture(scope="module")
def made_up():
    sample, relations = world()
    model = small_rcf(sample, relations)
    return sample, relations, training_triples(sample, relations), model, strengths(model, relations)


def plain_strengths(model, relations, i, j):
    """The four strengths of film j for target i, value by value."""
    total = np.zeros(4)
    for t, value, _ in entries(relations, [j], i):
        inner = model.films[i] @ model.attend_target[t] + model.films[j] @ model.attend_history[t]
        if value is not None:
            inner = inner + model.values[value] @ model.attend_value[t - 1]
        total[t] += np.exp((np.tanh(inner.detach().numpy()) @ model.attend_output[t].detach().numpy()))
    return total


def parameters(model):
    return dict(model.named_parameters())


def test_strengths_are_sums_over_shared_values(made_up):
    _, relations, _, model, strong = made_up
    n = relations.n_films
    expected = np.array([[plain_strengths(model, relations, i, j) for j in range(n)] for i in range(n)])
    assert np.allclose(strong.permute(1, 2, 0), expected, rtol=1e-12)
    assert (strong.diagonal(dim1=1, dim2=2) == 0).all()
    # The world has pairs of all types, pairs that share several values, and a film that shares nothing with any.
    assert all((of_type > 0).any() for of_type in expected.transpose(2, 0, 1))
    assert max(len(list(entries(relations, [j], i))) for i in range(n) for j in range(n)) >= 3
    assert (strong[1:, BARE] == 0).all() and (strong[0, BARE] > 0).sum() == n - 1


def test_blocks_of_films_and_entries_change_nothing(made_up, monkeypatch):
    from accentlib.rcf import scores

    _, relations, _, model, strong = made_up
    monkeypatch.setattr(scores, "FILMS_AT_ONCE", 5)
    monkeypatch.setattr(scores, "ENTRIES_AT_ONCE", 7)
    assert torch.allclose(strengths(model, relations), strong, rtol=1e-13)


def test_single_precision_gives_single_precision(made_up):
    sample, relations, _, _, strong = made_up
    single = strengths(small_rcf(sample, relations).float(), relations)
    assert single.dtype == torch.float32 and torch.allclose(single.double(), strong, rtol=1e-4)


def test_shared_entries_are_all_of_them(made_up):
    relations = made_up[1]
    films = range(relations.n_films)
    expected = {(i, j, v) for i in films for _, v, j in entries(relations, films, i) if v is not None}
    i, j, v = shared_entries(relations)
    assert set(zip(i.tolist(), j.tolist(), v.tolist(), strict=True)) == expected and len(i) == len(expected)
    assert (np.diff(i) >= 0).all()


def test_history_strengths_picks_pairs(made_up):
    strong = made_up[4]
    history, films = np.array([4, 0, 9]), np.array([2, 4])
    picked = history_strengths(strong, history, films)
    assert picked.shape == (2, 4, 3)
    for k, film in enumerate(films):
        for z, past in enumerate(history):
            assert torch.equal(picked[k, :, z], strong[:, film, past])


@pytest.mark.parametrize("user", [LONELY, 2, 7])
def test_scores_are_the_plain_models(made_up, user):
    sample, relations, triples, model, strong = made_up
    (past,) = histories(triples, [user])
    films = np.arange(sample.n_items)  # those of the history and the bare one among them
    expected = [score(parameters(model), relations, user, past.tolist(), film).item() for film in films]
    assert np.allclose(score_films(model, strong, user, past, films), expected, rtol=1e-9)
    # One more film of the history must matter, or the test is blind.
    shorter = [score(parameters(model), relations, user, past[1:].tolist(), film).item() for film in films]
    assert np.abs(np.subtract(shorter, expected)).max() > 1e-2


def test_kept_films_alone_are_the_history(made_up):
    _, relations, triples, model, strong = made_up
    user, films = 5, np.array([1, BARE, 20])
    (past,) = histories(triples, [user])
    kept = np.random.default_rng(0).random((4, len(past))) < 0.5
    kept[1], kept[2] = True, False
    found = score_films(model, strong, user, past, films, kept)
    assert found.shape == (4, 3)
    for row, mask in zip(found, kept, strict=True):
        expected = [score(parameters(model), relations, user, past[mask].tolist(), film).item() for film in films]
        assert np.allclose(row, expected, rtol=1e-9)
    assert torch.allclose(found[1], score_films(model, strong, user, past, films))


def test_all_scores_are_each_users_own(made_up):
    sample, relations, triples, model, strong = made_up
    users = [3, LONELY, 3]
    past = histories(triples, users)
    found = all_scores(model, strong, users, past, sample.n_items - 1)
    assert found.shape == (3, sample.n_items - 1)
    for row, user, films in zip(found, users, past, strict=True):
        assert torch.equal(row, score_films(model, strong, user, films, np.arange(sample.n_items - 1)))


def test_histories_lack_what_is_gone(made_up):
    _, _, triples, _, _ = made_up
    gone = [int(triples.offsets[4]) + 1, int(triples.offsets[6])]
    whole, left = histories(triples, [4, 6, 5]), histories(triples, [4, 6, 5], gone)
    assert left[0].tolist() == np.delete(whole[0], 1).tolist()
    assert left[1].tolist() == whole[1][1:].tolist()
    assert left[2].tolist() == whole[2].tolist() == triples.liked[triples.user == 5].tolist()
