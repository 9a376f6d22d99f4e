"""The steps that make models, on a micro task: inputs, outputs, and that interruptions change nothing."""

import json
import random
import shutil
import signal
import sys
import time
from importlib import import_module

import pytest
import torch
from support.training import (
    SAVED_AFTER_VALIDATIONS,
    SAVED_ALWAYS,
    UPDATE,
    assert_same_training,
    history,
    interrupted,
    manifest,
    same,
    weights,
)
from support.workplace import MICRO, PATIENCE

from nmtprune.experiment import chain, paths
from nmtprune.experiment.checks import check_chain
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation.errors import UserError
from nmtprune.steps import run
from nmtprune.store import checkpoints
from nmtprune.training import loop

SEED = "micro/micro/s1"
TRAIN = f"{SEED}/train"
PRUNE = f"{TRAIN}/prune-local-50"
RETRAIN = f"{PRUNE}/retrain"
REJUVENATE = f"{RETRAIN}/rejuvenate-zero"


VALIDATION = (loop.session, "validation_nll")
WRITING = (checkpoints, "atomic")
INTERRUPTIONS = {
    # the chain, what is called for the last time, which call of it, how often state is saved
    "before the first validation": (TRAIN, *UPDATE, 5, SAVED_AFTER_VALIDATIONS),
    "after a validation": (TRAIN, *UPDATE, 12, SAVED_AFTER_VALIDATIONS),
    "in the middle of an epoch": (TRAIN, *UPDATE, 7, SAVED_ALWAYS),
    "in the second epoch": (TRAIN, *UPDATE, 22, SAVED_ALWAYS),
    "during a validation": (TRAIN, *VALIDATION, 2, SAVED_AFTER_VALIDATIONS),
    "during the last validation": (TRAIN, *VALIDATION, 3, SAVED_AFTER_VALIDATIONS),
    "while the best checkpoint is written": (TRAIN, *WRITING, 3, SAVED_AFTER_VALIDATIONS),
    "while state is written": (TRAIN, *WRITING, 4, SAVED_ALWAYS),
    "with gradients accumulated": (f"{SEED}/train-accumulated", *UPDATE, 7, SAVED_ALWAYS),
    "with half of patience spent": (f"{TRAIN}/continue-patient", *UPDATE, 7, SAVED_AFTER_VALIDATIONS),
    "during the validation that ends patience": (
        f"{TRAIN}/continue-patient",
        *VALIDATION,
        3,
        SAVED_AFTER_VALIDATIONS,
    ),
    "under a mask": (f"{PRUNE}/retrain-decayed", *UPDATE, 6, SAVED_ALWAYS),
    "after a fresh start of the optimiser": (f"{TRAIN}/continue", *UPDATE, 16, SAVED_ALWAYS),
    "right after a fresh start of the optimiser": (f"{TRAIN}/continue", *UPDATE, 13, SAVED_AFTER_VALIDATIONS),
    "with an average of the weights": (f"{SEED}/train-averaged", *UPDATE, 10, SAVED_ALWAYS),
    "with plain gradient descent": (f"{SEED}/train-sgd", *UPDATE, 10, SAVED_ALWAYS),
}


@pytest.mark.parametrize("moment", INTERRUPTIONS)
def test_an_interrupted_training_ends_with_the_same_tensors(studio, bench, monkeypatch, moment):
    text, owner, name, at, seconds = INTERRUPTIONS[moment]
    reference = studio.make(text)
    parent = chain.parse(text).parent
    workplace = bench(*([str(parent)] if parent else []))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", seconds)
        with interrupted(patch, owner, name, at):
            workplace.make(text)
    assert not (workplace.model(text) / "manifest.json").exists()
    assert_same_training(workplace.make(text), reference)


def test_a_training_killed_at_random_moments(studio, bench):
    """A process of its own, killed by signal 9 whenever it happens to be."""
    reference = studio.make(TRAIN)
    workplace = bench()
    moment = random.Random(2).random()
    process = workplace.start(sys.executable, "-m", "nmtprune", "run", TRAIN)
    state = workplace.model(TRAIN) / "state" / "resume.pt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(moment * 0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_same_training(workplace.make(TRAIN), reference)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(studio, bench):
    reference = studio.make(TRAIN)
    workplace = bench()
    assert_same_training(workplace.make(TRAIN), reference)
    assert not same(
        weights(workplace.make(TRAIN.replace("s1", "s2")) / "initial.pt"), weights(reference / "initial.pt")
    )


def test_deleted_outputs_are_restored_and_not_trained_again(bench, monkeypatch):
    workplace = bench()
    directory = workplace.make(TRAIN)
    before = weights(directory / "model.pt")
    for name in ("model.pt", "last.pt", "initial.pt", "history.csv", "manifest.json"):
        (directory / name).unlink()
    monkeypatch.setattr(loop.Training, "run", None)
    workplace.make(TRAIN)
    assert same(weights(directory / "model.pt"), before)
    assert (directory / "history.csv").exists() and (directory / "initial.pt").exists()


def test_another_recipe_starts_afresh(bench, tmp_path):
    """State of one digest is never gone on with by another."""
    workplace = bench()
    directory = workplace.make(TRAIN)
    own = tmp_path / "own"
    shutil.copytree(MICRO, own)
    recipe = (own / "recipes" / "micro.yaml").read_text()
    (own / "recipes" / "micro.yaml").write_text(recipe.replace("batch_tokens: 500", "batch_tokens: 300"))
    workplace.configure(own=str(own))
    digest, before = manifest(directory)["digest"], weights(directory / "model.pt")
    (directory / "manifest.json").unlink()
    workplace.make(TRAIN)
    assert manifest(directory)["digest"] != digest
    assert not same(weights(directory / "model.pt"), before)


def test_a_training_tells_what_it_did(studio):
    directory = studio.make(TRAIN)
    rows = history(directory)
    assert [row["update"] for row in rows] == ["8", "16", "24"]
    losses = [float(row["dev_nll"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(
        [5e-3, 5e-3 * 0.5**0.5, 5e-3 * (1 / 3) ** 0.5]
    )
    assert all(row["sparsity"] == "" for row in rows)
    found = manifest(directory)
    assert (found["chain"], found["parent"], found["updates"], found["selected_update"]) == (
        TRAIN,
        None,
        24,
        24,
    )
    assert found["wall_seconds"] > 0 and found["versions"]["torch"] == torch.__version__


def test_retraining_keeps_pruned_weights_at_zero_and_trains_the_others(studio):
    for steps_after in ("retrain", "retrain-decayed"):
        directory = studio.make(f"{PRUNE}/{steps_after}")
        masks = checkpoints.read_masks(studio.model(PRUNE) / "mask.pt")
        before, after = weights(studio.model(TRAIN) / "model.pt"), weights(directory / "last.pt")
        for name, mask in masks.items():
            assert not after[name][~mask].any()
            assert (after[name] != before[name])[mask].float().mean() > 0.5
        assert {row["sparsity"] for row in history(directory)} == {history(directory)[0]["sparsity"]}
        assert float(history(directory)[0]["sparsity"]) == pytest.approx(50, abs=0.01)


def test_the_mask_is_half_of_all_prunable_weights_and_embeddings_are_counted_once(studio):
    studio.make(PRUNE)
    found = manifest(studio.model(PRUNE))
    types = json.loads(
        (next((studio / "results/data/micro").glob("sentencepiece*")) / "manifest.json").read_text()
    )["types"]["src"]
    d, ffn = 16, 32
    assert found["prunable"] == types * d + 3 * 4 * d * d + 2 * 2 * d * ffn
    assert found["pruned"] == round(found["prunable"] / 2)


def test_tied_embeddings_stay_tied(studio):
    for text in (TRAIN, RETRAIN, REJUVENATE):
        state = checkpoints.read(studio.make(text) / "model.pt")["model"]
        tied = (
            "encoder.embed_tokens.weight",
            "decoder.embed_tokens.weight",
            "decoder.output_projection.weight",
        )
        assert len({state[name].data_ptr() for name in tied}) == 1


def test_the_parent_competes_at_update_0(studio):
    directory = studio.make(f"{TRAIN}/continue-patient")
    rows, found = history(directory), manifest(directory)
    assert [row["update"] for row in rows] == ["0", "4", "8"]
    assert rows[0]["dev_nll"] == history(studio.model(TRAIN))[-1]["dev_nll"]
    assert (found["updates"], found["selected_update"], found["stopped_early"]) == (8, 0, True)
    assert same(weights(directory / "model.pt"), weights(studio.model(TRAIN) / "model.pt"))
    assert not same(weights(directory / "last.pt"), weights(directory / "model.pt"))


def test_a_training_from_new_weights_has_no_parent_to_compete_with(studio):
    assert history(studio.make(f"{PRUNE}/restart"))[0]["update"] == "8"


def test_a_snapshot_is_the_checkpoint_of_its_update(studio):
    directory = studio.make(f"{TRAIN}/at-50")
    assert checkpoints.read(directory / "model.pt")["optimizer_history"][-1]["num_updates"] == 12
    assert manifest(directory)["updates"] == 12
    assert not same(weights(directory / "model.pt"), weights(studio.model(TRAIN) / "model.pt"))


def first_of(studio, text):
    with studio.inside():
        parsed = chain.parse(text)
        return import_module(f"nmtprune.steps.{parsed.last.kind.module}").beginning(parsed).weights


def test_restart_draws_other_weights_under_the_same_mask(studio):
    from nmtprune.steps import training

    seeds = [
        training.initialisation_seed(chain.parse(text))
        for text in (TRAIN, f"{PRUNE}/restart", f"{PRUNE}/restart/prune-local-60/restart")
    ]
    assert len(set(seeds)) == 3
    directory = studio.make(f"{PRUNE}/restart")
    masks, after = checkpoints.read_masks(studio.model(PRUNE) / "mask.pt"), weights(directory / "last.pt")
    initial = weights(studio.model(TRAIN) / "initial.pt")
    for name, mask in masks.items():
        assert not after[name][~mask].any()
        # 12 updates at these rates move a weight by a few hundredths; another draw is about 0.2 away
        assert (after[name] - initial[name])[mask].abs().mean() > 0.05


def test_a_ticket_begins_with_the_initial_weights(studio):
    studio.make(PRUNE)
    first = first_of(studio, f"{PRUNE}/restart-ticket")
    assert same(
        {n: t for n, t in first.items() if "_float" not in n}, weights(studio.model(TRAIN) / "initial.pt")
    )
    directory = studio.make(f"{PRUNE}/restart-ticket")
    masks, after = checkpoints.read_masks(studio.model(PRUNE) / "mask.pt"), weights(directory / "last.pt")
    for name, mask in masks.items():
        assert not after[name][~mask].any()


def test_late_rewinding_begins_with_the_snapshot_and_trains_it_to_the_end_under_the_mask(studio):
    """Frankle et al. 2020."""
    studio.make(PRUNE)
    text = f"{PRUNE}/restart-at-50"
    early = weights(studio.make(f"{TRAIN}/at-50") / "model.pt")
    assert same({n: t for n, t in first_of(studio, text).items() if "_float" not in n}, early)
    directory = studio.make(text)
    masks, after = checkpoints.read_masks(studio.model(PRUNE) / "mask.pt"), weights(directory / "last.pt")
    for name, mask in masks.items():
        assert not after[name][~mask].any() and not torch.equal(after[name][mask], early[name][mask])
    # `restart` of this recipe has 12 updates, of which 6 are left
    (found,) = {(manifest(directory)["updates"], row["update"]) for row in history(directory)}
    assert found == (6, "6")


def test_a_snapshot_for_late_rewinding_that_is_not_kept_is_told_before_any_job(studio):
    said = r"keeps snapshots of `train` at 50 percent, not at 40"
    with studio.inside(), pytest.raises(UserError, match=said):
        check_chain(studio.config, chain.parse(f"{PRUNE}/restart-at-40"))
    with studio.inside(), pytest.raises(UserError, match="restart: no update is left after 99 percent"):
        studio.config.schedule("micro", "restart-at-99")


def test_rejuvenation_from_zero_begins_with_the_retrained_weights(studio):
    studio.make(RETRAIN)
    first = first_of(studio, f"{RETRAIN}/rejuvenate-zero")
    retrained = weights(studio.model(RETRAIN) / "model.pt")
    assert same({n: t for n, t in first.items() if "_float" not in n}, retrained)


def test_external_rejuvenation_takes_the_baselines_values_at_pruned_positions(studio):
    """Wang et al. 2020, section 2."""
    studio.make(RETRAIN)
    first = first_of(studio, f"{RETRAIN}/rejuvenate-external")
    baseline, retrained = (
        weights(studio.model(TRAIN) / "model.pt"),
        weights(studio.model(RETRAIN) / "model.pt"),
    )
    masks = checkpoints.read_masks(studio.model(PRUNE) / "mask.pt")
    for name, mask in masks.items():
        assert torch.equal(first[name][~mask], baseline[name][~mask])
        assert torch.equal(first[name][mask], retrained[name][mask])
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
    assert len({first[name].data_ptr() for name in tied}) == 1
    untouched = set(retrained) - set(masks) - set(tied)
    assert all(torch.equal(first[name], retrained[name]) for name in untouched)


def test_rejuvenation_frees_the_pruned_weights(studio):
    directory = studio.make(REJUVENATE)
    masks = checkpoints.read_masks(studio.model(PRUNE) / "mask.pt")
    after = weights(directory / "last.pt")
    freed = torch.cat([after[name][~mask] for name, mask in masks.items()])
    assert (freed != 0).float().mean() > 0.5
    assert {row["sparsity"] for row in history(directory)} == {""}


def test_iterated_pruning_is_of_the_rejuvenated_model(studio):
    directory = studio.make(f"{REJUVENATE}/prune-local-50")
    first, second = (
        checkpoints.read_masks(studio.model(text) / "mask.pt")
        for text in (PRUNE, f"{REJUVENATE}/prune-local-50")
    )
    assert sum(int(mask.sum()) for mask in first.values()) == sum(int(mask.sum()) for mask in second.values())
    assert manifest(directory)["parent"] == REJUVENATE
    with studio.inside():
        state = checkpoints.state_of(chain.parse(f"{REJUVENATE}/prune-local-50"))
    assert all(not state[name][~mask].any() for name, mask in second.items())


@pytest.fixture
def seen(monkeypatch):
    """Source and target pieces of every batch that is trained on."""
    batches, plain = [], loop.session.Trainer.train_step

    def train_step(self, samples, *others):
        batches.extend(
            (sample["net_input"]["src_tokens"].tolist(), sample["target"].tolist()) for sample in samples
        )
        return plain(self, samples, *others)

    monkeypatch.setattr(loop.session.Trainer, "train_step", train_step)
    return batches


def test_compared_trainings_see_the_same_batches(bench, seen):
    """A round of retraining and rejuvenation sees the same batches as one training of both lengths.

    Both begin where `train` ended.
    """
    workplace, by_chain = bench(TRAIN, PRUNE), {}
    for text in (f"{TRAIN}/continue", RETRAIN, REJUVENATE, f"{PRUNE}/restart"):
        seen.clear()
        workplace.make(text)
        by_chain[text] = list(seen)
    assert by_chain[f"{TRAIN}/continue"] == by_chain[RETRAIN] + by_chain[REJUVENATE]
    assert by_chain[RETRAIN] != by_chain[REJUVENATE]
    seen.clear()
    workplace.make(f"{SEED}/train-long")
    assert seen[:12] == by_chain[f"{PRUNE}/restart"]  # newly drawn weights begin at the beginning
    assert seen[24:] == by_chain[f"{TRAIN}/continue"]


def test_updates_before_a_training(studio):
    from nmtprune.experiment.footing import updates_before

    round_of_wang = "prune-local-50/retrain/rejuvenate-zero"
    wanted = {
        "train": 0,
        "train/continue": 24,
        f"train/{round_of_wang}": 36,
        f"train/{round_of_wang}/{round_of_wang}": 60,
        "train/continue/continue": 48,
        "train/continue/prune-local-50/restart": 0,
        "train/prune-local-50/restart/prune-local-60/retrain": 12,
        "train/at-50/continue": 12,
        "train/prune-local-50/restart-at-50": 12,
        "train/continue/prune-local-50/restart-at-50/prune-local-60/retrain": 18,
    }
    assert {text: updates_before(studio.config, chain.parse(f"{SEED}/{text}")) for text in wanted} == wanted


def test_a_fresh_start_within_a_training_is_that_of_two_steps(studio):
    """With `reset_after`, optimiser, batches, dropout and selection equal those of two steps, bit by bit."""
    whole = studio.make(f"{TRAIN}/continue")
    parts = studio.make(f"{TRAIN}/continue-fast/continue-slow")
    for name in ("model.pt", "last.pt"):
        assert same(weights(whole / name), weights(parts / name))
    first, second = history(parts.parent), history(parts)
    joined = first + [
        row | {"update": str(int(row["update"]) + 12)} for row in second[1:]
    ]  # less the parent, which was validated before
    assert history(whole) == joined


def test_the_average_of_the_weights_is_marians(bench, monkeypatch):
    """The average is Marian's exponential smoothing without scaling by words.

    It is validated, selected and stored.
    """
    workplace, text, path = bench(), f"{SEED}/train-averaged", []
    plain = loop.Training._update

    def update(self, *arguments):
        done = plain(self, *arguments)
        path.append(
            {name: tensor.detach().clone() for name, tensor in self.trainer.get_model().named_parameters()}
        )
        return done

    monkeypatch.setattr(loop.Training, "_update", update)
    directory = workplace.make(text)
    average = {name: tensor.clone() for name, tensor in weights(directory / "initial.pt").items()}
    for number, now in enumerate(path, 1):
        step = max(0.25, 1 - (number + 0) / (number + 9))
        average = {name: (1 - step) * average[name] + step * now[name] for name in now}
        kept = {12: "snapshots/50.pt", 24: "model.pt"}.get(number)
        if kept:
            shown = weights(directory / kept)
            assert all(torch.allclose(shown[name], average[name], atol=1e-6) for name in average)
            assert not any(torch.equal(shown[name], now[name]) for name in now)
    assert manifest(directory)["selected_update"] == 24
    latest = weights(directory / "last.pt")
    assert all(torch.equal(latest[name], path[-1][name]) for name in latest if name in path[-1])


def test_an_average_under_a_mask_is_exactly_zero_where_the_mask_is():
    from nmtprune.training.average import Average

    weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    average = Average([("w", weight)], 1e-4)
    for value in (2.0, 3.0):
        with torch.no_grad():
            weight[1] = value
        average.update()
    with average.in_place():
        assert weight.tolist() == [0, pytest.approx(1.9 + 9 / 11 * (3 - 1.9))]
    assert weight.tolist() == [0, 3]


@pytest.mark.parametrize("damage", ["missing", "truncated", "something else"])
def test_a_damaged_parent_gives_one_sentence_and_nothing_is_lost(bench, damage):
    workplace = bench(TRAIN)
    model = workplace.model(TRAIN) / "model.pt"
    whole = model.read_bytes()
    if damage == "missing":
        model.unlink()
    else:
        model.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"hello")
    for text in (PRUNE, f"{TRAIN}/continue"):
        with pytest.raises(UserError, match=r"train/model\.pt") as error:
            workplace.make(text)
        assert len(str(error.value).splitlines()) == 1
    model.write_bytes(whole)
    workplace.make(PRUNE)
    assert (workplace.model(PRUNE) / "mask.pt").exists()


def test_a_parent_of_another_shape_gives_one_sentence(bench):
    workplace = bench(TRAIN)
    model = workplace.model(TRAIN) / "model.pt"
    content = checkpoints.read(model)
    content["model"]["decoder.layers.0.fc1.weight"] = torch.ones(3, 3)
    checkpoints.save(content, model)
    with pytest.raises(UserError, match="do not fit") as error:
        workplace.make(f"{TRAIN}/continue")
    assert len(str(error.value).splitlines()) == 1


def test_damaged_state_gives_one_sentence(bench, monkeypatch):
    workplace = bench()
    with interrupted(monkeypatch, *UPDATE, 12):
        workplace.make(TRAIN)
    state = workplace.model(TRAIN) / "state" / "resume.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"resume\.pt is not a whole PyTorch file"):
        workplace.make(TRAIN)


def test_a_mask_is_made_on_the_way_to_what_trains_under_it(studio, bench):
    reference, workplace = studio.make(RETRAIN), bench(TRAIN)
    with workplace.inside():
        run.run(workplace.config, chain.parse(RETRAIN))
    assert_same_training(workplace.model(RETRAIN), reference)
    pruned, before = workplace.model(PRUNE), (workplace.model(RETRAIN) / "manifest.json").stat().st_mtime_ns
    assert manifest(pruned) | {"wall_seconds": 0} == manifest(studio.model(PRUNE)) | {"wall_seconds": 0}
    for gone in (pruned / "mask.pt", pruned / "manifest.json"):
        gone.unlink()
    shutil.rmtree(pruned / "state")
    with workplace.inside():
        run.run(workplace.config, chain.parse(RETRAIN))
    assert same(
        checkpoints.read_masks(pruned / "mask.pt"), checkpoints.read_masks(studio.model(PRUNE) / "mask.pt")
    )
    assert (
        workplace.model(RETRAIN) / "manifest.json"
    ).stat().st_mtime_ns == before  # and nothing is trained again


def test_a_model_whose_parent_is_not_there(bench):
    workplace = bench()
    with (
        workplace.inside(),
        pytest.raises(UserError, match=r"there is no .*train/manifest\.json: make it first"),
    ):
        run.run(workplace.config, chain.parse(PRUNE))


def test_two_processes_never_work_on_one_directory(studio, bench):
    """A training that outlived its workflow, and its successor: one waits for the other and finds it done."""
    reference = studio.make(TRAIN)
    workplace = bench()
    both = [workplace.start(sys.executable, "-m", "nmtprune", "run", TRAIN) for _ in range(2)]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(output.count("update 24: dev perplexity") for output in outputs) == [0, 1]
    assert sum("another process works on" in output for output in outputs) <= 1
    assert_same_training(workplace.model(TRAIN), reference)


@pytest.fixture
def half_precision(monkeypatch):
    """fairseq's half precision on a CPU, which needs of CUDA only the number of the device."""
    monkeypatch.setattr(precision, "decide", lambda asked, device, architecture: precision.Precision(asked))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_half_precision_needs_a_gpu(bench):
    with pytest.raises(UserError, match="precision: `fp16` needs a GPU"):
        bench().make(f"{SEED}/train-half")


def test_half_precision_holds_masks_and_resumes(studio, bench, monkeypatch, half_precision):
    text = f"{SEED}/train-half"
    reference = studio.make(text)
    rows = history(reference)
    assert float(rows[-1]["dev_nll"]) < float(rows[0]["dev_nll"])
    kept = weights(reference / "model.pt")["encoder.layers.0.fc1.weight"]
    assert kept.dtype == torch.float32 and torch.equal(
        kept, kept.half().float()
    )  # trained in half precision, kept in single
    workplace = bench()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
        with interrupted(patch, *UPDATE, 7):
            workplace.make(text)
    assert_same_training(workplace.make(text), reference)
    pruned = workplace.make(f"{text}/prune-local-50/retrain-half")
    masks, after = checkpoints.read_masks(pruned.parent / "mask.pt"), weights(pruned / "last.pt")
    assert all(not after[name][~mask].any() for name, mask in masks.items())


def test_half_precision_saves_its_master_weights_and_loss_scale(studio, half_precision):
    """What a resumed training needs beside the rounded weights."""
    from nmtprune.fairseq_bridge import arguments, session
    from nmtprune.steps import training

    with studio.inside():
        config, parsed = studio.config, chain.parse(f"{SEED}/train-half")
        data = arguments.of_data(paths.binarised(config.data_folder(parsed)), "src", "tgt")
        architecture = arguments.of_architecture(config.recipe("micro").architecture)

        def trainer(seed):
            cfg = session.configuration(architecture, config.schedule("micro", "train-half"), data, 1, "cpu")
            return session.start(cfg, seed)

        one, two = trainer(training.initialisation_seed(parsed)), trainer(5)
        masters = one.optimizer.fp32_params
        first = (masters if isinstance(masters, list) else list(masters.values()))[0]
        first = first[0] if isinstance(first, list) else first
        with torch.no_grad():
            first.view(-1)[0] = 0.123456789  # finer than half precision
        one.optimizer.scaler.loss_scale, one.optimizer.scaler._iter = 64.0, 17
        session.load_optimizer_state(two, session.optimizer_state(one), 9)
        restored = two.optimizer.fp32_params
        restored = (restored if isinstance(restored, list) else list(restored.values()))[0]
        restored = restored[0] if isinstance(restored, list) else restored
        assert torch.equal(restored, first)
        assert (two.optimizer.scaler.loss_scale, two.optimizer.scaler._iter) == (64.0, 17)
        assert two.get_num_updates() == 9


STILL = "micro/micro-still/s1/train"  # no dropout
LAUNCHER = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "nmtprune",
]


@pytest.mark.parametrize(
    "steps",
    ["prune-local-50/retrain-accumulated", "lasso-ffn+att-both-1-accumulated", "continue-accumulated"],
)
def test_two_workers_train_as_one_that_accumulates(studio, bench, steps):
    """With `workers: 2`, gloo trains on the same batches, with the same losses, masks and penalties.

    Fresh optimisers half-way through `continue` are the same as well.
    """
    alone, workplace = studio.make(f"{STILL}/{steps}"), bench(STILL)  # the mask is made by the launcher
    workplace.configure(workers=2)
    done = workplace.nmtprune("run", f"{STILL}/{steps}")
    assert done.returncode == 0, done.stderr[-2000:]
    together = workplace.model(f"{STILL}/{steps}")
    assert manifest(together)["digest"] == manifest(alone)["digest"]
    assert_same_losses(history(together), history(alone))
    ours, theirs = weights(together / "last.pt"), weights(alone / "last.pt")
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-4) for name in theirs)
    if "/" in steps:
        assert [row["update"] for row in history(together)] == ["0", "8", "12"]
        masks = checkpoints.read_masks(together.parent / "mask.pt")
        assert all(not ours[name][~mask].any() for name, mask in masks.items())
    elif "lasso" in steps:
        assert [float(row["penalty"]) for row in history(together)] == pytest.approx(
            [float(row["penalty"]) for row in history(alone)], rel=1e-4
        )


def test_a_training_goes_on_with_another_number_of_workers(studio, bench, monkeypatch):
    chain = f"{STILL}/lasso-ffn+att-both-1-accumulated"
    alone, workplace = studio.make(chain), bench(STILL)
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
    with interrupted(monkeypatch, *UPDATE, 6):
        workplace.make(chain)
    workplace.configure(workers=2)
    done = workplace.nmtprune("run", chain)
    assert done.returncode == 0 and "resumed at update 5" in done.stdout, done.stderr[-2000:]
    assert_same_losses(history(workplace.model(chain)), history(alone))


def assert_same_losses(together, alone):
    assert [row["update"] for row in together] == [row["update"] for row in alone]
    for key in ("dev_nll", "dev_loss", "train_nll"):
        ours, theirs = ([float(row[key]) for row in rows if row[key]] for rows in (together, alone))
        assert len(ours) > 1 and ours == pytest.approx(theirs, rel=1e-4)


def test_workers_that_cannot_share_out_an_update_are_named(bench):
    workplace = bench(f"{STILL}/prune-local-50")
    done = workplace.run(*LAUNCHER, "run", f"{STILL}/prune-local-50/retrain")
    assert done.returncode != 0
    assert "workers: 2 cannot share out the 1 batches of an update (`accumulate`) evenly" in done.stderr
