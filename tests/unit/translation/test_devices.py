"""Where engines compute, by the setting `device`; nothing here needs a GPU but one test."""

from __future__ import annotations

import pytest

from nmtprune.experiment import config as configuration
from nmtprune.translation import opening
from nmtprune.translation.ctranslate2 import engine as ctranslate2_engine
from nmtprune.translation.ctranslate2 import runtime as ctranslate2_runtime
from nmtprune.translation.onnx import runtime as onnx_runtime

RUNTIMES = {"ctranslate2": ctranslate2_runtime, "onnx": onnx_runtime}


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize(
    ("device", "there", "where"),
    [("cpu", True, "cpu"), ("auto", True, "cpu"), ("cuda", True, "cuda"), ("cuda", False, "cpu")],
)
def test_only_cuda_takes_a_gpu_and_only_if_the_library_can(monkeypatch, capsys, name, device, there, where):
    monkeypatch.setattr(RUNTIMES[name], "has_gpu", lambda: there)
    assert opening.device_of(name, device) == where
    said = capsys.readouterr().out
    assert ("runs on the CPU: its library here has no GPU to use" in said) == (device == "cuda" and not there)


def test_the_device_reaches_ctranslate2(monkeypatch, tmp_path):
    given = {}

    def translator(folder, **options):
        given.update(options)

    (tmp_path / "config.json").write_text('{"max_target_length": 10}')
    monkeypatch.setattr(ctranslate2_runtime.ctranslate2, "Translator", translator)
    ctranslate2_engine.CTranslate2Engine.load(tmp_path, device="cuda")
    assert given["device"] == "cuda"


def test_the_device_reaches_onnx_runtime(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(
        onnx_runtime.onnxruntime, "InferenceSession", lambda file, options, providers: given.append(providers)
    )
    for device in ("cpu", "cuda"):
        onnx_runtime._session(tmp_path / "decoder.onnx", 1, device)
    assert given == [["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]]


@pytest.mark.parametrize(("device", "engine", "on_gpu"), [("auto", "toy", False), ("cuda", "toy", True)])
def test_translations_take_a_gpu_of_the_run_only_with_cuda(device, engine, on_gpu):
    config = configuration.from_settings({"device": device})
    assert config.translates_on_gpu(engine) == on_gpu
    assert config.translates_on_gpu("toy-lstm")  # fairseq searches, wherever trainings run


def test_translations_on_a_gpu_are_those_on_the_cpu(studio):
    if not ctranslate2_runtime.has_gpu():
        pytest.skip("there is no GPU that CTranslate2 can use")
    from support.micro_models import model_of, pairs

    from nmtprune.experiment.search import Search

    model = model_of(studio, "micro/micro/s1/train")
    sources, _ = pairs(studio, "micro/micro/s1/train")
    one, other = (opening.open_engine(model, "ctranslate2", device=device) for device in ("cpu", "cuda"))
    assert one.translate(sources, Search(), 30) == other.translate(sources, Search(), 30)
