"""Chains: what is printed can be read again, and which step may follow which."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.experiment import chain
from nmtprune.experiment.components import KINDS
from nmtprune.experiment.step_kinds import GROUPS, SCHEMES, STEP_KINDS, WHERE
from nmtprune.foundation.errors import UserError

percents = st.one_of(
    st.integers(1, 99).map(str),
    st.integers(1, 999).filter(lambda n: n % 10).map(lambda n: f"{n // 10}.{n % 10}"),
)
variants = st.sampled_from(["", "-long", "-long-2"])
DENSE_TO_SPARSE = st.builds("prune-{}-{}".format, st.sampled_from(SCHEMES), percents)
LAMBDAS = st.one_of(percents, st.sampled_from(["0", "150"]))
TO_SPARSITY = st.builds("to{}".format, percents)  # of hidden units, which blocks are not
LASSO = st.one_of(
    st.builds("lasso-{}-{}-{}{}".format, st.sampled_from(GROUPS), st.sampled_from(WHERE), LAMBDAS, variants),
    st.builds(
        "lasso-{}-{}-{}{}".format, st.sampled_from(GROUPS[:3]), st.sampled_from(WHERE), TO_SPARSITY, variants
    ),
)
COMPONENTS = st.builds("{}.{}".format, st.sampled_from(list(KINDS)), st.integers(1, 12))
ABLATE = st.builds(
    "ablate-{}".format, st.lists(COMPONENTS, min_size=1, max_size=4, unique=True).map("+".join)
)
DROP = st.builds("drop-{}{}".format, st.integers(1, 30), variants)
CUT = st.builds("cut-{}{}".format, st.integers(1, 30), variants)
REWIND = st.builds("rewind-{}{}".format, st.integers(1, 30), variants)
TO_INT8 = st.sampled_from(["int8-ctranslate2", "int8-onnx"])
FROM_DENSE = st.one_of(
    st.builds("continue{}".format, variants),
    st.builds("converge{}".format, variants),
    LASSO,
    TO_INT8,
    st.just("slice"),
    DENSE_TO_SPARSE,
    ABLATE,
    CUT,
)
OPTIONS = {
    "dense": st.one_of(FROM_DENSE, DROP, REWIND),
    "sliced": st.one_of(FROM_DENSE, st.just("restart")),
    "quantised": st.builds("finetune{}".format, variants),
    "sparse": st.one_of(
        st.builds("retrain{}".format, variants),
        st.sampled_from(["rejuvenate-zero", "rejuvenate-external", "restart", "restart-ticket"]),
        st.builds("restart-at-{}".format, percents),
        DENSE_TO_SPARSE,
        ABLATE,
        TO_INT8,
    ),
}


def not_refused(step, steps):
    """CTranslate2 does not run layers that lack sub-layers."""
    return step != "int8-ctranslate2" or not any(each.startswith(("cut", "drop")) for each in steps)


@st.composite
def texts(draw):
    steps, form = [draw(st.builds("train{}".format, variants))], "dense"
    for _ in range(draw(st.integers(0, 8))):
        step = draw(OPTIONS[form].filter(lambda step: not_refused(step, steps)))
        steps.append(step)
        form = chain.parse_step(step).kind.leaves or form
        if chain.parse_step(step).kind.trains and draw(st.booleans()):
            steps.append(f"at-{draw(percents)}")
            break
    return f"toy/tiny/s{draw(st.integers(0, 999))}/{'/'.join(steps)}"


@given(texts())
def test_what_is_read_is_what_is_printed(text):
    read = chain.parse(text)
    assert str(read) == text
    assert chain.parse(str(read)) == read
    ancestors = [str(each) for each in read.ancestors()]
    assert ancestors[0] == text and len(ancestors) == len(read.steps)
    assert all(child.startswith(parent + "/") for child, parent in pairwise(ancestors))


def test_the_parts_of_a_chain():
    read = chain.parse("toy/toy-big/s7/train-short/prune-local-12.5/retrain-long")
    assert (read.task, read.recipe, read.seed, read.form) == ("toy", "toy-big", 7, "sparse")
    assert read.root.schedule == "train-short"
    assert read.last.schedule == "retrain-long"
    assert (read.parent.last["scheme"], read.parent.last["percent"]) == ("local", "12.5")
    assert read.parent.last.kind.selects and not read.parent.last.kind.trains


STEPS = {
    "train": "train",
    "import": "import-mine",
    "continue": "continue",
    "prune": "prune-global-50",
    "retrain": "retrain",
    "rejuvenate": "rejuvenate-zero",
    "restart": "restart",
    "lasso": "lasso-ffn+att-enc-0.15",
    "slice": "slice",
    "converge": "converge",
    "int8": "int8-onnx",
    "finetune": "finetune",
    "ablate": "ablate-D.SA.1+E.FF.2",
    "rewind": "rewind-7",
    "drop": "drop-7",
    "cut": "cut-7",
    "at": "at-50",
}
ON_WHOLE_MATRICES = {"continue", "prune", "lasso", "slice", "converge", "int8", "ablate", "cut"}
ON_DENSE = ON_WHOLE_MATRICES | {"rewind", "drop"}
ON_MASKED = {"prune", "ablate", "retrain", "rejuvenate", "restart", "int8"}
# chains that end in each kind of step, and the kinds that may follow
FOLLOWS = {
    "train": ON_DENSE | {"at"},
    "import-mine": ON_DENSE - {"rewind"},
    "train/continue": ON_DENSE | {"at"},
    "train/prune-local-50": ON_MASKED,
    "train/prune-local-50/retrain": ON_MASKED | {"at"},
    "train/prune-local-50/retrain/rejuvenate-zero": ON_DENSE | {"at"},
    "train/prune-local-50/restart": ON_MASKED | {"at"},
    "train/ablate-D.SA.1": ON_MASKED,
    "train/ablate-D.SA.1/retrain": ON_MASKED | {"at"},
    "train/at-50": ON_DENSE,
    "train/prune-local-50/retrain/at-50": ON_MASKED,
    "train/drop-7": ON_WHOLE_MATRICES | {"restart", "at"},
    "train/cut-7": ON_WHOLE_MATRICES | {"restart", "at"},
    "train/rewind-7": ON_DENSE | {"at"},
    "train-pretrain/lasso-ffn-both-0.3": ON_DENSE | {"at"},
    "train-pretrain/lasso-ffn-both-0.3/slice": ON_WHOLE_MATRICES | {"restart"},
    "train-pretrain/lasso-ffn-both-0.3/slice/converge": ON_WHOLE_MATRICES | {"restart", "at"},
    "train-pretrain/lasso-ffn-both-0.3/slice/restart": ON_WHOLE_MATRICES | {"restart", "at"},
    "train/slice/int8-onnx": {"finetune"},
    "train/slice/int8-onnx/finetune": {"finetune", "at"},
}


@pytest.mark.parametrize("kind", STEP_KINDS)
@pytest.mark.parametrize("before", FOLLOWS)
def test_what_may_follow_what(before, kind):
    text = f"{before}/{STEPS[kind]}"
    if kind in FOLLOWS[before]:
        assert "/".join(map(str, chain.parse_steps(text))) == text
    else:
        with pytest.raises(UserError, match=re.escape(STEPS[kind])):
            chain.parse_steps(text)


def test_every_kind_is_in_the_table():
    assert set(STEPS) == set(STEP_KINDS)


@pytest.mark.parametrize("text", ["50", "12.5", "0.1", "99.9", "5", "33.333"])
def test_percentages_in_their_one_spelling(text):
    assert chain.parse_step(f"prune-local-{text}")["percent"] == text


@pytest.mark.parametrize("text", ["050", "50.0", "12.50", ".5", "5.", "1e1", "+5", "50%", "1_0", "٥٠"])
def test_other_spellings_of_percentages_are_refused(text):
    with pytest.raises(UserError, match="percentage"):
        chain.parse_step(f"prune-local-{text}")


@pytest.mark.parametrize("text", ["0", "100", "120"])
def test_percentages_lie_between_0_and_100(text):
    with pytest.raises(UserError, match=f"{text} percent is not between 0 and 100"):
        chain.parse_step(f"prune-local-{text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prun-local-50", r"unknown step `prun-local-50`; did you mean `prune`\?"),
        ("retrian", r"unknown step `retrian`; did you mean `retrain`\?"),
        ("prune-locl-50", r"unknown scheme `locl`; did you mean `local`\?"),
        ("prune-50", r"a scheme and a percentage are needed \(prune-<scheme>-<percent>\[-<class>\]\)"),
        ("rejuvenate-zeros", r"unknown initialisation `zeros`; did you mean `zero`\?"),
        ("restart-tickets", r"unknown weights `tickets`; did you mean `ticket`\?"),
        ("restart-at", "one percentage is needed after `at`"),
        ("restart-at-0", "0 percent is not between 0 and 100"),
        ("restart-at-4-long", "one percentage is needed after `at`"),
        ("import", "a name is missing"),
        ("at", "one percentage is needed"),
        ("at-10-20", "one percentage is needed"),
        (
            "lasso-ffn-both",
            r"groups, a place and a lambda are needed \(lasso-<groups>-<where>-<lambda>\[-<schedule>\]\)",
        ),
        ("lasso-fnn-both-0.3", r"unknown groups `fnn`; did you mean `ffn`\?"),
        ("lasso-ffn-bot-0.3", r"unknown place `bot`; did you mean `both`\?"),
        ("lasso-ffn-both-.3", "`.3` is not a lambda; write it as 1 or 0.15"),
        ("lasso-ffn-both-1.50", "`1.50` is not a lambda"),
        ("lasso-ffn-both-to100", "100 percent is not between 0 and 100"),
        ("slice-50", "it takes no argument"),
        ("int8-marian", r"unknown engine `marian`; valid: ctranslate2, onnx"),
        ("", "unknown step ``; valid: .*prune"),
        ("Train", r"unknown step `Train`; did you mean `train`\?"),
    ],
)
def test_messages_name_the_step_and_the_nearest_valid_one(text, said):
    with pytest.raises(UserError, match=said):
        chain.parse_step(text)


@pytest.mark.parametrize(
    "text", ["train-", "retrain-", "train--long", "train-long-", "import-", "import-a--b"]
)
def test_a_step_has_one_spelling(text):
    with pytest.raises(UserError, match=f"`{text}`"):
        chain.parse_step(text)


@pytest.mark.parametrize(
    "text", ["toy", "toy/toy/s1", "toy/toy/1/train", "toy/toy/s01/train", "toy/toy/sx/train", ""]
)
def test_an_address_names_task_recipe_seed_and_steps(text):
    with pytest.raises(UserError, match="is not of the form"):
        chain.parse(text)


@pytest.mark.parametrize("step", ["restart-ticket", "restart-at-4"])
def test_a_ticket_needs_the_weights_of_a_training(step):
    with pytest.raises(
        UserError, match=f"`{step}` needs .* weights of a `train`, and `import-mine` has none"
    ):
        chain.parse_steps(f"import-mine/prune-global-50/{step}")


@pytest.mark.parametrize("taken", ["drop-7", "cut-7"])
def test_ctranslate2_does_not_take_layers_without_sub_layers_in_8_bits(taken):
    with pytest.raises(UserError, match=rf"`int8-ctranslate2` .* and `{taken}` takes .*valid: int8-onnx"):
        chain.parse_steps(f"train/{taken}/continue/int8-ctranslate2")
    assert chain.parse_steps(f"train/{taken}/int8-onnx/finetune")


def test_a_sliced_model_has_no_ticket():
    with pytest.raises(UserError, match="another shape than the sliced model's; valid: restart"):
        chain.parse_steps("train/slice/restart-ticket")
    with pytest.raises(UserError, match="another shape than the sliced model's; valid: restart"):
        chain.parse_steps("train/slice/restart-at-4")


@pytest.mark.parametrize(
    ("steps", "engine"),
    [("train", None), ("train/int8-onnx", "onnx"), ("train/int8-ctranslate2/finetune", "ctranslate2")],
)
def test_the_engine_that_runs_a_model_in_8_bits(steps, engine):
    assert chain.parse(f"toy/toy/s1/{steps}").quantised_for == engine
