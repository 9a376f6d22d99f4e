"""nmtprune in Python: the session of docs/python.md runs, and does the same as steps and verbs."""

import contextlib
import csv
import io
import re

import pytest
import torch
from support.workplace import REPOSITORY

from nmtprune import api
from nmtprune.experiment import chain, paths
from nmtprune.scoring import evaluation
from nmtprune.store import checkpoints

PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.M | re.S)
TRAIN = "micro/micro/s1/train"
PRUNED = f"{TRAIN}/prune-local-50"


@pytest.fixture(scope="module")
def there(studio):
    """The studio with the models of these tests, as the working directory."""
    studio.make(PRUNED)
    with studio.inside():
        yield studio


def rows_of(table):
    with open(table, encoding="utf-8", newline="") as lines:
        return {row["set"]: row for row in csv.DictReader(lines)}


def test_the_session_of_the_page_runs_and_says_what_the_page_says(there):
    """The micro model stands in for the toy one; only numbers and translations differ from the page."""
    assert PAGE.count("```python") == len(CELLS)
    said, session = [], {}
    for code, _ in CELLS:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code.replace("toy/toy/s1/train", TRAIN), session)
        said.append(output.getvalue())
    for (code, printed), output in zip(CELLS, said, strict=True):
        if "api.translate(model" in code:
            assert output.count("\n") == printed.count("\n") == len(session["lines"])
        else:
            assert re.sub(r"\d+(\.\d+)?", "#", output) == re.sub(r"\d+(\.\d+)?", "#", printed)


def test_masks_and_scores_are_those_of_the_step_and_the_verb(there):
    model = api.load(TRAIN)
    masks = api.masks(model, "prune-local-50")
    made = checkpoints.read_masks(paths.model(chain.parse(PRUNED)) / paths.MASK)
    assert masks.keys() == made.keys() and all(torch.equal(masks[name], made[name]) for name in made)
    pruned, loaded = api.mask(model, masks), api.load(PRUNED)
    assert all(torch.equal(tensor, pruned.weights[name]) for name, tensor in loaded.weights.items())
    assert loaded.masks.keys() == pruned.masks.keys() and pruned.sparsity == loaded.sparsity == pytest.approx(
        50, abs=0.01
    )

    evaluation.score_variants(there.config, chain.parse(TRAIN), [chain.parse(PRUNED)])
    written = rows_of(paths.scores(chain.parse(PRUNED)))["test"]
    (row,) = api.score(pruned)
    assert {key: "" if value is None else str(value) for key, value in row.items()} == {
        key: written[key] for key in row
    }


def test_nothing_is_written_under_results(there):
    before = {file: file.stat().st_mtime_ns for file in there.folder.rglob("*")}
    model = api.load(TRAIN)
    api.score(api.slice(api.mask(model, api.masks(model, "ablate-E.FF.1"))), ["dev"])
    api.translate(model, ["a b"])
    assert {file: file.stat().st_mtime_ns for file in there.folder.rglob("*")} == before


def test_masks_add_up_and_tied_weights_stay_tied(there):
    model = api.load(TRAIN)
    once = api.mask(model, api.masks(model, "prune-global-30"))
    twice = api.mask(once, api.masks(once, "prune-local-50"))
    assert all(
        not twice.weights[name][~mask].any()
        for masks in (once.masks, twice.masks)
        for name, mask in masks.items()
    )
    assert all((~twice.masks[name] | once.masks[name]).all() for name in once.masks)
    tied = twice.weights["encoder.embed_tokens.weight"], twice.weights["decoder.output_projection.weight"]
    assert tied[0].data_ptr() == tied[1].data_ptr() and not torch.equal(
        tied[0], model.weights["encoder.embed_tokens.weight"]
    )


def test_a_sliced_model_is_smaller_and_scores_as_before(there):
    model = api.load(TRAIN)
    silent = api.mask(model, {"encoder.layers.0.fc1.weight": torch.zeros(32, 16, dtype=torch.bool)})
    smaller = api.slice(silent)
    assert (model.shape["encoder"][0]["ffn"], smaller.shape["encoder"][0]["ffn"]) == (32, 0)
    assert smaller.shape["decoder"] == model.shape["decoder"] and not smaller.masks
    assert smaller.parameters == model.parameters - (32 * 16 + 32 + 16 * 32)
    before, after = (api.score(each)[0] for each in (silent, smaller))
    assert after["perplexity"] == pytest.approx(before["perplexity"], rel=1e-4)
    assert api.translate(smaller, ["a b"]) == api.translate(silent, ["a b"])


def test_slicing_here_is_the_step(there):
    lasso = "micro/micro-student/s1/train-pretrain/lasso-ffn-both-25"
    there.make(f"{lasso}/slice")
    here, made = api.slice(api.load(lasso)), api.load(f"{lasso}/slice")
    assert here.shape == made.shape != api.load(lasso).shape
    assert here.weights.keys() == made.weights.keys()
    assert all(torch.equal(tensor, here.weights[name]) for name, tensor in made.weights.items())


def test_lines_are_translated_in_their_order_and_none_where_they_are_too_long(there):
    with open("results/data/micro/text/test.src", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file][:5]
    model = api.load(TRAIN)
    together = api.translate(model, [*lines, "", "a " * 2000])
    assert together[:5] == [api.translate(model, [line])[0] for line in lines] and together[5:] == ["", None]
    assert all(isinstance(line, str) for line in api.translate(model, lines, beam=1))


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda model: api.load("micro/micro/s1"), r"^chain `micro/micro/s1` is not of the form"),
        (
            lambda model: api.load("micro/micro/s77/train"),
            r"^there is no file results/models/micro/micro/s77/train/model.pt",
        ),
        (lambda model: api.load(TRAIN, ["sed=1"]), r"^config: unknown key `sed`"),
        (lambda model: api.masks(model, "retrain"), r"`retrain` cannot follow `train`"),
        (
            lambda model: api.masks(model, "continue"),
            r"^step `continue` puts no masks on a model; valid: prune-<scheme>",
        ),
        (lambda model: api.masks(model, "ablate-E.FF.9"), r"has no component `E.FF.9`"),
        (
            lambda model: api.mask(model, {"fc1": torch.ones(1, dtype=torch.bool)}),
            r"^mask: the model has no parameter `fc1`",
        ),
        (
            lambda model: api.mask(model, {"encoder.layers.0.fc1.weight": torch.ones(32, 16)}),
            r"^mask: `encoder.layers.0.fc1.weight` needs a bool tensor of shape \[32, 16\], not one of "
            r"torch.float32 and shape \[32, 16\]$",
        ),
        (
            lambda model: api.score(model, ["tset"]),
            r"^score: task `micro` has no set `tset`; did you mean `test`",
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(there, ask, told):
    model = api.load(TRAIN)
    with pytest.raises(api.UserError, match=told):
        ask(model)


def test_a_model_that_is_no_transformer_has_no_shape(there):
    there.make("micro/micro-lstm/s1/train")
    model = api.load("micro/micro-lstm/s1/train")
    for ask in (api.slice, lambda model: model.shape):
        with pytest.raises(api.UserError, match=r"^chain `micro/micro-lstm/s1/train`: only"):
            ask(model)
