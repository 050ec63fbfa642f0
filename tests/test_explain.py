"""The searches against brute force over all subsets and against slow literal versions.

Cases are drawn as small whole numbers, so that sums are exact and ties are frequent.
"""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accentlib.errors import InputError
from accentlib.explain import (
    ALL_REMOVED,
    ALL_TRIED,
    FAILURES,
    NO_ACTIONS,
    NO_REPLACEMENT,
    NOT_POSITIVE,
    WHOLE_HISTORY,
    Explanation,
    accent,
    closing_set,
    fia,
    lead,
    pure_fia,
)
from accentlib.explainers import EXPLAINERS, explain

KS = (2, 3, 5, 9)
BY_INFLUENCE = [name for name, explainer in EXPLAINERS.items() if explainer.needs == "influence"]


@st.composite
def cases(draw, max_actions=8, distinct=False):
    """Scores [K] in descending order and an influence matrix [K, Z], whole numbers."""
    n_candidates = draw(st.integers(2, 6))
    n_actions = draw(st.integers(0, max_actions))
    scores = sorted(draw(st.lists(st.integers(0, 12), min_size=n_candidates, max_size=n_candidates)), reverse=True)
    size = n_candidates * n_actions
    values = st.integers(-(10**6), 10**6) if distinct else st.integers(-4, 6)
    influence = draw(st.lists(values, min_size=size, max_size=size))
    return np.array(scores, float), np.array(influence, float).reshape(n_candidates, n_actions)


def subsets(n_actions):
    for size in range(n_actions + 1):
        yield from combinations(range(n_actions), size)


def gap_without(scores, influence, replacement, actions):
    """The gap between the recommendation and a replacement once `actions` are removed."""
    columns = list(actions)
    return (scores[0] - influence[0, columns].sum()) - (scores[replacement] - influence[replacement, columns].sum())


def effects_of(influence, found):
    """The influence of each action on the gap to the replacement that was found."""
    return tuple(influence[0, z] - influence[found.replacement, z] for z in found.actions)


@settings(deadline=None)
@given(cases())
def test_closing_set_is_the_smallest_of_all_subsets(case):
    scores, influence = case
    for i in range(1, len(scores)):
        closing = [s for s in subsets(influence.shape[1]) if gap_without(scores, influence, i, s) < 0]
        actions, left = closing_set(scores[0] - scores[i], influence[0] - influence[i])
        if not closing:
            assert len(actions) == 0
            continue
        size = min(map(len, closing))
        best = min(gap_without(scores, influence, i, s) for s in closing if len(s) == size)
        assert len(actions) == size
        assert left == gap_without(scores, influence, i, actions) == best < 0


@settings(deadline=None)
@given(cases())
def test_accent_is_the_smallest_over_replacements_short_of_the_whole_history(case):
    scores, influence = case
    n_actions = influence.shape[1]
    for k, found in accent(scores, influence, KS).items():
        places = range(1, min(k, len(scores)))
        closing = [(s, i) for s in subsets(n_actions) for i in places if gap_without(scores, influence, i, s) < 0]
        allowed = [(len(s), gap_without(scores, influence, i, s), i) for s, i in closing if len(s) < n_actions]
        assert found.found == bool(allowed)
        if found.found:
            key = (len(found.actions), found.estimated_gap, found.replacement)
            assert key == min(allowed)
            assert found.estimated_gap == gap_without(scores, influence, found.replacement, found.actions)
            assert found.gap == scores[0] - scores[found.replacement]
            assert len(set(found.actions)) == len(found.actions)
            assert found.effects == effects_of(influence, found)
        elif n_actions:
            assert found.failure == (WHOLE_HISTORY if closing else NOT_POSITIVE)


def slow_pure_fia(scores, influence, k):
    """Pure FIA, one action at a time: (actions, replacement, gap) or None."""
    order = sorted(range(influence.shape[1]), key=lambda z: -influence[0, z])
    removed = []
    for z in order:
        removed.append(z)
        gaps = [gap_without(scores, influence, i, removed) for i in range(1, min(k, len(scores)))]
        if min(gaps) < 0:
            return tuple(removed), 1 + gaps.index(min(gaps)), min(gaps)
    return None


def slow_fia(scores, influence, k):
    """FIA, each trial computed afresh from the set: (actions, replacement, gap) or None."""
    places = range(1, min(k, len(scores)))
    removed = []
    for z in sorted(range(influence.shape[1]), key=lambda z: -influence[0, z]):
        now = min(gap_without(scores, influence, i, removed) for i in places)
        then = [gap_without(scores, influence, i, [*removed, z]) for i in places]
        if min(then) < now:
            removed.append(z)
            if min(then) < 0:
                return tuple(removed), 1 + then.index(min(then)), min(then)
    return None


@pytest.mark.parametrize(
    ("search", "slow", "failure"), [(pure_fia, slow_pure_fia, ALL_REMOVED), (fia, slow_fia, ALL_TRIED)]
)
@settings(deadline=None)
@given(case=cases(max_actions=12))
def test_baselines_equal_their_literal_versions(search, slow, failure, case):
    scores, influence = case
    for k, found in search(scores, influence, KS).items():
        expected = slow(scores, influence, k)
        if expected is None:
            assert found.failure == (failure if influence.shape[1] else NO_ACTIONS)
        else:
            assert (found.actions, found.replacement, found.estimated_gap) == expected
            assert found.effects == effects_of(influence, found)
            assert found.gap == scores[0] - scores[found.replacement]
            assert found.failure is None


@pytest.mark.parametrize("name", BY_INFLUENCE)
@settings(deadline=None)
@given(case=cases(max_actions=12, distinct=True), random=st.randoms(use_true_random=False))
def test_the_order_of_the_columns_does_not_matter_when_influences_differ(name, case, random):
    scores, influence = case
    gaps = [influence[0], *(influence[0] - influence[1:])]
    if any(len(set(row)) < len(row) for row in gaps):
        return
    shuffled = list(range(influence.shape[1]))
    random.shuffle(shuffled)
    before = explain(name, scores, influence, KS)
    after = explain(name, scores, influence[:, shuffled], KS)
    for k in KS:
        assert [shuffled[z] for z in after[k].actions] == list(before[k].actions)
        assert after[k].replacement == before[k].replacement


@settings(deadline=None)
@given(cases())
def test_accent_never_grows_with_k_and_never_loses_what_it_found(case):
    results = list(accent(*case, KS).values())
    for small, large in zip(results, results[1:], strict=False):
        if small.found:
            assert large.found
            assert len(large.actions) <= len(small.actions)


@pytest.mark.parametrize("name", BY_INFLUENCE)
@settings(deadline=None)
@given(case=cases())
def test_several_ks_in_one_pass_equal_one_at_a_time(name, case):
    together = explain(name, *case, KS)
    for k in KS:
        assert repr(together[k]) == repr(explain(name, *case, [k])[k])
        assert together[k].found or together[k].failure in FAILURES


def test_a_case_worked_by_hand():
    scores = [40, 35, 30]
    influence = [[3, 1, 4, 0], [2, -3, 3, 3], [-9, 1, 4, 0]]
    # Pushes on the gap to place 1: 1, 4, 1, -3 against a gap of 5: actions 1, 0, 2 leave -1.
    # Pushes on the gap to place 2: 12, 0, 0, 0 against a gap of 10: action 0 alone leaves -2.
    found = accent(scores, influence, [2, 3])
    assert found[2] == Explanation("accent", 2, 0, 1, (1, 0, 2), (4.0, 1.0, 1.0), 5.0, -1.0, None)
    assert found[3] == Explanation("accent", 3, 0, 2, (0,), (12.0,), 10.0, -2.0, None)
    # Pure FIA: order 2, 0, 1, 3 by influence on the recommendation.
    assert pure_fia(scores, influence, [2])[2].actions == (2, 0, 1)
    assert pure_fia(scores, influence, [3])[3].actions == (2, 0)
    # FIA at k = 3: action 2 narrows the gap to place 1 from 5 to 4, then action 0 passes place 2.
    assert fia(scores, influence, [3])[3].actions == (2, 0)


def test_equal_influences_are_taken_in_column_order():
    scores, influence = [70.0, 0.5], [[1.0, 2.0] * 50, [0.0] * 100]  # long enough for an unstable sort to show
    for name in BY_INFLUENCE:
        assert explain(name, scores, influence, [2])[2].actions == tuple(range(1, 71, 2))


def test_equal_sizes_go_to_the_more_negative_gap_then_to_the_earlier_place():
    scores = [1.0, 0.5, 0.5, 0.5]
    influence = [[0.0] * 3, [-0.6, 0, 0], [0, -0.9, 0], [0, 0, -0.9]]
    found = accent(scores, influence, [4])[4]
    assert (found.replacement, found.actions) == (2, (1,))


@pytest.mark.parametrize("name", BY_INFLUENCE)
def test_a_zero_gap_still_needs_a_removal(name):
    found = explain(name, [1.0, 1.0], [[0.5, 0.0], [0.0, 0.0]], [2])[2]
    assert found == Explanation(name, 2, 0, 1, (0,), (0.5,), 0.0, -0.5, None)
    assert not explain(name, [1.0, 1.0], [[0.0, 0.0], [0.0, 0.0]], [2])[2].found


@pytest.mark.parametrize("name", BY_INFLUENCE)
def test_a_gap_closed_exactly_is_not_closed(name):
    assert not explain(name, [2.0, 1.0], [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], [2])[2].found


def test_the_whole_history_is_an_explanation_for_the_baselines_alone():
    scores, influence = [1.0, 0.5], [[0.3, 0.3], [0.0, 0.0]]
    assert accent(scores, influence, [2])[2].failure == WHOLE_HISTORY
    assert pure_fia(scores, influence, [2])[2].actions == fia(scores, influence, [2])[2].actions == (0, 1)
    assert accent(scores, [[0.6], [0.0]], [2])[2].failure == WHOLE_HISTORY


@pytest.mark.parametrize("name", BY_INFLUENCE)
def test_too_little_to_search_is_said(name):
    for scores, influence, failure in (
        ([1.0, 0.5], np.zeros((2, 0)), NO_ACTIONS),
        ([1.0], np.ones((1, 3)), NO_REPLACEMENT),
        ([1.0], np.ones((1, 0)), NO_REPLACEMENT),
    ):
        found = explain(name, scores, influence, [2, 5])[5]
        assert (found.failure, found.replacement, found.actions, found.found) == (failure, None, (), False)
        assert found.effects == ()
        assert math.isnan(found.gap) and math.isnan(found.estimated_gap)


@pytest.mark.parametrize("name", BY_INFLUENCE)
def test_a_k_beyond_the_candidates_means_all_of_them(name):
    scores, influence = [2.0, 1.5, 1.0], [[0.4, 0.3, 0.1], [0.3, 0.3, 0.1], [-1, 0, 0]]
    result = explain(name, scores, influence, [3, 50])
    assert result[50].found
    assert result[50].k == 50
    assert result[50].actions == result[3].actions


@pytest.mark.parametrize("name", BY_INFLUENCE)
def test_results_hold_plain_python_numbers(name):
    found = explain(name, np.array([1.0, 0.9]), np.array([[0.5, 0.0], [0.0, 0.0]]), np.array([2]))[2]
    values = (found.k, found.recommendation, found.replacement, *found.actions)
    assert {type(value) for value in values} == {int}
    assert {type(value) for value in (found.gap, found.estimated_gap, *found.effects)} == {float}


GOOD = ([2.0, 1.0], [[1.0, 0.0], [0.0, 0.0]], [2])


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0, [1.0, 2.0], "descending"),
        (0, [2.0, np.nan], "scores holds nan"),
        (0, [[2.0, 1.0]], "scores has shape (1, 2)"),
        (0, [], "scores has shape (0,)"),
        (1, [[1.0, np.inf], [0.0, 0.0]], "influence holds inf"),
        (1, [[1.0, 0.0]], "influence has shape (1, 2)"),
        (1, [1.0, 0.0], "influence has shape (2,)"),
        (2, [], "ks is empty"),
        (2, [5, 1], "ks holds 1"),
        (2, [2.5], "ks holds 2.5"),
        (2, [True], "ks holds True"),
        (2, 5, "ks is 5"),
        (2, "5", "ks is '5'"),
    ],
)
@pytest.mark.parametrize("name", BY_INFLUENCE)
def test_wrong_input_is_refused_in_one_sentence(name, at, value, words):
    arguments = list(GOOD)
    arguments[at] = value
    with pytest.raises(InputError) as error:
        explain(name, *arguments)
    assert words in str(error.value)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_an_unknown_explainer_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match="'lime' is not known; allowed are accent, fia, pure_fia, attention"):
        explain("lime", *GOOD)


def test_the_lead_is_over_the_best_of_the_others_among_the_first_k():
    scores = np.array([[5.0, 3.0, 4.0, 9.0], [1.0, 2.0, 0.0, 0.0]])
    assert lead(scores, 3).tolist() == [1.0, -1.0] and lead(scores, 2).tolist() == [2.0, -1.0]
    assert lead(scores, 50).tolist() == [-4.0, -1.0]
    assert lead(scores[0], 3) == 1.0 and lead(scores[:, :1], 3).tolist() == [np.inf, np.inf]


def test_one_versus_all_lets_the_second_change():
    """Worked by hand: action 0 is the best against item 1, and brings item 2 up; against item 2 action 2 is the best."""
    scores, influence = [1.0, 0.9, 0.7], [[0.3, 0.0, 0.3], [0.25, 0.0, 0.3], [-0.05, 0.0, 0.1]]
    influence[1][0] = 0.3 - 0.08
    found = explain("one_versus_all", scores, influence, [2, 3])
    assert found[2].failure == NOT_POSITIVE  # 0.02 of the gap are left, and no other action narrows it
    assert (found[3].actions, found[3].replacement) == ((0,), 2)
    scores[2] = 0.4
    longer = explain("one_versus_all", scores, influence, [3])[3]
    assert longer.failure == NOT_POSITIVE  # after action 0 item 1 is second still
    influence[0][1] = 0.01
    assert explain("one_versus_all", scores, influence, [3])[3].failure == NOT_POSITIVE
    influence[0][1] = 0.05
    longer = explain("one_versus_all", scores, influence, [3])[3]
    assert (longer.actions, longer.replacement) == ((0, 1), 1) and longer.effects == pytest.approx((0.08, 0.05))


@given(cases(distinct=True), st.sampled_from(KS))
def test_one_versus_all_is_accent_when_there_is_one_replacement(case, k):
    scores, influence = case[0][:2], case[1][:2]
    ours, accents = explain("one_versus_all", scores, influence, [k])[k], explain("accent", scores, influence, [k])[k]
    if accents.found:
        assert ours.actions == accents.actions
    else:
        assert not ours.found or len(ours.actions) == influence.shape[1]  # the whole history


@given(cases(), st.sampled_from(KS))
def test_one_versus_all_takes_the_best_step_each_time(case, k):
    scores, influence = case
    found = explain("one_versus_all", scores, influence, [k])[k]
    left, now = list(range(influence.shape[1])), scores
    for z in found.actions:
        assert lead(now, k) >= 0
        second = max(range(1, len(now[:k])), key=lambda i: now[i])
        assert z == max(left, key=lambda z: influence[0, z] - influence[second, z])
        assert influence[0, z] > influence[second, z]
        left.remove(z)
        now = now - influence[:, z]
    assert not found.found or lead(now, k) < 0
