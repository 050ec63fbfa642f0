"""RCF behind the interface of recommenders: candidates, actions, retraining, lengths of training, other processes."""

import pickle

import numpy as np
import pytest
import torch

from accentlib.errors import InputError
from accentlib.evaluate import COLUMNS, evaluate, explain_users, summarise
from accentlib.rcf import recommender as module
from accentlib.rcf.published import initial, train_published
from accentlib.rcf.recommender import PROTOCOLS, RCFRecommender
from accentlib.rcf.scores import histories, score_films, strengths
from accentlib.rcf.training import Run, TrainingData, train
from accentlib.recommender import choose_protocol, recommendations
from accentlib.recommenders import describe
from tests.plain_rcf import CONFIG, world

EPOCHS = (4, 3)  # of five batches


@pytest.fixture(scope="module")
def made_up():
    return world()


@pytest.fixture(scope="module")
def path(made_up, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "rcf.safetensors"
    train_published(*made_up, CONFIG, EPOCHS, path=file)
    return file


@pytest.fixture
def make(made_up, path, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCENT_CACHE", str(tmp_path / "cache"))

    def made(**changes):
        return RCFRecommender(*made_up, choose_protocol(PROTOCOLS, "steady", **({"steps": 15} | changes)), path)

    return made


def test_candidates_are_all_known_films_but_the_liked_ones(make, made_up):
    sample, _ = made_up
    recommender = make()
    for user, allowed in enumerate(recommender.candidates(range(sample.n_users))):
        liked = sample.train[(sample.train["user"] == user) & (sample.train["rating"] >= sample.positive_from)]
        assert not allowed[liked["item"]].any()
        assert set(recommender.actions(user)) == set(liked.index)
        disliked = sample.train[(sample.train["user"] == user) & (sample.train["rating"] < sample.positive_from)]
        taken = np.isin(disliked["item"], recommender.triples.disliked)
        assert allowed[disliked["item"][taken]].all()  # a film that she disliked may come back


def test_a_film_that_nothing_was_learnt_of_is_no_candidate(make):
    recommender = make()
    held = {*recommender.triples.liked, *recommender.triples.disliked, *recommender.sample.test["item"]}
    held |= set(recommender.relations.rows[:, [0, 3, 4]].ravel().tolist())
    unknown = [item for item in range(recommender.sample.n_items) if item not in held]
    assert np.flatnonzero(~recommender.known).tolist() == unknown


def test_each_length_of_training_explains_the_recommender_of_that_length(make, made_up):
    sample, relations = made_up
    start, data = initial(sample, relations, CONFIG, 0), TrainingData.of(sample, relations)
    for steps in (20, 15, 7):  # two that are stored, one that is not
        recommender = make(steps=steps)
        (member,) = train([start], data, Run(steps, 2021), CONFIG)
        assert all(torch.equal(v, member.parameters[n].double()) for n, v in recommender.model.state_dict().items())
    assert len({make(steps=steps).key for steps in (20, 15, 7)}) == 3


def test_a_length_that_is_not_stored_is_trained_once(make, monkeypatch):
    first = make(steps=7)
    monkeypatch.setattr(module, "train_one", None)
    assert torch.equal(make(steps=7).model.users, first.model.users)


def test_retrained_scores_are_those_without_the_sets(make, made_up, tmp_path):
    sample, relations = made_up
    recommender = make()
    gone = [recommender.actions(2)[:2], np.concatenate([recommender.actions(0)[1:3], recommender.actions(4)[:1]]), []]
    gone = [np.asarray(rows, dtype=np.int64) for rows in gone]
    users = [np.array([2]), np.array([0, 4]), np.arange(sample.n_users)]
    found = recommender.retrain(gone, users, 5, tmp_path / "state")
    assert [scores.shape for scores in found] == [(len(u), sample.n_items) for u in users]
    start, data = initial(sample, relations, CONFIG, 0), TrainingData.of(sample, relations)
    films = np.arange(sample.n_items)
    for rows, of, scores in zip(gone, users, found, strict=True):
        numbers = np.flatnonzero(np.isin(recommender.triples.row, rows))
        (member,) = train([start], data, Run(15, 5), CONFIG, [numbers])
        model = type(recommender.model)(sample.n_users, relations.n_films, relations.n_values, CONFIG.dim, CONFIG.attention)
        model.load_state_dict(member.parameters)
        strong = strengths(model.double(), relations)
        for user, row in zip(of, scores, strict=True):
            (past,) = histories(recommender.triples, [user], numbers)
            assert len(past) == len(recommender.actions(user)) - np.isin(recommender.actions(user), rows).sum()
            np.testing.assert_allclose(row, score_films(model, strong, user, past, films).numpy(), atol=1e-12)


def test_another_process_gets_the_same_recommender(make):
    recommender = make()
    users = range(3)
    expected = recommender.scores(users)
    sent = pickle.dumps(recommender)
    assert len(sent) < len(pickle.dumps(recommender.strong)) + 10**6
    np.testing.assert_array_equal(pickle.loads(sent).scores(users), expected)


@pytest.mark.parametrize("field", ["warm", "averaged"])
def test_what_rcf_does_not_do_is_refused(make, field):
    with pytest.raises(InputError, match=f"{field} is True, but must be False for RCF"):
        make(**{field: True})


def test_all_five_explainers_are_verified_and_tabled(make, tmp_path):
    recommender = make()
    explained = explain_users(recommender, range(recommender.sample.n_users), recommender.explainers, [3, 5])
    table = evaluate(recommender, explained, [0], 1, workers=1, engine="sequential", folder=tmp_path)
    assert list(table.columns) == COLUMNS and set(table["explainer"]) == set(recommender.explainers)
    summary = summarise(table, "effect")
    assert len(summary) == 10 and (summary["n_users"] == recommender.sample.n_users).all()
    assert table.loc[table["control"] == "placebo", "verified_gap"].notna().all()
    facts = describe(recommender)
    assert facts["facts"] == {"relations": "made up"} and facts["config"]["dim"] == CONFIG.dim


def test_full_histories_give_the_attention_searches_the_same_scores(make):
    recommender = make()
    users = range(recommender.sample.n_users)
    items, scores = recommendations(recommender, users, 5)
    for attn, row, user in zip(recommender.attention(users, items), scores, users, strict=True):
        everything = np.ones((1, len(recommender.actions(user))), dtype=bool)
        np.testing.assert_allclose(attn.without(everything)[0], row, rtol=1e-13)
