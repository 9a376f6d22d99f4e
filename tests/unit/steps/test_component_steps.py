"""Steps and analyses of components on a micro model: ablate, rewind, drop, cut, resumed trials, LayerDrop."""

import csv
import json

import numpy
import pandas
import pytest
import torch
from support.training import interrupted, same, weights

from nmtprune.analysis import trials
from nmtprune.analysis.run import run as analyse
from nmtprune.analysis.run import run_shard
from nmtprune.experiment import chain, paths
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.components import components_of, parameters
from nmtprune.scoring.significance import bleu
from nmtprune.steps import run
from nmtprune.store import checkpoints

TRAIN = "micro/micro-components/s1/train"
NAMES = ["E.SA.1", "E.SA.2", "E.FF.1", "E.FF.2", "D.SA.1", "D.SA.2", "D.EA.1", "D.EA.2", "D.FF.1", "D.FF.2"]


@pytest.fixture
def trained(studio, bench):
    """A workplace with the trained model, its data and the analyses named."""
    studio.make_encoded(recipe="micro-components")
    workplace = bench(TRAIN)

    def bring(*names):
        with workplace.inside():
            for name in names:
                analyse(name, workplace.config, chain.parse(TRAIN))
        return workplace

    return bring


def rows(file):
    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_an_ablated_model_has_zeros_where_outputs_come_out_of_and_keeps_them_while_training_on(studio):
    studio.make_encoded(recipe="micro-components")
    directory = studio.make(f"{TRAIN}/ablate-D.SA.1+E.FF.2/retrain")
    ablated = ["decoder.layers.0.self_attn.out_proj", "encoder.layers.1.fc2"]
    trained, before = weights(directory / "last.pt"), weights(studio.model(TRAIN) / "model.pt")
    for name in ablated:
        for part in ("weight", "bias"):
            assert before[f"{name}.{part}"].any() and not trained[f"{name}.{part}"].any()
    assert not torch.equal(trained["encoder.layers.0.fc2.weight"], before["encoder.layers.0.fc2.weight"])


def test_what_was_pruned_and_what_was_ablated_both_stay(studio):
    studio.make_encoded(recipe="micro-components")
    for text in (f"{TRAIN}/prune-global-50/ablate-D.SA.1", f"{TRAIN}/ablate-D.SA.1/prune-global-50"):
        masks = checkpoints.read_masks(studio.make(text) / "mask.pt")
        assert not masks["decoder.layers.0.self_attn.out_proj.bias"].any()
        assert not masks["encoder.embed_tokens.weight"].all()


def test_contribution_has_a_row_a_component_and_its_arrays_give_its_scores(trained):
    workplace = trained("contribution")
    found = pandas.read_csv(
        workplace.model(TRAIN) / "contribution.csv", keep_default_na=False, na_values=[""]
    )
    assert list(found["component"]) == ["none", *NAMES]
    with numpy.load(workplace.model(TRAIN) / "contribution.npz") as arrays:
        assert bleu(arrays["bleu"].sum(1)) == pytest.approx(found["bleu"])
        assert arrays["nll"].sum(1) / arrays["tokens"].sum() == pytest.approx(found["nll_per_token"])
    whole = found.iloc[0]
    numpy.testing.assert_allclose(found["drop"], whole["bleu"] - found["bleu"])
    assert (
        found["contribution_perplexity"].max() == 1
        and found["contribution_perplexity"].iloc[1:].between(0, 1).all()
    )


def test_a_variant_scores_as_the_ablated_model_does(trained, bench):
    """The analysis and the step are the same model to the last digit of its perplexity."""
    from nmtprune.scoring import evaluation, sentence_statistics

    workplace = trained("contribution")
    with workplace.inside():
        parent = chain.parse(TRAIN)
        evaluation.score(workplace.config, parent)
        variant = chain.parse(f"{TRAIN}/ablate-D.EA.1")
        run.run(workplace.config, variant)
        evaluation.score(workplace.config, variant)
        scored = rows("results/models/" + str(variant) + "/scores.csv")
        kept = sentence_statistics.read(paths.sentences(parent))
    assert {f"train/{name}/{what}" for name in ("dev", "test") for what in ("bleu", "nll", "tokens")} <= set(
        kept
    )
    dev = next(row for row in scored if row["set"] == "dev")
    found = {row["component"]: row for row in rows(workplace.model(TRAIN) / "contribution.csv")}
    assert float(dev["nll_per_token"]) == pytest.approx(float(found["D.EA.1"]["nll_per_token"]), abs=1e-9)


def test_criticality_at_alpha_0_is_the_rewound_model_and_at_1_the_model(trained):
    workplace = trained("contribution", "criticality")
    found = pandas.read_csv(workplace.model(TRAIN) / "criticality.csv", keep_default_na=False, na_values=[""])
    assert list(found["component"].unique()) == ["none", *NAMES]
    with numpy.load(workplace.model(TRAIN) / "criticality.npz") as arrays:
        assert bleu(arrays["bleu"].sum(1, dtype=float)) == pytest.approx(found["bleu"].astype(float))
    assert sorted(found["alpha"].unique()) == [0, 0.5, 1] and (found["component"] == "none").sum() == 1
    alone = pandas.read_csv(
        workplace.model(TRAIN) / "contribution.csv", keep_default_na=False, na_values=[""]
    )
    assert found["nll_per_token"].iloc[0] == alone["nll_per_token"].iloc[0]
    with (
        workplace.inside(),
        trials.Trials(workplace.config, chain.parse(TRAIN), "criticality", "test") as run,
    ):
        initial = checkpoints.read(paths.model(chain.parse(TRAIN)) / paths.INITIAL)["model"]
        own = parameters(run.weights, components_of(run.weights)[4])
        rewound = {name: initial[name] if name in own else tensor for name, tensor in run.weights.items()}
        measured = run.measure("by hand", lambda: rewound)
    at_0 = found[(found["component"] == NAMES[4]) & (found["alpha"] == 0)].iloc[0]
    assert at_0["nll_per_token"] == measured.likelihood.per_token and at_0["bleu"] == measured.bleu


def test_the_order_begins_with_the_least_missed_and_grows_by_one(trained):
    workplace = trained("contribution", "order")
    found = pandas.read_csv(workplace.model(TRAIN) / "order.csv", keep_default_na=False)
    with numpy.load(workplace.model(TRAIN) / "order.npz") as arrays:
        assert bleu(arrays["test_bleu"].sum(1, dtype=float)) == pytest.approx(
            found["test_bleu"].astype(float)
        )
    alone = pandas.read_csv(
        workplace.model(TRAIN) / "contribution.csv", keep_default_na=False, na_values=[""]
    ).iloc[1:]
    least = alone.sort_values(["drop", "drop_nll"], kind="stable")["component"].tolist()
    for method in ("iterative", "one-shot"):
        order = found[found["method"] == method]
        assert order["number"].tolist() == [0, 1, 2] and order["component"].iloc[:2].tolist() == [
            "none",
            least[0],
        ]
    assert found[found["method"] == "one-shot"]["component"].tolist()[1:] == least[:2]


def test_the_order_needs_contributions(trained):
    with pytest.raises(UserError, match=r"contribution.csv: make it first"):
        trained("order")


def test_what_a_kill_has_torn_is_measured_again_and_nothing_else_is(trained, monkeypatch):
    workplace = trained()
    with workplace.inside():
        with interrupted(monkeypatch, trials, "_line", 5):
            analyse("contribution", workplace.config, chain.parse(TRAIN))
        kept = workplace.model(TRAIN) / "state/contribution/all/trials.jsonl"
        whole = kept.read_text().splitlines(keepends=True)
        assert len(whole) == 4
        kept.write_text("".join(whole[:3]) + whole[3][:40])
        measured = []
        plain = trials._line
        monkeypatch.setattr(trials, "_line", lambda key, *rest: measured.append(key) or plain(key, *rest))
        analyse("contribution", workplace.config, chain.parse(TRAIN))
    assert [key.split()[0] for key in measured] == NAMES[2:]
    assert len(rows(workplace.model(TRAIN) / "contribution.csv")) == 1 + len(NAMES)


def test_shards_measure_each_trial_once_and_the_analysis_only_collects(trained, monkeypatch):
    workplace = trained("contribution")
    together = (workplace.model(TRAIN) / "contribution.csv").read_text()
    (workplace.model(TRAIN) / "state/contribution/all/trials.jsonl").unlink()
    with workplace.inside():
        config, model = workplace.config, chain.parse(TRAIN)
        assert [run_shard("contribution", config, model, shard, 3) for shard in (1, 2, 3)] == [4, 4, 3]
        monkeypatch.setattr(trials, "_line", lambda *_: pytest.fail("measured again"))
        analyse("contribution", config, model)
    assert (workplace.model(TRAIN) / "contribution.csv").read_text() == together


@pytest.mark.parametrize(
    ("name", "shard", "said"),
    [("order", 1, "cannot be split over jobs"), ("contribution", 4, "not between 1 and 3")],
)
def test_shards_that_are_none(trained, name, shard, said):
    workplace = trained()
    with workplace.inside(), pytest.raises(UserError, match=said):
        run_shard(name, workplace.config, chain.parse(TRAIN), shard, 3)


def test_another_model_forgets_the_trials_of_the_one_before(trained, tmp_path):
    workplace = trained("contribution")
    lines = (workplace.model(TRAIN) / "state/contribution/all/trials.jsonl").read_text().splitlines()
    assert len({json.loads(line)["digest"] for line in lines}) == 1
    with workplace.inside():
        found = dict(
            trials._read(workplace.model(TRAIN) / "state/contribution/all/trials.jsonl", "another digest")
        )
    assert not found and len(lines) == 1 + len(NAMES)


def test_components_of_an_lstm(studio, bench):
    studio.make_encoded(recipe="micro-lstm")
    workplace = bench("micro/micro-lstm/s1/train")
    with workplace.inside(), pytest.raises(UserError, match="only a Transformer has components"):
        analyse("contribution", workplace.config, chain.parse("micro/micro-lstm/s1/train"))


def test_rewinding_begins_with_the_initial_values_of_the_least_important_and_trains_all(trained):
    workplace = trained("contribution", "order")
    least = [
        row["component"] for row in rows(workplace.model(TRAIN) / "order.csv") if row["method"] == "iterative"
    ][1:]
    from nmtprune.steps.rewind import beginning

    with workplace.inside():
        rewind = chain.parse(f"{TRAIN}/rewind-2")
        begun = beginning(rewind).weights
        final, initial = (weights(workplace.model(TRAIN) / name) for name in ("model.pt", "initial.pt"))
        own = {
            name for each in components_of(final) if str(each) in least for name in parameters(final, each)
        }
        assert len(own) >= 8
        for name, tensor in final.items():
            assert torch.equal(begun[name], initial[name] if name in own else tensor), name
    workplace.make(f"{TRAIN}/rewind-2")
    trained_on = weights(workplace.model(f"{TRAIN}/rewind-2") / "last.pt")
    assert all(not torch.equal(trained_on[name], begun[name]) for name in own if name.endswith("weight"))


def test_a_dropped_model_lacks_them_and_is_trained_from_new_weights(trained):
    workplace = trained("contribution", "order")
    least = [
        row["component"] for row in rows(workplace.model(TRAIN) / "order.csv") if row["method"] == "iterative"
    ][1:]
    workplace.make(f"{TRAIN}/drop-2")
    dropped, whole = (
        weights(workplace.model(f"{TRAIN}/drop-2") / "model.pt"),
        weights(workplace.model(TRAIN) / "model.pt"),
    )
    assert {str(each) for each in components_of(whole)} - {
        str(each) for each in components_of(dropped)
    } == set(least)
    assert sum(t.numel() for t in dropped.values()) < sum(t.numel() for t in whole.values())
    shared = [name for name in dropped if name in whole and name.endswith("weight") and "norm" not in name]
    assert shared and not any(torch.equal(dropped[name], whole[name]) for name in shared)


def test_cutting_begins_with_the_ablated_model_and_trains_the_others(trained):
    """Before the first update the perplexity is what the analysis found without the two."""
    from nmtprune.scoring import evaluation

    workplace = trained("contribution", "order")
    order = [row for row in rows(workplace.model(TRAIN) / "order.csv") if row["method"] == "iterative"]
    workplace.make(f"{TRAIN}/cut-2")
    left, whole = (weights(workplace.model(text) / "last.pt") for text in (f"{TRAIN}/cut-2", TRAIN))
    least = {row["component"] for row in order[1:]}
    assert {*map(str, components_of(whole))} - {*map(str, components_of(left))} == least
    before, *after = rows(workplace.model(f"{TRAIN}/cut-2") / "history.csv")
    assert (before["update"], float(before["dev_perplexity"])) == (
        "0",
        pytest.approx(float(order[2]["dev_perplexity"]), rel=1e-5),
    )
    assert float(after[-1]["dev_perplexity"]) < float(before["dev_perplexity"])
    with workplace.inside():
        evaluation.score(workplace.config, chain.parse(f"{TRAIN}/cut-2"))
        (scored,) = [row for row in rows(paths.scores(chain.parse(f"{TRAIN}/cut-2"))) if row["set"] == "dev"]
    trained_left = [
        tensor for name, tensor in left.items() if not name.endswith(("_float_tensor", "version"))
    ]
    parameters_left = sum({tensor.data_ptr(): tensor.numel() for tensor in trained_left}.values())
    assert (scored["engine"], float(scored["parameters"])) == ("onnx", parameters_left)


def test_cutting_again_takes_of_what_is_left(trained):
    workplace = trained("contribution", "order")
    text = f"{TRAIN}/cut-2"
    workplace.make(text)
    with workplace.inside():
        for name in ("contribution", "order"):
            analyse(name, workplace.config, chain.parse(text))
    workplace.make(f"{text}/cut-1")
    once, twice = (
        {*map(str, components_of(weights(workplace.model(each) / "model.pt")))}
        for each in (text, f"{text}/cut-1")
    )
    assert len(once) == len(NAMES) - 2 and twice < once and len(once - twice) == 1


def test_the_components_are_part_of_what_a_model_is(trained):
    from nmtprune.store import manifest

    workplace = trained("contribution", "order")
    file = workplace.model(TRAIN) / "order.csv"
    with workplace.inside():
        rewind = chain.parse(f"{TRAIN}/rewind-1")
        before = manifest.digest_of(workplace.config, rewind)
        first = rows(file)[1]["component"]
        other = next(name for name in NAMES if name != first)
        file.write_text(file.read_text().replace(first, other))
        assert manifest.digest_of(workplace.config, rewind) != before
        file.unlink()
        with pytest.raises(UserError, match=r"order.csv: make it first"):
            manifest.digest_of(workplace.config, rewind)


def test_at_0_is_the_initial_weights(studio):
    studio.make_encoded(recipe="micro-components")
    directory = studio.make(f"{TRAIN}/at-0")
    assert same(weights(directory / "model.pt"), weights(studio.model(TRAIN) / "initial.pt"))


def test_layerdrop_of_sub_layers_leaves_them_out_in_training_alone(studio):
    """What comes out where all are left out is what comes out where all are ablated; the rate is kept."""
    from nmtprune.fairseq_bridge.generation import as_dictionary, build_model
    from nmtprune.pruning.components import ablation
    from nmtprune.store.model import from_checkpoint

    studio.make_encoded(recipe="micro-sublayerdrop")
    directory = studio.make("micro/micro-sublayerdrop/s1/train")
    with studio.inside():
        data = studio.config.data_folder(chain.parse("micro/micro-sublayerdrop/s1/train"))
        model = from_checkpoint(directory / "model.pt", paths.binarised(data))
    assert model.options["sub_layer_drop"] == 0.4
    dictionary = as_dictionary(model.source_dictionary)
    module = build_model(model, dictionary, dictionary)
    layer = module.encoder.layers[0]
    x = torch.randn(5, 3, 16)
    torch.manual_seed(1)
    layer.dropout_module.p = 0
    layer.train()
    plain = layer.eval()(x, None)
    layer.train()
    kept = sum(
        torch.equal(layer.residual(x, layer.final_layer_norm, layer.feed_forward), layer.final_layer_norm(x))
        for _ in range(1000)
    )
    assert 340 < kept < 460
    layer.sub_layer_drop = 0.999999
    left_out = layer(x, None)
    silenced = ablation(
        model.weights,
        [each for each in components_of(model.weights) if each.kind.startswith("E") and each.layer == 1],
    )
    ablated = {
        name: tensor.masked_fill(~silenced[name], 0) if name in silenced else tensor
        for name, tensor in model.weights.items()
    }
    module.load_state_dict(ablated)
    assert torch.equal(module.encoder.layers[0].eval()(x, None), left_out)
    assert not torch.equal(plain, left_out)


def test_layerdrop_of_layers_reaches_fairseq():
    from nmtprune.experiment.architecture import Architecture
    from nmtprune.fairseq_bridge.arguments import of_architecture

    architecture = {"name": "transformer", "encoder_layers": 2, "decoder_layers": 2, "layer_drop": 0.2}
    options = of_architecture(Architecture.over(architecture))
    assert (
        options[options.index("--encoder-layerdrop") + 1] == "0.2"
        and options[options.index("--decoder-layerdrop") + 1] == "0.2"
    )


def test_a_sample_of_a_task_is_of_its_pairs_and_a_smaller_one_lies_in_it(workplace):
    from nmtprune.data.corpus import keep_sample, make_corpus

    with workplace.inside():
        config = workplace.config
        for task in ("micro", "micro-sample"):
            make_corpus(config.task(task), paths.text(task), None, paths.DOWNLOADS)
        whole, sample = (
            list(zip(*(lines(task, side) for side in ("src", "tgt", "labels.jsonl")), strict=True))
            for task in ("micro", "micro-sample")
        )
        assert len(whole) == 300 and len(sample) == 150
        places = [whole.index(pair) for pair in sample]
        assert places == sorted(places) and places != list(range(150))
        assert (
            json.loads((paths.text("micro-sample") / "manifest.json").read_text())["counts"]["train"]["kept"]
            == 150
        )
        assert lines("micro", "src", "dev") == lines("micro-sample", "src", "dev")
        keep_sample(paths.text("micro"), config.task("micro"), 300, 40, 1)
        assert set(lines("micro", "src")) <= set(lines("micro-sample", "src"))
        with pytest.raises(UserError, match="41 pairs are asked for and cleaning keeps 40"):
            keep_sample(paths.text("micro"), config.task("micro"), 40, 41, 1)


def lines(task, suffix, split="train"):
    return (paths.text(task) / f"{split}.{suffix}").read_text(encoding="utf-8").splitlines()
