"""Influence against torch.func.hessian with a dense inverse, and against ridge regression's closed forms."""

import warnings

import pytest
import torch
from torch.func import functional_call, hessian

from accentlib.errors import InputError
from accentlib.influence import (
    IndefiniteHessianWarning,
    conjugate_gradient,
    full_influence,
    hessian_vector_product,
    influence_matrix,
    ravel,
    smallest_eigenvalue,
    symmetric_solve,
)

L2, DAMPING = 0.01, 0.05


@pytest.fixture(autouse=True)
def float64():
    """Float64 throughout, and an indefinite Hessian that no test asked for is a failure."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", IndefiniteHessianWarning)
        yield
    torch.set_default_dtype(torch.float32)


class Ridge:
    """Linear regression with a regulariser: R = (1/n) sum (x . w - t)^2 + L2 |w|^2, solved exactly."""

    def __init__(self, n=60, dim=5):
        self.x, self.queries = torch.randn(n, dim), torch.randn(3, dim)
        self.t = self.x @ torch.randn(dim) + 0.5 * torch.randn(n)
        self.n, self.dim = n, dim
        self.theta = self.solve(torch.arange(n))

    def solve(self, kept):
        gram = self.x[kept].T @ self.x[kept] + self.n * L2 * torch.eye(self.dim)
        return torch.linalg.inv(gram) @ self.x[kept].T @ self.t[kept]

    def losses(self, theta):
        return (self.x @ theta - self.t) ** 2

    def objective(self, theta):
        return self.losses(theta).mean() + L2 * theta @ theta

    def scores(self, theta):
        return self.queries @ theta

    def true_influence(self):
        """Scores now minus scores after really leaving each example out, [T, Z]."""
        without = torch.stack([self.solve(torch.arange(self.n) != z) for z in range(self.n)])
        return self.queries @ self.theta[:, None] - self.queries @ without.T

    def gradients(self):
        return 2 * (self.x @ self.theta - self.t)[:, None] * self.x


@pytest.fixture
def ridge(float64):
    return Ridge()


class Network(torch.nn.Module):
    """A small network with curvature of both signs."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x)))[:, 0]


@pytest.fixture
def network(float64):
    """Functions of a network's joined parameters: objective, losses, scores, theta, n."""
    model, x, t, queries = Network(), torch.randn(20, 3), torch.randn(20), torch.randn(4, 3)
    theta, unravel = ravel(dict(model.named_parameters()))

    def scores(theta):
        return functional_call(model, unravel(theta), (queries,))

    def losses(theta):
        return (functional_call(model, unravel(theta), (x,)) - t) ** 2

    def objective(theta):
        return losses(theta).mean() + L2 * theta @ theta

    return objective, losses, scores, theta, 20


def positive_definite(*batch, dim):
    root = torch.randn(*batch, dim, dim)
    return root @ root.mT + 0.1 * torch.eye(dim)


def test_influence_matrix_equals_the_formula_with_a_dense_inverse(network):
    objective, losses, scores, theta, n = network
    curvature = hessian(objective)(theta)
    damping = 0.1 - min(0.0, float(smallest_eigenvalue(curvature)))
    targets, examples = torch.func.jacrev(scores)(theta), torch.func.jacrev(losses)(theta)
    expected = torch.empty(4, 20)
    inverse = torch.linalg.inv(curvature + damping * torch.eye(len(theta)))
    for i in range(4):
        for z in range(20):
            expected[i, z] = -(targets[i] @ inverse @ examples[z]) / n
    torch.testing.assert_close(influence_matrix(targets, examples, curvature, n, damping), expected)
    full = full_influence(objective, losses, scores, theta, n, damping, tolerance=1e-12)
    torch.testing.assert_close(full, expected, rtol=1e-7, atol=1e-10)


def test_the_formula_follows_a_shrinking_weight(ridge):
    """The definition itself: the derivative of the minimiser as one example's weight falls (equation 3)."""
    step, z = 1e-5, 7
    weights = torch.full((ridge.n,), 1.0)
    weights[z] -= step
    gram = (ridge.x.T * weights) @ ridge.x + ridge.n * L2 * torch.eye(ridge.dim)
    moved = torch.linalg.solve(gram, ridge.x.T @ (weights * ridge.t))
    expected = ridge.queries @ (ridge.theta - moved) / step
    got = influence_matrix(ridge.queries, ridge.gradients(), hessian(ridge.objective)(ridge.theta), ridge.n)[:, z]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)


def test_sign_and_size_on_real_leave_one_out_of_ridge_regression(ridge):
    got = influence_matrix(ridge.queries, ridge.gradients(), hessian(ridge.objective)(ridge.theta), ridge.n)
    true = ridge.true_influence()
    assert torch.corrcoef(torch.stack([got.flatten(), true.flatten()]))[0, 1] > 0.99
    assert ((got * true) >= 0).all()
    assert 0.8 < (got.norm() / true.norm()) < 1


def test_leverage_turns_influence_into_exact_leave_one_out(ridge):
    """Sherman and Morrison: the true change is the first-order one over 1 - leverage, as in Cook's distance."""
    got = influence_matrix(ridge.queries, ridge.gradients(), hessian(ridge.objective)(ridge.theta), ridge.n)
    gram = ridge.x.T @ ridge.x + ridge.n * L2 * torch.eye(ridge.dim)
    leverage = (ridge.x @ torch.linalg.inv(gram) * ridge.x).sum(1)
    torch.testing.assert_close(got / (1 - leverage), ridge.true_influence())


def test_removing_an_example_that_pulls_a_score_up_lowers_it():
    """One parameter, by hand: theta is the mean of 0, 0 and 3, the score is theta itself."""
    examples = 2 * (torch.tensor(1.0) - torch.tensor([0.0, 0.0, 3.0]))[:, None]
    got = influence_matrix(torch.ones(1, 1), examples, torch.tensor([[2.0]]), n=3)
    torch.testing.assert_close(got, torch.tensor([[-1 / 3, -1 / 3, 2 / 3]]))


def test_a_batch_equals_a_loop():
    targets, examples, curvature = torch.randn(6, 3, 4), torch.randn(6, 5, 4), positive_definite(6, dim=4)
    n = torch.tensor([3.0, 5.0, 7.0, 2.0, 9.0, 4.0])[:, None, None]
    batch = influence_matrix(targets, examples, curvature, n, DAMPING)
    for b in range(6):
        one = influence_matrix(targets[b], examples[b], curvature[b], float(n[b]), DAMPING)
        torch.testing.assert_close(batch[b], one)


def test_leading_dimensions_broadcast():
    targets, examples, curvature = torch.randn(6, 3, 1, 4), torch.randn(6, 1, 5, 4), positive_definite(6, 3, dim=4)
    n = torch.arange(1.0, 4.0)[:, None, None]
    got = influence_matrix(targets, examples, curvature, n)
    assert got.shape == (6, 3, 1, 5)
    one = influence_matrix(targets[4, 2], examples[4, 0], curvature[4, 2], 3)
    torch.testing.assert_close(got[4, 2], one)


def test_an_indefinite_hessian_is_solved_and_said():
    curvature = torch.stack([torch.diag(torch.tensor([2.0, -0.5])), torch.eye(2)])
    targets, examples = torch.ones(2, 1, 2), torch.randn(2, 3, 2)
    with pytest.warns(IndefiniteHessianWarning, match="1 of 2 .* -0.4"):
        got = influence_matrix(targets, examples, curvature, 1, damping=0.1)
    expected = -targets @ torch.linalg.inv(curvature + 0.1 * torch.eye(2)) @ examples.mT
    torch.testing.assert_close(got, expected)


def test_damping_past_the_smallest_eigenvalue_needs_no_warning():
    curvature = torch.diag(torch.tensor([2.0, -0.5]))
    assert float(smallest_eigenvalue(curvature)) == pytest.approx(-0.5)
    influence_matrix(torch.ones(1, 2), torch.ones(1, 2), curvature, 1, damping=0.6)


def test_smallest_eigenvalue_of_a_batch():
    values = torch.tensor([[3.0, -1.0, 2.0], [0.5, 4.0, 0.25]])
    rotation = torch.linalg.qr(torch.randn(2, 3, 3)).Q
    got = smallest_eigenvalue(rotation * values[:, None, :] @ rotation.mT)
    torch.testing.assert_close(got, torch.tensor([-1.0, 0.25]))


@pytest.mark.parametrize("diagonal", [(0.0, 0.0), (1.0, 0.0), (1.0, 1e-17)])
def test_a_singular_matrix_is_refused(diagonal):
    with pytest.raises(InputError, match="1 of 1 damped Hessians are singular"):
        symmetric_solve(torch.diag(torch.tensor(diagonal)), torch.ones(2, 1))


def test_a_rank_deficient_hessian_is_refused_and_damping_mends_it():
    features = torch.randn(2, 6)
    with pytest.raises(InputError, match="singular"):
        influence_matrix(torch.ones(1, 6), torch.ones(1, 6), features.T @ features, 1)
    influence_matrix(torch.ones(1, 6), torch.ones(1, 6), features.T @ features, 1, damping=1e-3)


def test_a_badly_scaled_but_regular_matrix_is_solved():
    matrix = torch.diag(torch.tensor([1.0, 1e-10]))
    torch.testing.assert_close(symmetric_solve(matrix, torch.ones(2, 1)), torch.tensor([[1.0], [1e10]]))


def test_hessian_vector_product_equals_the_hessian_times_the_vector(network):
    objective, _, _, theta, _ = network
    vector = torch.randn_like(theta)
    torch.testing.assert_close(hessian_vector_product(objective, theta, vector), hessian(objective)(theta) @ vector)


def test_hessian_vector_product_of_named_parameters(network):
    objective, _, _, theta, _ = network
    parts = {"a": theta[:7], "b": theta[7:]}
    vector = torch.randn_like(theta)
    got = hessian_vector_product(
        lambda p: objective(torch.cat([p["a"], p["b"]])), parts, {"a": vector[:7], "b": vector[7:]}
    )
    torch.testing.assert_close(torch.cat([got["a"], got["b"]]), hessian(objective)(theta) @ vector)


def test_ravel_joins_parameters_in_order_and_takes_them_apart():
    params = dict(Network().named_parameters())
    theta, unravel = ravel(params)
    assert theta.shape == (4 * 3 + 4 + 4 + 1,) and not theta.requires_grad
    assert torch.equal(theta[:12].reshape(4, 3), params["hidden.weight"])
    apart = unravel(theta)
    assert list(apart) == list(params) and all(torch.equal(apart[name], params[name]) for name in params)


def test_conjugate_gradient_equals_a_dense_solve():
    matrix, right = positive_definite(dim=30), torch.randn(30)
    got = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-12)
    torch.testing.assert_close(got, torch.linalg.solve(matrix, right), rtol=1e-8, atol=1e-8)
    assert torch.equal(conjugate_gradient(lambda v: matrix @ v, torch.zeros(30)), torch.zeros(30))


def test_conjugate_gradient_keeps_the_type():
    matrix, right = positive_definite(dim=5).float(), torch.randn(5).float()
    got = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-5)
    assert got.dtype == torch.float32
    torch.testing.assert_close(matrix @ got, right, rtol=1e-3, atol=1e-4)


def test_conjugate_gradient_refuses_a_direction_of_negative_curvature():
    with pytest.raises(InputError, match="direction of curvature -0.5"):
        conjugate_gradient(lambda v: -0.5 * v, torch.ones(3))


def test_conjugate_gradient_says_that_it_ran_out_of_steps():
    matrix = torch.diag(torch.logspace(-6, 0, 30))
    with pytest.raises(InputError, match="in 3 steps"):
        conjugate_gradient(lambda v: matrix @ v, torch.ones(30), max_iter=3)


def test_full_influence_of_a_saddle_is_refused(network):
    objective, losses, scores, theta, n = network
    with pytest.raises(InputError, match="positive definite"):
        full_influence(lambda p: -objective(p), losses, scores, theta, n)


def test_wrong_input_is_refused_in_one_sentence():
    good = {
        "targets": torch.ones(2, 3),
        "examples": torch.ones(4, 3),
        "hessian": torch.eye(3),
        "n": 5,
        "damping": 0.0,
    }
    influence_matrix(**good)
    for change, words in (
        ({"targets": torch.ones(3)}, r"targets has shape \(3,\)"),
        ({"targets": torch.ones(2, 4)}, "targets has 4 parameters"),
        ({"examples": torch.ones(4, 2)}, "examples has 2 parameters"),
        ({"hessian": torch.ones(2, 3)}, "must be square"),
        ({"hessian": torch.eye(3) + torch.triu(torch.ones(3, 3))}, "must be symmetric"),
        ({"hessian": torch.eye(3).repeat(3, 1, 1), "targets": torch.ones(2, 2, 3)}, "must broadcast"),
        ({"n": torch.ones(7, 1, 1)}, "must broadcast"),
        ({"targets": torch.full((2, 3), torch.nan)}, "targets holds a value that is not finite"),
        ({"examples": torch.full((2, 3), torch.inf)}, "examples holds a value that is not finite"),
        ({"hessian": torch.full((3, 3), torch.nan)}, "hessian holds a value that is not finite"),
        ({"examples": torch.ones(4, 3, dtype=torch.float32)}, "examples is torch.float32"),
        ({"n": 0}, "n is 0"),
        ({"n": float("nan")}, "n is nan"),
        ({"damping": -1.0}, "damping is -1"),
        ({"damping": float("nan")}, "damping is nan"),
    ):
        with pytest.raises(InputError, match=words) as error:
            influence_matrix(**{**good, **change})
        assert str(error.value).endswith(".") and "\n" not in str(error.value)
