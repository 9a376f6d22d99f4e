"""Mixed precision: which precision is used where, correct training in bfloat16, and messages about it."""

import json
import re
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from support.training import (
    SAVED_ALWAYS,
    UPDATE,
    assert_same_training,
    history,
    interrupted,
    manifest,
    weights,
)
from support.workplace import MICRO
from torch.utils._python_dispatch import TorchDispatchMode

from nmtprune.experiment import chain, config, paths, slices
from nmtprune.experiment.run import Run
from nmtprune.fairseq_bridge import arguments, precision, session
from nmtprune.fairseq_bridge.precision import Precision, decide
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json
from nmtprune.measurements.measurements import Measured
from nmtprune.planning import calibration, status
from nmtprune.pruning.slicing import head_size
from nmtprune.reporting import captions
from nmtprune.steps import training
from nmtprune.store import checkpoints
from nmtprune.training import loop, masks
from nmtprune.training.penalties import GroupLasso

RUN = config.from_settings({"own": str(MICRO), "device": "cpu"})
KINDS = ["micro", "micro-student", "micro-student-attention", "micro-lightconv"]
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
MIXED = "micro/micro-mixed/s1"
STUDENTS = (
    "micro-student-still-mixed",
    "micro-student-still",
)  # without dropout, of which mixed precision draws more
AUTO = "micro/micro-auto/s1/train"
NATIVE = Precision("bf16", autocast=True)


@pytest.fixture
def processor(monkeypatch):
    """A function that says whether the processor multiplies bfloat16 numbers itself."""

    def able(native, lstm=False):
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: native)
        monkeypatch.setattr(precision, "_trains_lstm", lambda device: lstm)

    return able


# --- what is decided


@pytest.mark.parametrize(
    ("asked", "device", "native", "expected"),
    [
        ("fp32", "cpu", True, Precision("fp32")),
        ("fp32", "cuda", True, Precision("fp32")),
        ("bf16", "cpu", True, NATIVE),
        ("bf16", "cpu", False, Precision("bf16", True, "this processor emulates bfloat16, which is slow")),
        ("auto", "cpu", True, NATIVE),
        ("auto", "cpu", False, Precision("fp32", False, "this processor has no instructions for bfloat16")),
        ("auto", "cuda", True, NATIVE),
        ("auto", "cuda", False, Precision("fp32", False, "this GPU has no instructions for bfloat16")),
        ("bf16", "cuda", True, Precision("bf16")),  # fairseq's own
        ("fp16", "cuda", False, Precision("fp16")),
    ],
)
def test_what_is_used_of_what_is_asked_for(processor, asked, device, native, expected):
    processor(native)
    assert decide(asked, device, "transformer") == expected


def test_fp16_on_a_cpu_is_refused_in_a_sentence():
    with pytest.raises(
        UserError,
        match=r"^precision: `fp16` needs a GPU \(device: cuda\); on the CPU use fp32, bf16 or auto$",
    ):
        decide("fp16", "cpu", "transformer")


@pytest.mark.parametrize("asked", ["bf16", "auto"])
def test_an_lstm_trains_in_bfloat16_only_where_there_are_kernels_for_it(processor, asked):
    processor(True, lstm=True)
    assert decide(asked, "cpu", "nmtprune_lstm") == NATIVE
    assert decide(asked, "cpu", "lstm_luong_wmt_en_de").used == "fp32"
    processor(True, lstm=False)
    assert decide(asked, "cpu", "nmtprune_lstm") == Precision(
        "fp32", False, "PyTorch has no kernels here that train an LSTM in bfloat16"
    )


def test_whether_an_lstm_can_be_trained_is_tried_out_and_leaves_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert precision._trains_lstm.__wrapped__("cpu") in (True, False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("able", "native"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"amx_tile": True}, False),
        ({"neon": True, "bf16": True}, True),
        ({"neon": True, "bf16": False}, False),
    ],
)
def test_a_processor_multiplies_bfloat16_by_its_instructions(monkeypatch, able, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert precision.multiplies_bfloat16.__wrapped__("cpu") is native
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision.multiplies_bfloat16.__wrapped__("cpu") is False


def test_the_small_recipes_say_auto_and_no_others():
    """`tiny-...` do; toy's and the papers' own say nothing, so that their identities stay."""
    shipped = config.from_settings({})
    whole = [
        name
        for name in shipped.library.names("recipes")
        if name not in ("transformer", "student", "tiny-student", "toy-student")
    ]
    asked = {
        name: {shipped.schedule(name, each).precision for each in shipped.recipe(name).schedules}
        for name in whole
    }
    small = {
        "tiny-192",
        "tiny-128",
        "tiny-96",
        "tiny-64",
        "tiny-32",
        "tiny-lightconv",
        "tiny-lstm",
        "tiny-lstm-small",
        "tiny-rnnsearch",
    }
    small |= {f"tiny-6-6{kind}" for kind in ("", "-deep", "-shallow", "-wide", "-layerdrop", "-sublayerdrop")}
    small |= {f"tiny-6-6-dropout{tenths}" for tenths in (0, 3, 5)}
    small |= {
        f"tiny-student-{kind}"
        for kind in ("6-2", "6-2-ffn72", "6-2-ffn288", "12-1", "12-1-ffn288", "12-1-heads4")
    }
    assert {name for name, said in asked.items() if said == {"auto"}} == small
    assert all(said == {"fp32"} for name, said in asked.items() if name not in small)


# --- what is computed in which precision


def trainer_of(studio, recipe, asked, **schedule):
    """A trainer of a micro model without dropout, and the groups of batches of its first epoch."""
    with studio.inside():
        run = studio.config
        settings = run.schedule(recipe, "train").altered(precision=asked, **schedule)
        data = arguments.of_data(
            paths.binarised(run.data_folder(chain.parse(f"micro/{recipe}/s1/train"))), "src", "tgt"
        )
        architecture = run.recipe(recipe).architecture.altered(dropout=0.0)
        cfg = session.configuration(arguments.of_architecture(architecture), settings, data, 1, "cpu")
        assert not cfg.common.bf16 and not cfg.common.fp16  # which on a CPU would mean a TPU
        trainer = session.start(cfg, 1)
        trainer.autocast = decide(asked, "cpu", architecture.name).autocast
        batches = trainer.get_train_iterator(epoch=1, load_dataset=True)
        session.load_development_set(trainer)
        groups = list(session.GroupedIterator(batches.next_epoch_itr(shuffle=True), settings.accumulate))
        trainer.begin_epoch(1)
    return trainer, groups


def update(trainer, samples):
    trainer.optimizer.set_lr(5e-3)  # fairseq's own schedule sets another one after each update
    return trainer.train_step(samples)


class Watch(TorchDispatchMode):
    """Which operations saw which types of floating-point numbers, and how often each parameter was cast."""

    def __init__(self, model):
        super().__init__()
        self.types, self.casts = defaultdict(set), defaultdict(int)
        self._parameters = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        name = function.overloadpacket.__name__
        flat = [part for each in arguments for part in (each if isinstance(each, (list, tuple)) else [each])]
        self.types[name] |= {
            part.dtype for part in flat if torch.is_tensor(part) and part.is_floating_point()
        }
        if (
            name == "_to_copy"
            and (cast := self._parameters.get(arguments[0].data_ptr()))
            and result.dtype == torch.bfloat16
        ):
            self.casts[cast] += 1
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_in_bfloat16_and_everything_else_that_matters_in_single_precision(studio, kind):
    trainer, groups = trainer_of(studio, kind, "bf16", accumulate=2, clip_norm=1.0)
    held = {
        name: torch.ones_like(each, dtype=torch.bool)
        for name, each in trainer.get_model().named_parameters()
        if each.dim() == 2
    }
    masks.hold(trainer.get_model(), held)  # hooks on gradients do not make PyTorch cast a weight again
    update(trainer, groups[0])
    with Watch(trainer.get_model()) as seen:
        update(trainer, groups[1])
    single, half = {torch.float32}, {torch.bfloat16}
    for name in (
        "native_layer_norm",
        "native_layer_norm_backward",
        "_softmax",
        "_fused_adamw_",
        "_foreach_norm",
        "_foreach_mul_",
    ):
        assert seen.types[name] == single, name
    assert set().union(*(seen.types[name] for name in PRODUCTS)) == half
    # two batches an update, forward and backward, and each weight is cast once; a Transformer's queries, keys
    # and values side by side
    assert seen.casts and set(seen.casts.values()) == {1}
    side_by_side = () if kind == "micro-lightconv" else ("q_proj.weight", "k_proj.weight", "v_proj.weight")
    weights = {
        name for name, parameter in trainer.get_model().named_parameters() if name.endswith("_proj.weight")
    }
    matrices = {name for name in weights if not name.endswith(side_by_side)}
    assert matrices and matrices <= set(seen.casts)
    for parameter in trainer.get_model().parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or parameter.grad.dtype == torch.float32
    moments = [
        value
        for each in trainer.optimizer.optimizer.state.values()
        for value in each.values()
        if torch.is_tensor(value)
    ]
    assert moments and {moment.dtype for moment in moments} == single


def test_the_loss_and_its_penalty_are_in_single_precision(studio):
    trainer, groups = trainer_of(studio, "micro-student", "bf16")
    with torch.no_grad():
        loss, _, log = trainer.criterion(trainer.model, groups[0][0])
    assert loss.dtype == log["nll_loss"].dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("scaled", ["sqrt", "none"])
@pytest.mark.parametrize("groups", ["ffn+att", "blocks8"])
def test_the_penalty_does_not_depend_on_autocast(studio, groups, scaled):
    trainer, _ = trainer_of(studio, "micro-student-attention", "fp32")
    parameters = dict(trainer.get_model().named_parameters())
    lasso = GroupLasso(
        parameters, groups, "both", head_size(checkpoints.options_by_name(trainer.cfg.model)), scaled
    )

    def value_and_gradients(autocast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = lasso.value()
        return [value, *torch.autograd.grad(value, [each.weight for each in lasso.sets])]

    inside, outside = value_and_gradients(True), value_and_gradients(False)
    assert inside[0].dtype == torch.float32
    assert all(torch.equal(one, other) for one, other in zip(inside, outside, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_models_learn_in_bfloat16_what_they_learn_in_single_precision(studio, kind):
    losses, gradients = {}, {}
    for asked in ("fp32", "bf16"):
        trainer, groups = trainer_of(studio, kind, asked)
        update(trainer, groups[0])
        gradients[asked] = torch.cat(
            [
                parameter.grad.flatten()
                for parameter in trainer.get_model().parameters()
                if parameter.grad is not None
            ]
        )
        for samples in groups[1:12]:
            update(trainer, samples)
        loss, nll, tokens = session.validation_nll(trainer)
        losses[asked] = torch.tensor([loss, nll]) / tokens
    assert not torch.equal(losses["fp32"], losses["bf16"])
    assert losses["bf16"].tolist() == pytest.approx(losses["fp32"].tolist(), rel=2e-3)
    assert (gradients["bf16"] - gradients["fp32"]).norm() < 0.02 * gradients[
        "fp32"
    ].norm()  # eight bits of a number are 0.004


# --- whole trainings


def test_masks_hold_and_an_interrupted_training_ends_with_the_same_tensors(studio, bench, monkeypatch):
    text = f"{MIXED}/train/prune-local-50/retrain"
    reference = studio.make(text)
    workplace = bench(f"{MIXED}/train")
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
    with interrupted(monkeypatch, *UPDATE, 7):
        workplace.make(text)
    assert_same_training(workplace.make(text), reference)
    assert manifest(reference)["precision"] == manifest(workplace.model(text))["precision"] == "bf16"
    assert {row["precision"] for row in history(reference)} == {"bf16"}
    kept, before = (
        checkpoints.read_masks(reference.parent / "mask.pt"),
        weights(studio.model(f"{MIXED}/train") / "model.pt"),
    )
    for name in ("model.pt", "last.pt"):
        after = weights(workplace.model(text) / name)
        assert {tensor.dtype for tensor in after.values() if tensor.is_floating_point()} == {torch.float32}
        assert all(not after[name][~mask].any() for name, mask in kept.items())
    last = weights(reference / "last.pt")
    assert all(not torch.equal(last[name][mask], before[name][mask]) for name, mask in kept.items())


def test_a_lasso_and_fine_tuning_in_bfloat16_end_where_they_do_in_single_precision(studio):
    """The lasso's history has the norms of the final weights.

    In fine-tuning, unrounded weights are restored before each step of the optimiser.
    """
    steps = "train-pretrain/lasso-ffn-both-25"
    mixed, single = (studio.make(f"micro/{recipe}/s1/{steps}") for recipe in STUDENTS)
    last, left = history(mixed)[-1], weights(mixed / "last.pt")
    assert float(last["penalty"]) == pytest.approx(
        float(GroupLasso(left, "ffn", "both", 4).value()), rel=1e-6
    )
    assert float(last["penalty"]) == pytest.approx(float(history(single)[-1]["penalty"]), rel=0.01)
    tuned, tuned_single = (
        history(studio.make(f"micro/{recipe}/s1/{steps}/int8-onnx/finetune")) for recipe in STUDENTS
    )
    assert len(tuned) == len(tuned_single) > 1
    assert [float(row["dev_nll"]) for row in tuned] == pytest.approx(
        [float(row["dev_nll"]) for row in tuned_single], rel=2e-3
    )
    assert {row["precision"] for row in tuned} == {"bf16"}


def test_two_workers_train_in_bfloat16_as_one_that_accumulates(studio, bench):
    still = "micro/micro-mixed-still/s1/train"
    text = f"{still}/prune-local-50/retrain-accumulated"
    alone, workplace = studio.make(text), bench(still)
    workplace.configure(workers=2)
    done = workplace.nmtprune("run", text)
    assert done.returncode == 0, done.stderr[-2000:]
    together = workplace.model(text)
    assert manifest(together)["precision"] == manifest(alone)["precision"] == "bf16"
    ours, theirs = weights(together / "last.pt"), weights(alone / "last.pt")
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-3) for name in theirs)
    for key in ("dev_nll", "train_nll"):
        one, other = (
            [float(row[key]) for row in history(folder) if row[key]] for folder in (together, alone)
        )
        assert len(one) > 1 and one == pytest.approx(other, rel=1e-3)
    kept = checkpoints.read_masks(together.parent / "mask.pt")
    assert all(not ours[name][~mask].any() for name, mask in kept.items())


def begun_on(processor, native, workplace, monkeypatch):
    """A training of 24 updates in auto precision, interrupted after 10 of them."""
    processor(native)
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
    with interrupted(monkeypatch, *UPDATE, 11):
        workplace.make(AUTO)


def test_a_training_goes_on_in_single_precision_on_a_machine_without_bfloat16(
    bench, processor, monkeypatch, capsys
):
    workplace = bench()
    begun_on(processor, True, workplace, monkeypatch)
    processor(False)
    capsys.readouterr()
    made = workplace.make(AUTO)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("training in ")]
    assert said == [
        "training in fp32 from update 11 on, after bf16: this processor has no instructions for bfloat16"
    ]
    assert manifest(made)["precision"] == "bf16, fp32 from update 11"
    assert [(row["update"], row["precision"]) for row in history(made)] == [
        ("8", "bf16"),
        ("16", "fp32"),
        ("24", "fp32"),
    ]
    with workplace.inside():
        assert Measured(workplace.config).trained_precision(chain.parse(AUTO)) == "bf16, fp32 from update 11"


def test_a_training_that_began_in_single_precision_stays_in_it(bench, processor, monkeypatch):
    workplace = bench()
    processor(False)
    reference = workplace.make(AUTO)
    whole = {name: weights(reference / name) for name in ("model.pt", "last.pt")}
    (reference / "manifest.json").unlink()
    for part in ("digest", "outputs/manifest.json"):
        (reference / "state" / part).unlink()
    begun_on(processor, False, workplace, monkeypatch)
    processor(True)
    made = workplace.make(AUTO)
    assert manifest(made)["precision"] == "fp32" and {row["precision"] for row in history(made)} == {"fp32"}
    for name, tensors in whole.items():
        after = weights(made / name)
        assert all(torch.equal(after[key], tensors[key]) for key in tensors)


def test_half_precision_of_a_gpu_cannot_go_on_elsewhere(studio):
    trainer, _ = trainer_of(studio, "micro", "bf16")
    saved = session.optimizer_state(trainer) | {"masters": {"cuda:0": torch.zeros(3)}}
    with pytest.raises(UserError, match="half precision cannot change its device: continue it there"):
        session.load_optimizer_state(trainer, saved, 1)


def test_the_digest_holds_what_is_asked_for_and_not_what_is_used(workplace, processor):
    of_runs = []
    for native in (True, False):
        processor(native)
        of_runs.append(slices.of_step(RUN, chain.parse(AUTO)))
    assert of_runs[0] == of_runs[1] and of_runs[0]["schedule"]["precision"] == "auto"


# --- what is said of it


def pretend(address, used=None, **facts):
    write_json(paths.manifest(chain.parse(address)), facts | ({"precision": used} if used else {}))


def test_the_precision_of_a_model_is_that_of_all_its_trainings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pretend("micro/micro/s1/train", "bf16")
    pretend("micro/micro/s1/train/continue", "bf16")
    pretend("micro/micro/s1/train/prune-local-50")
    pretend("micro/micro/s1/train/prune-local-50/retrain", "fp32")
    pretend("micro/micro/s2/train", slice={"schedule": {"precision": "fp16"}})  # by an older version
    pretend("micro/micro/s3/train", slice={"schedule": {}})
    measured = Measured(RUN)
    found = {
        address: measured.trained_precision(chain.parse(f"micro/micro/{address}"))
        for address in (
            "s1/train",
            "s1/train/continue",
            "s1/train/prune-local-50/retrain",
            "s2/train",
            "s3/train",
            "s4/train",
        )
    }
    assert list(found.values()) == ["bf16", "bf16", "bf16 and fp32", "fp16", "fp32", None]


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"A": "fp32", "B": "fp32"}, []),
        ({"A": None, "B": "fp32"}, []),
        ({"A": None}, []),
        ({"A": "bf16", "B": None}, ["Trained in bfloat16 (mixed precision)."]),
        (
            {"A": "bf16", "B": "fp32", "C": "bf16"},
            ["Trained in bfloat16 (mixed precision); in single precision: B."],
        ),
        (
            {"A": "bf16, fp32 from update 401", "B": "bf16 and fp32", "C": "bf16 and fp32"},
            [
                "Trained in bfloat16 (mixed precision) and single precision; "
                "in bfloat16 (mixed precision), single precision from update 401: A."
            ],
        ),
    ],
)
def test_captions_say_the_precision_and_which_rows_differ(used, said):
    item = SimpleNamespace(rows=[SimpleNamespace(name=name, chains=[name]) for name in used])
    assert captions._precision(item, SimpleNamespace(trained_precision=used.get)) == said


def test_status_says_in_which_precision_trainings_compute(tmp_path, monkeypatch, processor):
    monkeypatch.chdir(tmp_path)
    text = f"{AUTO}/prune-local-50/retrain"
    settings = {"own": str(MICRO), "device": "cpu", "papers": [], "name": "mine", "controls": False}
    run = config.from_settings({**settings, "chains": [text]})
    write_json(run.data_folder(chain.parse(AUTO)) / paths.MANIFEST, {"digest": "data"})
    processor(False)
    assert (
        "training precision: 2 to come in fp32 (this processor has no instructions for bfloat16)"
        in status.status(Run(run)).splitlines()
    )
    pretend(AUTO, "bf16", digest=status.manifest.digest_of(run, chain.parse(AUTO)))
    processor(True)
    assert "training precision: 1 in bf16, 1 to come in bf16" in status.status(Run(run)).splitlines()
    plain = config.from_settings({**settings, "chains": ["micro/micro/s1/train"]})
    assert "precision" not in status.status(Run(plain))


def test_what_was_measured_in_bfloat16_is_not_the_cost_of_single_precision(tmp_path, monkeypatch, processor):
    from support.jobs import job_of, record

    from nmtprune.planning.estimates import Estimates

    monkeypatch.chdir(tmp_path)
    record(AUTO.replace("s1", "s2"), 24, seconds=5.0, cpu=4.0)
    file = paths.manifest(chain.parse(AUTO.replace("s1", "s2")))
    write_json(file, json.loads(file.read_text()) | {"precision": "bf16"})
    costs, identities = {}, {}
    for native in (True, False):
        processor(native)
        costs[native] = Estimates(RUN).cost(job_of(AUTO, rule="train"))
        identities[native] = calibration.identity(RUN, chain.parse(AUTO), False, 20.0)
    assert costs[True].seconds == pytest.approx(4.0) and costs[False] is None
    assert (
        identities[False]
        == calibration.identity(RUN, chain.parse("micro/micro/s1/train"), False, 20.0)
        != identities[True]
    )


def test_the_schedules_of_initial_weights_do_not_depend_on_precision():
    """Models that are compared begin with the same weights and see the same batches."""
    one, other = chain.parse("micro/micro/s1/train"), chain.parse(AUTO)
    assert training.initialisation_seed(one) == training.initialisation_seed(other)
    assert training.order_seed(one) == training.order_seed(other)


def test_the_documentation_names_every_precision():
    page = (MICRO.parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert re.search(r"\| `precision` \| `fp32`, `fp16`, `bf16`, `auto` \| `\"fp32\"` \|", page)
