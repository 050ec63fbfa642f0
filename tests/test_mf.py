"""Matrix factorisation: the ground truth itself, and influence against its real leave-one-out."""

import numpy as np
import pytest
import torch
from torch.func import hessian, jacrev

from accentlib import mf
from accentlib.data import Sample
from accentlib.errors import InputError
from accentlib.influence import influence_matrix


def synthetic(n_users=12, n_items=30, per_user=25, dim=3, noise=0.4, seed=0):
    """Ratings out of true factors plus noise: users, items, ratings [N], grouped by user."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n_users, dim)), rng.normal(size=(n_items, dim))
    users = np.repeat(np.arange(n_users), per_user)
    items = np.concatenate([rng.choice(n_items, per_user, replace=False) for _ in range(n_users)])
    ratings = 3.5 + (p[users] * q[items]).sum(1) + noise * rng.normal(size=len(users))
    return users, items, ratings


@pytest.fixture(scope="module")
def small():
    """A fitted synthetic model and its training data."""
    users, items, ratings = synthetic()
    return mf.fit(users, items, ratings, 12, 30, dim=3, l2=2e-3, sweeps=200, seed=0), users, items, ratings


def own(small, user):
    """One user's items and ratings, as tensors."""
    _, users, items, ratings = small
    return torch.tensor(items[users == user]), torch.tensor(ratings[users == user])


def objective(model, users, items, ratings):
    """R in full, as the module's head states it; a function of both tables of factors."""

    def value(p, q):
        error = model.mean + (p[torch.tensor(users)] * q[torch.tensor(items)]).sum(1) - torch.tensor(ratings)
        return (error**2).mean() + model.l2 * ((p**2).sum() + (q**2).sum())

    return value


def test_fit_ends_at_a_stationary_point_of_the_objective(small):
    model, *data = small
    by_users, by_items = jacrev(objective(model, *data), argnums=(0, 1))(model.users, model.items)
    assert by_users.abs().max() < 1e-14  # the users come last: theirs is exact
    assert by_items.abs().max() < 1e-6
    assert model.mean == pytest.approx(data[2].mean()) and model.n == len(data[0])


def test_fit_explains_what_the_mean_does_not(small):
    model, users, items, ratings = small
    fitted = model.scores(model.users).numpy()[users, items]
    assert np.mean((fitted - ratings) ** 2) < 0.1 * ratings.var()


def test_fit_repeats_itself_and_depends_on_the_seed():
    users, items, ratings = synthetic(n_users=5)
    fits = [mf.fit(users, items, ratings, 5, 30, dim=3, l2=1e-2, sweeps=1, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(fits[0].users, fits[1].users)
    assert not torch.equal(fits[0].users, fits[2].users)


def test_users_and_items_without_ratings_get_the_mean():
    model = mf.fit([0, 0, 2], [0, 1, 1], [1.0, 4.0, 5.0], 4, 3, dim=2, l2=1e-2, sweeps=3, seed=0)
    assert (model.users[[1, 3]] == 0).all() and (model.items[2] == 0).all()
    assert model.scores(model.users)[1, 0] == model.mean


def test_user_solution_is_the_fitted_user(small):
    for user in range(12):
        torch.testing.assert_close(mf.user_solution(small[0], *own(small, user)), small[0].users[user])


def test_leave_out_minimises_the_objective_without_those_actions(small):
    """Against a general-purpose minimiser of R with those rows' errors weighted zero."""
    model, users, items, ratings = small
    user, gone = 4, [0, 3, 17]
    kept = torch.ones(len(users), dtype=torch.float64)
    kept[np.flatnonzero(users == user)[gone]] = 0
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [vector], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        p = model.users.clone()
        p[user] = vector
        error = model.mean + (p[users] * model.items[items]).sum(1) - torch.tensor(ratings)
        value = (kept * error**2).sum() / len(users) + model.l2 * (p**2).sum()
        value.backward()
        return value

    optimiser.step(closure)
    got = mf.leave_out(model, *own(small, user), gone)
    torch.testing.assert_close(got, vector.detach(), rtol=1e-5, atol=1e-7)
    assert (got - model.users[user]).abs().max() > 1e-3


def test_leave_out_of_nothing_and_of_everything(small):
    items, ratings = own(small, 0)
    torch.testing.assert_close(mf.leave_out(small[0], items, ratings, []), small[0].users[0])
    assert (mf.leave_out(small[0], items, ratings, list(range(25))) == 0).all()


def test_gradients_and_hessian_equal_autograd(small):
    model, *data = small
    user = 2
    items, ratings = own(small, user)

    def of_user(vector):
        p = torch.cat([model.users[:user], vector[None], model.users[user + 1 :]])
        return objective(model, *data)(p, model.items)

    def losses(vector):
        return (model.mean + model.items[items] @ vector - ratings) ** 2

    vector = model.users[user]
    torch.testing.assert_close(mf.user_hessian(model, items), hessian(of_user)(vector))
    torch.testing.assert_close(mf.example_gradients(model, vector, items, ratings), jacrev(losses)(vector))
    torch.testing.assert_close(model.items, jacrev(model.scores)(vector))


def estimated_and_true(model, items, ratings):
    """Influence of each action on each item's score: by influence_matrix and by refitting, both [I, m]."""
    vector = mf.user_solution(model, items, ratings)
    gradients = mf.example_gradients(model, vector, items, ratings)
    estimated = influence_matrix(model.items, gradients, mf.user_hessian(model, items), model.n)
    without = torch.stack([mf.leave_out(model, items, ratings, [z]) for z in range(len(items))])
    return estimated, (model.scores(vector) - model.scores(without)).T


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_influence_agrees_with_real_leave_one_out_on_synthetic_ratings(small):
    for user in range(12):
        estimated, true = estimated_and_true(small[0], *own(small, user))
        assert correlation(estimated, true) > 0.99
        # First order is too timid by the action's leverage, never by more, and never the wrong way.
        assert ((estimated * true) >= -1e-12).all()
        assert (estimated.abs() <= true.abs() + 1e-12).all()


def test_influence_agrees_with_real_leave_one_out_on_movielens(sample: Sample):
    train = sample.train
    model = mf.fit(
        train["user"],
        train["item"],
        train["rating"],
        sample.n_users,
        sample.n_items,
        dim=8,
        l2=1e-4,
        sweeps=10,
        seed=0,
    )
    assert (
        float(
            np.sqrt(np.mean((model.scores(model.users).numpy()[train["user"], train["item"]] - train["rating"]) ** 2))
        )
        < 0.9
    )
    correlations = []
    for user in np.linspace(0, sample.n_users - 1, 20).astype(int):
        rows = train.iloc[sample.actions(user)]
        items, ratings = torch.tensor(rows["item"].to_numpy()), torch.tensor(rows["rating"].to_numpy())
        correlations.append(correlation(*estimated_and_true(model, items, ratings)))
    assert len(correlations) == 20 and min(correlations) > 0.99


def test_influences_of_a_set_add_up_to_about_the_truth(small):
    """Equation 7, where a set's true influence is had exactly: close for small sets, not exact."""
    items, ratings = own(small, 1)
    model, gone = small[0], [2, 9]
    estimated, _ = estimated_and_true(model, items, ratings)
    moved = mf.leave_out(model, items, ratings, gone)
    true = model.scores(model.users[1]) - model.scores(moved)
    assert correlation(estimated[:, gone].sum(1), true) > 0.99
    assert not torch.allclose(estimated[:, gone].sum(1), true, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ratings": [1.0]}, "2, 2 and 1 rows"),
        ({"users": [], "items": [], "ratings": []}, "0, 0 and 0 rows"),
        ({"users": [0, 5]}, "users hold codes from 0 to 5"),
        ({"items": [-1, 0]}, "items hold codes from -1 to 0"),
        ({"ratings": [1.0, np.nan]}, "not finite"),
        ({"l2": 0.0}, "l2 is 0"),
        ({"sweeps": 0}, "sweeps is 0"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(change, words):
    good = {"users": [0, 1], "items": [0, 1], "ratings": [3.0, 4.0], "n_users": 2, "n_items": 2}
    good |= {"dim": 2, "l2": 0.1, "sweeps": 1, "seed": 0}
    mf.fit(**good)
    with pytest.raises(InputError, match=words):
        mf.fit(**{**good, **change})


@pytest.mark.parametrize("action", [25, -1])
def test_an_action_that_the_user_does_not_have_is_refused(small, action):
    with pytest.raises(InputError, match=f"action {action} is not one of this user's: positions lie in 0..24"):
        mf.leave_out(small[0], *own(small, 0), [action])
