"""The attention searches against slow literal versions, and against the searches that they mirror.

Cases are drawn as small whole numbers, so that sums are exact and ties are frequent.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib.attention import PREFIXES_AT_ONCE, Attention, attention, pure_attention
from accentlib.errors import InputError
from accentlib.explain import ALL_REMOVED, ALL_TRIED, NO_ACTIONS, NO_REPLACEMENT, Explanation, fia, pure_fia

KS = (2, 3, 5, 9)
SEARCHES = {"pure_attention": pure_attention, "attention": attention}


@st.composite
def cases(draw, max_actions=8, least=2):
    """Scores [K] in descending order, weights [K, Z], and effects [K, Z] of the actions with their pairs [K, Z, Z]."""
    n_candidates, n_actions = draw(st.integers(least, 6)), draw(st.integers(0, max_actions))
    values = st.integers(0, 12)
    scores = sorted(draw(st.lists(values, min_size=n_candidates, max_size=n_candidates)), reverse=True)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = rng.integers(0, 4, (n_candidates, n_actions))
    effects = rng.integers(-4, 7, (n_candidates, n_actions))
    pairs = rng.integers(-1, 2, (n_candidates, n_actions, n_actions))
    return np.array(scores, float), weights.astype(float), effects, pairs


def with_pairs(scores, effects, pairs):
    """Scores that fall by the effect of each removed action, and of each pair of them: nothing adds up."""

    def without(kept):
        out = (~kept).astype(int)
        return scores - out @ effects.T - np.einsum("nz,ny,kzy->nk", out, out, pairs)

    return without


def literally(without, weights, k):
    """Place by place: the order of the actions, and a function of a set that gives its gaps to the others."""

    def gaps(removed):
        kept = np.ones((1, weights.shape[1]), dtype=bool)
        kept[0, list(removed)] = False
        now = without(kept)[0]
        return [now[0] - now[i] for i in range(1, min(k, len(weights)))]

    return sorted(range(weights.shape[1]), key=lambda z: -weights[0, z]), gaps


def slow_pure(without, weights, k):
    order, gaps = literally(without, weights, k)
    for size in range(1, len(order) + 1):
        if min(gaps(order[:size])) < 0:
            return order[:size]
    return None


def slow_greedy(without, weights, k):
    order, gaps = literally(without, weights, k)
    removed = []
    for z in order:
        if min(gaps([*removed, z])) < min(gaps(removed)):
            removed.append(z)
            if min(gaps(removed)) < 0:
                return removed
    return None


@pytest.mark.parametrize(
    ("name", "slow", "failure"), [("pure_attention", slow_pure, ALL_REMOVED), ("attention", slow_greedy, ALL_TRIED)]
)
@settings(deadline=None, max_examples=200)
@given(case=cases(max_actions=PREFIXES_AT_ONCE + 4))
def test_searches_equal_their_literal_versions(name, slow, failure, case):
    scores, weights, effects, pairs = case
    without = with_pairs(scores, effects, pairs)
    for k, found in SEARCHES[name](scores, Attention(weights, without), KS).items():
        expected = slow(without, weights, k)
        assert (found.explainer, found.k) == (name, k)
        if expected is None:
            assert found.failure == (failure if weights.shape[1] else NO_ACTIONS)
            assert (found.actions, found.effects, found.replacement) == ((), (), None)
            continue
        assert list(found.actions) == expected
        _, gaps = literally(without, weights, k)
        last = gaps(expected)
        assert found.replacement == 1 + last.index(min(last))
        steps = [gaps(expected[:n])[found.replacement - 1] for n in range(len(expected) + 1)]
        assert (found.gap, found.estimated_gap) == (steps[0], steps[-1]) and steps[-1] < 0
        assert list(found.effects) == [a - b for a, b in zip(steps, steps[1:], strict=False)]


@pytest.mark.parametrize(("name", "twin"), [("pure_attention", pure_fia), ("attention", fia)])
@settings(deadline=None)
@given(case=cases(max_actions=PREFIXES_AT_ONCE + 4, least=1))
def test_where_influences_add_up_and_order_alike_they_are_the_fia_searches(name, twin, case):
    scores, _, effects, _ = case
    weights = (effects - effects.min(initial=0)).astype(float)
    attn = Attention(weights, lambda kept: scores - ~kept @ effects.T)
    for k, expected in twin(scores, effects, KS).items():
        found = SEARCHES[name](scores, attn, KS)[k]
        assert repr(found) == repr(expected).replace(twin.__name__, name, 1)


@pytest.mark.parametrize("search", SEARCHES.values())
@settings(deadline=None)
@given(case=cases())
def test_several_ks_in_one_pass_equal_one_at_a_time(search, case):
    scores, weights, effects, pairs = case
    attn = Attention(weights, with_pairs(scores, effects, pairs))
    together = search(scores, attn, [9, 2, 5, 3, 5])
    for k in KS:
        assert repr(together[k]) == repr(search(scores, attn, [k])[k])


class Counting:
    """An additive `without` that notes how many histories it was asked for, and which, each time."""

    def __init__(self, scores, effects):
        self.scores, self.effects, self.asked = np.array(scores), np.array(effects), []

    def __call__(self, kept):
        assert kept.dtype == bool
        self.asked.append(kept)
        return self.scores - ~kept @ self.effects.T


def test_the_model_is_asked_for_many_histories_at_once():
    n = 3 * PREFIXES_AT_ONCE
    weights = np.zeros((2, n))
    for first_passing, questions in ((1, 1), (PREFIXES_AT_ONCE, 1), (PREFIXES_AT_ONCE + 1, 2), (n, 3)):
        counting = Counting([first_passing - 0.5, 0.0], [[1.0] * n, [0.0] * n])
        assert len(pure_attention([first_passing - 0.5, 0.0], Attention(weights, counting), [2, 5])[2].actions) == first_passing
        assert len(counting.asked) == questions
    # The third candidate passes at once, the second only after all actions: both are found.
    counting = Counting([n - 0.5, 0.0, -1.0], [[1.0] * n, [0.0] * n, [-2.0 * n] * n])
    found = pure_attention([n - 0.5, 0.0, -1.0], Attention(np.zeros((3, n)), counting), [3, 2])
    assert (len(found[3].actions), len(found[2].actions), len(counting.asked)) == (1, n, 3)
    counting = Counting([9.0, 8.0, 0.0], [[1.0, 1.0, 1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = attention([9.0, 8.0, 0.0], Attention(np.ones((3, 3)), counting), [2, 3])
    assert found[2].actions == found[3].actions == (1, 2)
    # One question a trial, for both k; the action that was not kept is back in the history.
    assert [len(kept) for kept in counting.asked] == [2, 2, 2]
    assert counting.asked[2][0].tolist() == [True, False, False]


def test_only_the_searches_that_go_on_are_asked_for():
    scores, effects = [9.0, 8.5, 7.0], [[1.0, 0.5], [1.0, 0.2], [-2.0, 0.0]]
    counting = Counting(scores, effects)
    found = attention(scores, Attention(np.array([[2.0, 1.0]] * 3), counting), [3, 2])
    assert found[3].actions == (0,) and found[3].replacement == 2 and not found[2].found
    assert [len(kept) for kept in counting.asked] == [2, 1]


def test_a_case_worked_by_hand():
    scores, weights = [10.0, 9.0, 8.0], np.array([[0.1, 0.6, 0.3], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]])
    # The order is 1, 2, 0. Without 1 all scores fall alike; without 2 the third rises; without 0 the first falls.
    effects = [[1.5, 2.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, -1.0]]
    attn = Attention(weights, Counting(scores, effects))
    pure = pure_attention(scores, attn, [2, 3])
    assert pure[2] == Explanation("pure_attention", 2, 0, 1, (1, 2, 0), (0.0, 0.0, 1.5), 1.0, -0.5, None)
    assert pure[3] == Explanation("pure_attention", 3, 0, 1, (1, 2, 0), (0.0, 0.0, 1.5), 1.0, -0.5, None)
    greedy = attention(scores, attn, [2, 3])
    assert greedy[2] == Explanation("attention", 2, 0, 1, (0,), (1.5,), 1.0, -0.5, None)
    assert greedy[3] == Explanation("attention", 3, 0, 1, (0,), (1.5,), 1.0, -0.5, None)


@pytest.mark.parametrize("search", SEARCHES.values())
def test_equal_weights_are_taken_in_column_order(search):
    n = 100  # long enough for an unstable sort to show
    scores, weights = [70.0, 0.5], np.array([[1.0, 2.0] * (n // 2)] * 2)
    attn = Attention(weights, Counting(scores, [[1.0, 2.0] * (n // 2), [0.0] * n]))
    assert search(scores, attn, [2])[2].actions == tuple(range(1, 71, 2))


@pytest.mark.parametrize("search", SEARCHES.values())
def test_a_gap_closed_exactly_is_not_closed_and_a_zero_gap_needs_a_removal(search):
    attn = Attention(np.ones((2, 2)), Counting([2.0, 1.0], [[0.5, 0.5], [0.0, 0.0]]))
    assert not search([2.0, 1.0], attn, [2])[2].found
    attn = Attention(np.ones((2, 2)), Counting([1.0, 1.0], [[0.5, 0.5], [0.0, 0.0]]))
    assert search([1.0, 1.0], attn, [2])[2].actions == (0,)
    attn = Attention(np.ones((2, 2)), Counting([2.0, 1.0], [[0.5, 0.6], [0.0, 0.0]]))
    assert search([2.0, 1.0], attn, [2])[2].actions == (0, 1)  # the whole history is allowed


@pytest.mark.parametrize("search", SEARCHES.values())
def test_too_little_to_search_is_said(search):
    for scores, shape, failure in (
        ([1.0, 0.5], (2, 0), NO_ACTIONS), ([1.0], (1, 3), NO_REPLACEMENT), ([1.0], (1, 0), NO_REPLACEMENT),
    ):  # fmt: skip
        found = search(scores, Attention(np.ones(shape), Counting(scores, np.ones(shape))), [2, 5])[5]
        assert (found.failure, found.replacement, found.actions, found.effects) == (failure, None, (), ())
        assert math.isnan(found.gap) and math.isnan(found.estimated_gap)


@pytest.mark.parametrize("search", SEARCHES.values())
def test_results_hold_plain_python_numbers(search):
    attn = Attention(np.ones((2, 2), np.float32), Counting([1.0, 0.9], [[0.5, 0.0], [0.0, 0.0]]))
    found = search(np.array([1.0, 0.9], np.float32), attn, np.array([2]))[2]
    assert {type(value) for value in (found.k, found.replacement, *found.actions)} == {int}
    assert {type(value) for value in (found.gap, found.estimated_gap, *found.effects)} == {float}


def answering(answer):
    return Attention(np.ones((2, 2)), lambda kept: answer(len(kept)))


GOOD = ([2.0, 1.0], Attention(np.ones((2, 2)), Counting([2.0, 1.0], np.ones((2, 2)))), [2])


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0, [1.0, 2.0], "descending"),
        (0, [2.0, np.nan], "scores holds nan"),
        (1, Attention(np.ones((3, 2)), None), "attention weights has shape (3, 2)"),
        (1, Attention(np.ones(2), None), "attention weights has shape (2,)"),
        (1, Attention([[np.inf, 1.0]] * 2, None), "attention weights holds inf"),
        (1, Attention([[-0.5, 1.0]] * 2, None), "attention weights holds -0.5, but no weight may be below 0"),
        (1, answering(lambda n: np.ones((n, 3))), "without gave scores of shape"),
        (1, answering(lambda n: np.ones((n + 1, 2))), "without gave scores of shape"),
        (1, answering(lambda n: np.ones(2)), "without gave scores of shape (2,)"),
        (1, answering(lambda n: np.full((n, 2), np.nan)), "but must give finite ones"),
        (2, [], "ks is empty"),
        (2, [5, 1], "ks holds 1"),
    ],
)
@pytest.mark.parametrize("search", SEARCHES.values())
def test_wrong_input_is_refused_in_one_sentence(search, at, value, words):
    arguments = list(GOOD)
    arguments[at] = value
    with pytest.raises(InputError) as error:
        search(*arguments)
    assert words in str(error.value)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)
