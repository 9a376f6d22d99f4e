"""Masks in training: a pruned weight is zero to the last bit after every update."""

import pytest
import torch
from torch import nn

from nmtprune.training import masks


class Tied(nn.Module):
    """An embedding that is its own output projection, and a matrix between."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.matrix = nn.Linear(5, 5)
        self.out = nn.Linear(5, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.matrix(self.embed(x)).tanh())


OPTIMISERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=0.1),
}


def model_and_masks():
    torch.manual_seed(1)
    model = Tied()
    made = {name: torch.rand(p.shape) < 0.5 for name, p in model.named_parameters() if p.dim() > 1}
    assert list(made) == ["embed.weight", "matrix.weight"]
    return model, made


def loss_of(model):
    return nn.functional.cross_entropy(model(torch.arange(7)), torch.arange(7).flip(0))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_pruned_weights_stay_exactly_zero_and_the_others_train(name):
    model, made = model_and_masks()
    masks.hold(model, made)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimizer = OPTIMISERS[name](model.parameters())
    first = loss_of(model).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss_of(model).backward()
        for key, mask in made.items():
            assert not dict(model.named_parameters())[key].grad[~mask].any()
        optimizer.step()
        assert masks.broken(model, made) == []
    assert loss_of(model).item() < first
    assert model.out.weight is model.embed.weight
    for key, parameter in model.named_parameters():
        kept = made.get(key, torch.ones_like(parameter, dtype=torch.bool))
        assert (parameter != before[key])[kept].float().mean() > 0.9


def test_broken_names_the_matrix_with_a_weight_that_came_back():
    model, made = model_and_masks()
    masks.hold(model, made)
    with torch.no_grad():
        model.matrix.weight[~made["matrix.weight"]] = 1e-30
    assert masks.broken(model, made) == ["matrix.weight"]


def test_kept_gradients_are_those_of_the_masked_model():
    model, made = model_and_masks()
    masks.hold(model, made)
    loss_of(model).backward()
    plain, _ = model_and_masks()
    plain.load_state_dict(model.state_dict())
    loss_of(plain).backward()
    assert torch.equal(model.embed.weight.grad, plain.embed.weight.grad * made["embed.weight"])
    assert torch.equal(model.matrix.bias.grad, plain.matrix.bias.grad)
