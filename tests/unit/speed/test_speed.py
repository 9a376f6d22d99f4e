"""The protocol of speed measurements, with pretended models, and with real processes where necessary."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.workplace import REPOSITORY

from nmtprune.experiment import paths
from nmtprune.experiment.chain import parse
from nmtprune.foundation.errors import UserError
from nmtprune.runtime import fork_server
from nmtprune.speed import measurement, protocol, pymarian
from nmtprune.speed.protocol import Case, Loaded, Run
from nmtprune.store import model as stored_model
from nmtprune.translation.ctranslate2 import engine as ctranslate2_engine
from nmtprune.translation.onnx import engine as onnx_engine
from nmtprune.translation.opening import module_of

BENCHMARKS = REPOSITORY / "benchmarks"
SEARCH = {"beam": 1, "length_penalty": 1.0, "max_len_a": 1.0, "max_len_b": -1, "replace_unknowns": False}


class Pretended:
    """A worker that records when it works; its time is given, and grows in each round."""

    def __init__(self, case, seconds, said):
        self.case, self.seconds, self.said, self.round = case, seconds, said, 0
        self.loaded = Loaded("pretended 1", 0.5, 100)

    def run(self, batch_size):
        self.round += 1
        self.said.append((self.case.chain, self.case.precision, batch_size))
        return Run(self.seconds * self.round, self.seconds, 7, 1000 + self.round, 0.1 * self.round)

    def __enter__(self):
        self.said.append((self.case.chain, self.case.precision, "loaded"))
        return self

    def __exit__(self, *error):
        self.said.append((self.case.chain, self.case.precision, "gone"))


def case(tmp_path, chain, engine="onnx", precision="float32", shortlist=None):
    folder = tmp_path / f"{chain}-{engine}-{precision}"
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(bytes(1000))
    return Case(chain, engine, folder, tmp_path / "batches.json", SEARCH, precision, shortlist)


def measured(cases, seconds, said=None, **settings):
    said = [] if said is None else said
    times = dict(zip(cases, seconds, strict=True))
    return protocol.measure(
        cases, lambda each: Pretended(each, times[each], said), **{"rounds": 5, **settings}
    )


def test_models_take_turns_and_the_anchor_is_in_every_round(tmp_path):
    cases = [case(tmp_path, "dense"), case(tmp_path, "sliced"), case(tmp_path, "sliced", precision="int8")]
    said = []
    measured(cases, [4, 2, 1], said, rounds=2, batch_sizes=(32, 1))
    one_round = [(each.chain, each.precision, size) for size in (32, 1) for each in cases]
    assert said[:3] == [(each.chain, each.precision, "loaded") for each in cases]
    assert said[3:-3] == one_round * 2


def test_a_speed_up_is_the_median_of_ratios_within_rounds(tmp_path):
    cases = [case(tmp_path, "dense"), case(tmp_path, "sliced", precision="int8")]
    found = measured(cases, [4, 1], rounds=5, batch_sizes=(32,))
    rows = [row for _, row in protocol.rows(found, {cases[0].batches: {32: (10, 120)}}, core=3)]
    assert [row["speed_up"] for row in rows] == [1, 4]
    assert (rows[1]["speed_up_low"], rows[1]["speed_up_high"]) == (4, 4)  # though times grew fivefold
    assert (rows[0]["seconds"], rows[0]["seconds_low"], rows[0]["seconds_high"]) == (12, 4, 20)
    assert rows[0]["words_per_second"] == 10 == 120 / 12
    assert rows[0]["others_cpu"] == 0.5  # the most of any run
    assert rows[0]["peak_resident"] == 1005
    assert rows[0]["peak_memory"] == 905
    assert rows[0]["size_on_disk"] == 1000
    assert (rows[0]["runs"], rows[0]["sentences"], rows[0]["source_words"], rows[0]["core"]) == (
        5,
        10,
        120,
        3,
    )
    assert tuple(rows[0]) == protocol.COLUMNS
    assert rows[0]["cpu"]


def test_where_memory_is_short_models_are_measured_in_groups_each_with_the_anchor(tmp_path):
    cases = [case(tmp_path, "dense"), *(case(tmp_path, f"sliced{number}") for number in range(4))]
    three = 3 * cases[0].memory
    assert [[each.chain for each in group] for group in protocol.groups(cases, three)] == [
        ["dense", "sliced0", "sliced1"],
        ["dense", "sliced2", "sliced3"],
    ]
    found = measured(cases, [2, 1, 1, 1, 1], rounds=3, batch_sizes=(32,), memory=three)
    assert len(found[cases[0]].runs[32]) == 6
    assert set(found[cases[1]].runs[32]).isdisjoint(found[cases[3]].runs[32])
    assert protocol.speed_ups(found[cases[3]], found[cases[0]], 32) == [2, 2, 2]


def table(found, cases):
    """The rows as they are read from the table, by model."""
    rows = (row for _, row in protocol.rows(found, {cases[0].batches: {32: (10, 120)}}, core=None))
    return {
        row["chain"]: {name: "" if value is None else str(value) for name, value in row.items()}
        for row in rows
    }


class Invented:
    """A model whose times are given, a round each."""

    def __init__(self, times):
        self.loaded, self._times = Loaded("invented 1", 0.5, 100), iter(times)

    def run(self, batch_size):
        return Run(next(self._times), 1.0, 7, 1000, 0.0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_speed_up_is_that_of_the_words_a_second_beside_it(tmp_path):
    """The median of ratios to the anchor, which is slow in another round for each, would be 2."""
    cases = [case(tmp_path, name) for name in ("anchor", "dense", "sliced")]
    times = dict(zip(cases, ([1, 1, 4, 4, 1], [1, 2, 4, 8, 2], [2, 1, 2, 2, 1]), strict=True))
    rows = table(protocol.measure(cases, lambda each: Invented(times[each]), 5, batch_sizes=(32,)), cases)
    dense, sliced = rows["dense"], rows["sliced"]
    assert (
        protocol.speed_up(sliced, dense)
        == 1
        == float(sliced["words_per_second"]) / float(dense["words_per_second"])
    )
    assert float(sliced["speed_up"]) / float(dense["speed_up"]) == 2
    assert protocol.speed_up(dense, dense) == 1


def test_a_speed_up_is_of_the_rounds_that_both_were_in(tmp_path):
    cases = [case(tmp_path, name) for name in ("anchor", "small", "smaller")]
    two = 2 * cases[0].memory
    slow = {
        cases[0]: [1, 1, 1, 3, 3, 3],
        cases[1]: [0.5, 0.5, 0.5],
        cases[2]: [1, 1, 1],
    }  # by the second group three times as slow
    begun = {each: iter(times) for each, times in slow.items()}
    found = protocol.measure(cases, lambda each: Invented(begun[each]), 3, batch_sizes=(32,), memory=two)
    rows = table(found, cases)
    assert [protocol.speed_up(rows[name], rows["anchor"]) for name in ("small", "smaller")] == [2, 3]
    assert float(rows["anchor"]["seconds"]) == 2  # of all six rounds
    assert protocol.speed_up(rows["smaller"], rows["small"]) == 1.5  # which share none
    old = [
        {name: value for name, value in row.items() if name != "seconds_by_round"}
        for row in (rows["smaller"], rows["anchor"])
    ]
    assert protocol.speed_up(*old) == 2


def test_one_model_is_measured_in_all_its_engines(tmp_path):
    cases = [case(tmp_path, "dense", engine) for engine in ("ctranslate2", "onnx", "fairseq")]
    assert list(protocol.groups(cases, memory=10**12)) == [cases]


def test_engines_that_only_the_anchor_runs_take_no_part_in_later_groups(tmp_path):
    cases = [
        case(tmp_path, "dense"),
        case(tmp_path, "dense", "fairseq"),
        case(tmp_path, "a"),
        case(tmp_path, "b"),
    ]
    groups = list(protocol.groups(cases, memory=3 * cases[0].memory))
    assert groups == [[cases[0], cases[1], cases[2]], [cases[0], cases[3]]]


def test_a_model_is_compared_in_its_own_engine_and_with_a_shortlist_if_it_has_one(tmp_path):
    shortlist = tmp_path / "shortlist.npz"
    cases = [
        case(tmp_path, "dense"),
        case(tmp_path, "dense", shortlist=shortlist),
        case(tmp_path, "sliced", shortlist=shortlist),
        case(tmp_path, "sliced", "ctranslate2"),
    ]
    assert [protocol.anchor_of(each, cases) for each in cases] == [cases[0], cases[1], cases[1], None]
    found = measured(cases, [4, 3, 1, 1], rounds=1, batch_sizes=(32,))
    rows = [row for _, row in protocol.rows(found, {cases[0].batches: {32: (1, 1)}}, core=None)]
    assert [row["speed_up"] for row in rows] == [1, 1, 3, None]


def test_batches_are_sorted_by_length_and_single_sentences_are_an_even_sample(tmp_path):
    sources = [[str(index)] * (1 + index % 9) for index in range(450)] + [[]]
    chosen = protocol.write_batches(sources, tmp_path / "batches.json")
    batches = json.loads((tmp_path / "batches.json").read_text())
    lengths = [len(sentence) for batch in batches["32"] for sentence in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(batch) for batch in batches["32"]] == [32] * 14 + [2]
    assert len(chosen[32]) == 450  # the empty one apart
    assert [len(batch) for batch in batches["1"]] == [1] * 50
    assert len(chosen[1]) == 50 <= protocol.SINGLE_SENTENCES
    assert {len(sentence) for batch in batches["1"] for sentence in batch} == set(range(1, 10))


def test_the_time_that_other_processes_take_is_counted():
    """Those of a process that does nothing but count, however much of a core it gets beside others."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            seconds = protocol.psutil.Process(spinning.pid).cpu_times
            before, own = protocol._busy_seconds(), protocol._own_seconds()
            began = seconds().user
            while seconds().user < began + 1:
                time.sleep(0.05)
            taken = seconds().user - began
            others = protocol._busy_seconds() - before - (protocol._own_seconds() - own)
        finally:
            spinning.kill()
    assert others > taken - 0.1  # the clocks of processes and of the machine tick a hundred times a second


def random_model(types=60, decoder_self="attention"):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import shape_speed
    finally:
        sys.path.remove(str(BENCHMARKS))
    return shape_speed.random_model([(32, 8)] * 2, [(32, 8)], types, decoder_self)


@pytest.mark.parametrize("module", [ctranslate2_engine, onnx_engine])
def test_a_worker_loads_measures_and_ends(tmp_path, module):
    model = random_model()
    engine = "onnx" if module is onnx_engine else "ctranslate2"
    files = tmp_path / "files"
    files.mkdir()
    module.save(model, files)
    sources = [model.source_dictionary[4 : 4 + length] for length in (3, 9, 5)]
    protocol.write_batches(sources, tmp_path / "batches.json")
    core = protocol.idlest_core()
    given = Case("random", engine, files, tmp_path / "batches.json", SEARCH)
    with protocol.Worker(given, core, tmp_path / "job.json") as worker:
        run = worker.run(1)
        assert run.target_pieces == 17  # random weights never end a sentence: as many pieces as the source
        assert 0 < run.cpu_seconds <= 1.5 * run.seconds
        assert worker.loaded.load_seconds > 0
        assert worker.loaded.version.endswith(tuple("0123456789"))
        if core is not None:
            assert os.sched_getaffinity(worker._process.pid) == {core}
            assert run.peak_resident > worker.loaded.resident_before > 0
    assert worker._process.returncode == 0


@pytest.fixture
def warm_process(monkeypatch):
    """The number of a warm process, which jobs of the test find."""
    monkeypatch.setenv(fork_server.ADDRESS, "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started = fork_server.start("nmtprune.cli.preload")
    while not os.path.exists(os.environ[fork_server.ADDRESS]):
        assert fork_server._STARTED[-1].poll() is None, "the warm process has ended"
        time.sleep(0.05)
    yield started
    process = fork_server._STARTED.pop()
    process.stdin.close()
    process.wait()


def test_a_worker_is_a_fork_of_the_warm_process(tmp_path, warm_process):
    model = random_model()
    (tmp_path / "files").mkdir()
    ctranslate2_engine.save(model, tmp_path / "files")
    protocol.write_batches([model.source_dictionary[4:9]], tmp_path / "batches.json")
    children = Path(f"/proc/{warm_process}/task/{warm_process}/children")
    given = Case("random", "ctranslate2", tmp_path / "files", tmp_path / "batches.json", SEARCH)
    core = protocol.idlest_core()
    with protocol.Worker(given, core, tmp_path / "job.json") as worker:
        (fork,) = children.read_text().split()
        run = worker.run(1)
        assert os.sched_getaffinity(int(fork)) == {core}
        assert run.target_pieces == 5 and run.peak_resident > worker.loaded.resident_before > 0
    assert worker._process.returncode == 0 and not children.read_text()


def test_a_worker_that_dies_is_an_error_that_names_the_model(tmp_path):
    (tmp_path / "batches.json").write_text("{}")
    given = Case("broken", "onnx", tmp_path / "nothing", tmp_path / "batches.json", SEARCH)
    with pytest.raises(RuntimeError, match="onnx failed with broken"):
        protocol.Worker(given, None, tmp_path / "job.json")


def test_two_jobs_never_measure_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measurement, "_identity", lambda config, chains, rounds: "same")
    chains = [parse("toy/toy/s1/train")]
    out = paths.speed("toy", "toy")
    inside = []

    def pretend(config, chains, rounds, folder):
        code = (
            "import sys; from pathlib import Path; from nmtprune.store.state import lock\nwith "
            "lock(Path('results/speed')): print('in')"
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert "waiting" in child.stdout.readline()
        inside.append(child)
        return [dict.fromkeys(protocol.COLUMNS, 1)], [dict.fromkeys(protocol.LEFT_OUT_COLUMNS, "why")]

    monkeypatch.setattr(measurement, "_measure", pretend)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    measurement.measure(None, out, chains, 1)
    assert inside[0].communicate()[0] == "in\n"
    assert out.read_text().splitlines()[0] == ",".join(protocol.COLUMNS)
    assert paths.left_out(out).read_text() == "chain,engine,reason\nwhy,why,why\n"

    out.unlink()
    measurement.measure(None, out, chains, 1)  # the same models: what was measured comes back
    assert len(inside) == 1
    assert out.exists()


def test_on_a_gpu_engines_without_one_and_marian_are_left_out(monkeypatch):
    for name in ("ctranslate2", "onnx"):
        monkeypatch.setattr(module_of(name).RUNTIME, "has_gpu", lambda: False)
    left_out = dict(measurement._engines(random_model(), None, True, "cuda"))
    assert left_out["ctranslate2"] == left_out["onnx"] == "its library here has no GPU to use"
    assert left_out["fairseq"] is None and left_out["pymarian"] == "Marian is measured on the CPU alone"
    assert dict(measurement._engines(random_model(), None, False, "cpu")) == {
        "ctranslate2": None,
        "onnx": None,
    }


def test_models_of_two_tasks_are_not_compared():
    with pytest.raises(UserError, match="other/toy/s1/train is of another task than toy/toy/s1/train"):
        measurement.measure(
            None, Path("speed.csv"), [parse("toy/toy/s1/train"), parse("other/toy/s1/train")], 1
        )


def test_marian_parameters_are_ours_by_other_names():
    model = random_model()
    found = pymarian.parameters(model)
    state = model.weights
    assert (found["encoder_l2_self_Wq"] == state["encoder.layers.1.self_attn.q_proj.weight"].T.numpy()).all()
    assert (
        found["decoder_l1_context_bo"] == state["decoder.layers.0.encoder_attn.out_proj.bias"].numpy()
    ).all()
    assert found["decoder_l1_ffn_W1"].shape == (256, 32)
    assert found["Wemb"].shape == (58, 256)  # less <s> and <pad>, </s> and <unk> first
    assert (found["Wemb"][:3] == state["encoder.embed_tokens.weight"][[2, 3, 4]].numpy()).all()
    weights = sum(tensor.size for tensor in found.values())
    ours = sum(tensor.numel() for tensor in {tensor.data_ptr(): tensor for tensor in state.values()}.values())
    assert weights == ours - 2 * 256
    assert pymarian.configuration(model, found)["transformer-dim-ffn"] == 32
    assert pymarian.supports(model) is None


def test_marian_refuses_what_it_cannot_run():
    assert "self_attn.q_proj.weight` is missing" in pymarian.supports(random_model(decoder_self="ssru"))
    model = random_model()
    for part, rows in (("weight", (20, 256)), ("bias", (20,))):
        model.weights[f"encoder.layers.0.fc1.{part}"] = torch.zeros(rows)
    model.weights["encoder.layers.0.fc2.weight"] = torch.zeros(256, 20)
    assert pymarian.supports(model) == "the encoder's layers have FFNs of different widths"


def test_marian_translates_as_ctranslate2_does_under_marians_conventions(tmp_path, monkeypatch):
    """Positions from 0, and a decoder that begins with a zero embedding.

    It is greedy: the two searches end a beam differently.
    """
    if reason := pymarian.missing():
        pytest.skip(reason)
    import ctranslate2

    model = random_model(types=500)
    positions = ctranslate2_engine.sinusoidal_positions
    monkeypatch.setattr(stored_model, "PADDING", -1)
    spec = ctranslate2_engine.build_spec(model)
    assert positions(model, 2, 4)[0].tolist() == [0, 0, 1, 1]
    spec.decoder.start_from_zero_embedding = True
    spec.validate()
    spec.optimize()
    spec.save(str(tmp_path))
    sources = [
        model.source_dictionary[4 + start : 4 + start + length]
        for start, length in ((0, 12), (40, 12), (99, 11), (7, 5))
    ]
    translator = ctranslate2.Translator(str(tmp_path), device="cpu", compute_type="float32", intra_threads=1)
    ours = [
        result.hypotheses[0]
        for result in translator.translate_batch(sources, beam_size=1, max_decoding_length=10)
    ]

    pymarian.save(model, tmp_path / "to marian")
    code = (
        "import json, sys; from pathlib import Path; from nmtprune.speed.pymarian import Peer; "
        "given = json.loads(sys.argv[1]); print(json.dumps(Peer(Path(given[0]), "
        "given[1]).translate(given[2])))"
    )
    given = json.dumps([str(tmp_path / "to marian"), {**SEARCH, "max_len_a": 3}, sources])
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent / "workflow")}
    done = subprocess.run(
        [pymarian.interpreter(), "-c", code, given],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    theirs = [hypothesis[:10] for hypothesis in json.loads(done.stdout.splitlines()[-1])]
    assert theirs == [hypothesis[:10] for hypothesis in ours]


def test_a_measurement_waits_for_an_idle_machine_and_is_refused_on_a_busy_one(capsys):
    looks = iter([1.4, 0.9, 0.1, 9.0])
    protocol.wait_until_idle(look=lambda: next(looks))
    assert next(looks) == 9.0 and capsys.readouterr().out.count("cores busy; waiting") == 2
    with pytest.raises(UserError, match=r"other processes keep 1\.3 cores busy; the same command"):
        protocol.wait_until_idle(patience=-1, look=lambda: 1.3)


def test_the_work_of_others_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        busy = protocol.cores_of_others(1.0)
        other.kill()
    assert busy > 0.1
