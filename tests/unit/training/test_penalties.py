"""The group lasso penalty: equation 1 exactly, its gradient, and that it drives whole groups to zero."""

import pytest
import torch
from torch import nn

from nmtprune.foundation.errors import UserError
from nmtprune.training.penalties import GroupLasso


def parameters_of(std=0.5, d=8, ffn=12, dtype=torch.float32):
    torch.manual_seed(1)
    shapes = {"fc1.weight": (ffn, d), "fc1.bias": (ffn,), "fc2.weight": (d, ffn), "fc2.bias": (d,)}
    return {
        f"encoder.layers.0.{name}": nn.Parameter((torch.randn(shape) * std).to(dtype))
        for name, shape in shapes.items()
    }


def by_hand(parameters, scale):
    w1, b1, w2 = (
        parameters[f"encoder.layers.0.{name}"].detach().double()
        for name in ("fc1.weight", "fc1.bias", "fc2.weight")
    )
    rows = torch.cat([w1, b1[:, None]], 1)
    return sum(
        (len(group) ** 0.5 if scale else 1) * group.square().sum().sqrt().item() for group in [*rows, *w2.T]
    )


@pytest.mark.parametrize("gamma", ["sqrt", "none"])
def test_the_penalty_is_equation_1(gamma):
    parameters = parameters_of()
    assert GroupLasso(parameters, "ffn", "both", 4, gamma).value().item() == pytest.approx(
        by_hand(parameters, gamma == "sqrt"), rel=1e-6
    )


def test_the_gradient_is_the_unit_vector_of_each_group_and_zero_at_zero():
    parameters = parameters_of()
    w1, b1 = parameters["encoder.layers.0.fc1.weight"], parameters["encoder.layers.0.fc1.bias"]
    with torch.no_grad():
        w1[0], b1[0] = 0, 0
        w1[1] = 0  # and its bias is not
    penalty = GroupLasso(parameters, "ffn", "both", 4)
    penalty.value().backward()
    rows = torch.cat([w1, b1[:, None]], 1).detach()
    wanted = 9**0.5 * torch.nn.functional.normalize(rows, dim=1)
    torch.testing.assert_close(torch.cat([w1.grad, b1.grad[:, None]], 1), wanted)
    assert not w1.grad[0].any() and not b1.grad[0].any()
    assert parameters["encoder.layers.0.fc2.bias"].grad is None


def test_half_precision_parameters_have_a_penalty_in_single_precision():
    halves = parameters_of(std=1e-4, dtype=torch.float16)  # whose squares vanish in half precision
    singles = {name: nn.Parameter(p.detach().float()) for name, p in halves.items()}
    values = []
    for parameters in (halves, singles):
        value = GroupLasso(parameters, "ffn", "both", 4).value()
        value.backward()
        values.append(value)
    assert values[0].dtype == torch.float32
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    for name in halves:
        if halves[name].grad is not None:
            assert halves[name].grad.dtype == torch.float16
            torch.testing.assert_close(halves[name].grad.float(), singles[name].grad, rtol=2e-3, atol=1e-3)


def test_groups_shrink_together_under_training():
    parameters = parameters_of(std=0.1)
    penalty = GroupLasso(parameters, "ffn", "enc", 4)
    keep = parameters["encoder.layers.0.fc1.weight"]
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3)
    before = [norms.clone() for norms in penalty.norms()]
    for _ in range(600):
        optimizer.zero_grad()
        (penalty.value() - 10 * keep[0].sum()).backward()
        optimizer.step()
    rows, columns = penalty.norms()
    assert rows[0] > before[0][0]
    assert (rows[1:] < 0.1 * before[0][1:]).all() and (columns < 0.1 * before[1]).all()


def test_a_model_without_such_groups_is_refused():
    with pytest.raises(UserError, match="no such groups"):
        GroupLasso(parameters_of(), "ffn", "dec", 4)
