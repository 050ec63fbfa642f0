"""RCF's attention to past films, against loops over entries; its scores without films, against histories without them."""

from math import exp, sqrt

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from accentlib.attention import Attention, attention, pure_attention
from accentlib.evaluate import explain_users
from accentlib.explain import ALL_REMOVED, ALL_TRIED
from accentlib.plots import TYPE_LOOKS, attention_map
from accentlib.rcf import RCFRecommender, attention_of, attention_weights, train_published
from accentlib.rcf.attention import attention_table
from accentlib.rcf.recommender import PROTOCOLS
from accentlib.rcf.scores import histories, history_strengths, strengths
from accentlib.recommender import choose_protocol
from accentlib.relations import TYPES, shared_in_words, training_triples
from tests.plain_rcf import BARE, CONFIG, LONELY, entries, score, world
from tests.small_rcf import small_rcf

KS = [3, 5]


@pytest.fixture(scope="module")
def made_up():
    sample, relations = world()
    model = small_rcf(sample, relations)
    return sample, relations, training_triples(sample, relations), model, strengths(model, relations)


def gelu(x):
    return x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def plain_weights(model, relations, user, past, film):
    """Weight of each film of `past` [4][Z] in the score of `film`, entry by entry, on plain numbers."""
    p = {name: v.detach().numpy() for name, v in model.named_parameters()}
    logits = [
        float(gelu((p["users"][user] * r) @ p["type_hidden"] + p["type_bias"]) @ p["type_output"]) for r in p["types"]
    ]
    of_types = [exp(logit) / sum(map(exp, logits)) for logit in logits]
    result = [[0.0] * len(past) for _ in TYPES]
    for t in range(len(TYPES)):
        strong = []  # (place in the past, exp(logit)) of each entry of the type
        for kind, value, j in entries(relations, past, film):
            if kind == t:
                inner = p["films"][film] @ p["attend_target"][t] + p["films"][j] @ p["attend_history"][t]
                if value is not None:
                    inner = inner + p["values"][value] @ p["attend_value"][t - 1]
                strong.append((past.index(j), exp(float(np.tanh(inner) @ p["attend_output"][t]))))
        for place, strength in strong:
            result[t][place] += of_types[t] * strength / sqrt(sum(one for _, one in strong))
    return result


def some_films(sample, past):
    """Films that the user has not liked; the bare one among them, if it is not."""
    return np.setdiff1d(np.arange(sample.n_items), past)


@pytest.mark.parametrize("user", [LONELY, 2, 7])
def test_weights_are_those_of_the_loops(made_up, user):
    sample, relations, triples, model, strong = made_up
    (past,) = histories(triples, [user])
    films = some_films(sample, past)
    found = attention_weights(model, history_strengths(strong, past, films), user)
    expected = np.array([plain_weights(model, relations, user, past.tolist(), film) for film in films])
    assert found.shape == (len(films), len(TYPES), len(past)) and np.allclose(found, expected, rtol=1e-7)
    attn = attention_of(model, strong, user, past, films)
    assert attn.weights.dtype == np.float64 and np.allclose(attn.weights, expected.sum(1), rtol=1e-7)
    assert (attn.weights > 0).all()  # every film is tied to every other, be it by nothing


def test_a_type_weighs_its_attention_times_the_root_of_its_strengths(made_up):
    sample, relations, triples, model, strong = made_up
    (past,) = histories(triples, [5])
    films = some_films(sample, past)
    between = history_strengths(strong, past, films)
    of_types = attention_weights(model, between, 5).sum(-1)
    alpha = model.type_attention(model.users[5])
    assert torch.allclose(of_types, alpha * between.sum(-1).sqrt(), rtol=1e-8)
    # A type without entries gives exact zeros, no nan; the bare film has nothing but type 0.
    empty = between.sum(-1) == 0
    assert empty.any() and not empty.all() and (of_types[empty] == 0).all() and (of_types[~empty] > 0).all()
    bare = attention_weights(model, history_strengths(strong, past, np.array([BARE])), 5)
    assert (bare[0, 1:] == 0).all() and (bare[0, 0] > 0).all()


def test_weights_differ_between_users_types_and_films(made_up):
    """Or the comparisons above would be blind to a swapped index."""
    sample, _, triples, model, strong = made_up
    (past,) = histories(triples, [5])
    between = history_strengths(strong, past, some_films(sample, past))
    one, other = attention_weights(model, between, 5), attention_weights(model, between, 6)
    assert (one - other).abs().max() > 0.05
    assert one.std(0).max() > 0.05 and one.std(1).max() > 0.05 and one.std(2).max() > 0.05


@pytest.mark.parametrize("user", [2, 5])
def test_scores_without_films_are_those_of_histories_without_them(made_up, user):
    sample, relations, triples, model, strong = made_up
    (past,) = histories(triples, [user])
    films = some_films(sample, past)
    kept = np.random.default_rng(user).random((5, len(past))) < 0.6
    kept[0], kept[1], kept[2] = True, False, np.arange(len(past)) == 1
    found = attention_of(model, strong, user, past, films).without(kept)
    p = dict(model.named_parameters())
    expected = [
        [score(p, relations, user, past[mask].tolist(), film).item() for film in films] for mask in kept
    ]
    assert isinstance(found, np.ndarray) and np.allclose(found, expected, rtol=1e-9)
    # Nothing of a film that is out may be left, also in the normaliser: some type has lost all its entries.
    left = history_strengths(strong, past[kept[2]], films).sum(-1)
    assert ((left == 0) & (history_strengths(strong, past, films).sum(-1) > 0)).any()
    assert np.abs(found[1] - found[0]).min() > 1e-6


def test_no_history_at_all(made_up):
    _, relations, _, model, strong = made_up
    films = np.array([1, BARE])
    attn = attention_of(model, strong, 4, np.array([], dtype=np.int64), films)
    assert attn.weights.shape == (2, 0)
    expected = [score(dict(model.named_parameters()), relations, 4, [], film).item() for film in films]
    assert np.allclose(attn.without(np.ones((3, 0), dtype=bool)), [expected] * 3, rtol=1e-9)


def test_attention_tracks_no_gradients(made_up):
    _, _, triples, model, strong = made_up
    model.requires_grad_(True)
    try:
        (past,) = histories(triples, [2])
        attn = attention_of(model, strong, 2, past, np.array([BARE]))
        assert not attention_weights(model, history_strengths(strong, past, np.array([BARE])), 2).requires_grad
        assert attn.without(np.ones((1, len(past)), dtype=bool)).shape == (1, 1)
    finally:
        model.requires_grad_(False)


def test_films_of_equal_weight_go_by_their_place_in_the_history(made_up):
    """Two films with the same attributes and the same embedding have one weight; the earlier goes first."""
    sample, relations, triples, _, _ = made_up
    model = small_rcf(sample, relations)
    model.films.data[:] = model.films.data[0]  # all alike
    strong = strengths(model, relations)
    user, film = 5, BARE  # nothing is shared with it, and so all entries are of type 0
    (past,) = histories(triples, [user])
    attn = attention_of(model, strong, user, past, np.array([film, int(some_films(sample, past)[0])]))
    assert (attn.weights[0] == attn.weights[0, 0]).all()

    def falling(kept):
        """Each removal takes 1 off the first score."""
        return np.stack([len(past) - 0.5 - (~kept).sum(1), np.zeros(len(kept))], axis=1)

    for search in (pure_attention, attention):
        found = search([len(past) - 0.5, 0.0], Attention(attn.weights, falling), [2])[2]
        assert found.actions == tuple(range(len(past)))


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    sample, relations = world()
    path = tmp_path_factory.mktemp("rcf") / "rcf.safetensors"
    train_published(sample, relations, CONFIG, epochs=[15], path=path)
    return RCFRecommender(sample, relations, choose_protocol(PROTOCOLS, "steady", steps=75), path)


def test_all_explainers_run_for_all_users(recommender):
    sample = recommender.sample
    explained = explain_users(recommender, range(sample.n_users), recommender.explainers, KS)
    p = {name: v for name, v in recommender.model.named_parameters()}
    found = dict.fromkeys(recommender.explainers, 0)
    for one in explained:
        assert set(one.explanations) == {(name, k) for name in recommender.explainers for k in KS}
        past = sample.train["item"].to_numpy()[one.actions].tolist()
        assert past == histories(recommender.triples, [one.user])[0].tolist()

        def gap(out, place, user=one.user, past=past, items=one.items):
            left = [j for z, j in enumerate(past) if z not in out]
            best, other = (score(p, recommender.relations, user, left, int(items[i])).item() for i in (0, place))
            return best - other

        weights = np.sum(plain_weights(recommender.model, recommender.relations, one.user, past, int(one.items[0])), axis=0)
        order = sorted(range(len(past)), key=lambda z: -weights[z])
        for (name, k), e in one.explanations.items():
            found[name] += e.found
            if e.found:
                assert e.gap == pytest.approx(gap((), e.replacement))
            if "attention" not in name:
                continue
            assert e.failure in (None, {"attention": ALL_TRIED, "pure_attention": ALL_REMOVED}[name])
            if e.found:
                # Fixed parameters, films out of the history: the plain model sees the same gap.
                assert e.estimated_gap == pytest.approx(gap(e.actions, e.replacement)) and e.estimated_gap < 0
                for place in range(1, k):
                    assert gap(e.actions, e.replacement) <= gap(e.actions, place) + 1e-9
            if e.found and name == "pure_attention":
                size = len(e.actions)
                assert e.actions == tuple(order[:size])
                assert all(gap(order[:n], place) >= 0 for n in range(size) for place in range(1, k))
    assert all(found.values())


def test_the_table_tells_every_film_of_the_history(recommender):
    sample, relations, model = recommender.sample, recommender.relations, recommender.model
    for user in range(sample.n_users):
        past = histories(recommender.triples, [user])[0].tolist()
        film = int(some_films(sample, past)[user])
        table = attention_table(recommender, user, film)
        assert list(table.columns) == ["film", *TYPES, "shared"] and len(table) == len(past)
        assert table["film"].tolist() == [sample.film_name(j) for j in past]
        assert np.allclose(table[list(TYPES)].T, plain_weights(model, relations, user, past, film), rtol=1e-7)
        for j, words in zip(past, table["shared"], strict=True):
            assert f"share {words}" == shared_in_words(relations, sample, film, j)


def made_up_table():
    """Twelve films; the fifth has the greatest weight, the next three are equal."""
    weights = np.zeros((12, len(TYPES)))
    weights[:, 1] = 0.1
    weights[4] = 0.4, 0.3, 0.2, 0.1
    weights[[2, 9, 7], 3] = 0.2
    columns = {"film": [f"Film {z}" for z in range(12)]} | dict(zip(TYPES, weights.T, strict=True))
    return pd.DataFrame(columns | {"shared": ["the genre Comedy"] * 12})


def test_the_map_draws_the_films_with_the_greatest_weight():
    matplotlib.use("Agg")
    table = made_up_table()
    figure = attention_map(table, [0.4, 0.3, 0.2, 0.1], n_films=5)
    own, of_all, films = figure.axes
    assert [bar.get_width() for bar in own.patches] == [0.4, 0.3, 0.2, 0.1]
    assert [bar.get_width() for bar in of_all.patches] == pytest.approx(table[list(TYPES)].sum().tolist())
    assert [label.get_text() for label in own.get_yticklabels()] == list(TYPES)
    names = [text.get_text() for text in films.texts if text.get_text().startswith("Film")]
    assert names == ["Film 4", "Film 2", "Film 7", "Film 9", "Film 0"]  # equal ones in the table's order
    assert [text.get_text() for text in films.texts].count("the genre Comedy") == 5
    ends = np.array([bar.get_x() + bar.get_width() for bar in films.patches]).reshape(len(TYPES), 5)
    shown = table.iloc[[4, 2, 7, 9, 0]][list(TYPES)].to_numpy()
    assert np.allclose(ends, shown.cumsum(axis=1).T)
    top, bottom = films.get_ylim()[::-1]
    assert top < 0 and bottom > 4  # the greatest is above
    plt.close(figure)


def test_the_map_is_the_same_each_time_and_cuts_what_is_too_long(tmp_path):
    matplotlib.use("Agg")
    table = made_up_table()
    table.loc[4, "film"], table.loc[4, "shared"] = "A Title That Never Ends, " * 6, "the genre Comedy, and " * 12
    for name in ("one", "other"):
        figure = attention_map(table, [0.25] * 4)
        figure.savefig(tmp_path / f"{name}.png", metadata={"Software": None})
        plt.close(figure)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    texts = [text.get_text() for text in figure.axes[2].texts]
    assert len(texts) == 20  # ten films
    assert texts[0].endswith(" ...") and len(texts[0]) <= 42
    assert texts[1].endswith(" ...") and texts[1].count("\n") == 1
    assert not any(text.get_parse_math() for text in figure.axes[2].texts)  # "$" is no formula


def test_types_have_looks_of_their_own():
    assert list(TYPE_LOOKS) == list(TYPES)
    assert len({look["facecolor"] for look in TYPE_LOOKS.values()}) == len(TYPES)
    # Without colour: grey and black are plain, the two colours are hatched, each its own way.
    assert [look["hatch"] is None for look in TYPE_LOOKS.values()] == [True, False, False, True]
    assert TYPE_LOOKS["genre"]["hatch"] != TYPE_LOOKS["director"]["hatch"]
