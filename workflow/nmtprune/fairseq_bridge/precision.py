"""The precision in which a training computes.

A training has the precision of its schedule if the processor and the architecture allow it.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.runtime import devices

# Instructions that multiply bfloat16 numbers, as named by torch.cpu.get_capabilities: AVX-512 BF16, AMX and
# those of ARM.
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
LARGEST_ERROR = 0.05  # relative error of an LSTM's gradients in bfloat16; correct kernels stay below 0.01


class Precision(NamedTuple):
    """The precision of a training.

    `used`: fp32, fp16 or bf16. `autocast`: whether torch.autocast computes in mixed precision, where
    weights, optimiser, layer norms, softmax and loss stay in single precision; otherwise half precision
    is fairseq's own, on a GPU. `reason`: a clause that says why the precision is not the one of the
    schedule, or why it is slow.
    """

    used: str
    autocast: bool = False
    reason: str | None = None


def decide(asked: str, device: str, architecture: str) -> Precision:
    """The precision of a training whose schedule asks for fp32, fp16, bf16 or auto.

    `device`: cpu or cuda. `architecture`: its name. Raises UserError for fp16 on a CPU.
    """
    if asked == "fp32" or (asked != "auto" and device == "cuda"):
        return Precision(asked)
    if asked == "fp16":
        raise UserError("precision: `fp16` needs a GPU (device: cuda); on the CPU use fp32, bf16 or auto")
    native = multiplies_bfloat16(device)
    if asked == "auto" and not native:
        return Precision(
            "fp32",
            reason=f"this {'GPU' if device == 'cuda' else 'processor'} has no instructions for bfloat16",
        )
    if "lstm" in architecture and (obstacle := _obstacle_to_lstm(architecture, device)):
        return Precision("fp32", reason=obstacle)
    return Precision("bf16", True, None if native else "this processor emulates bfloat16, which is slow")


def of_schedule(config: Config, recipe: str, schedule: str) -> Precision:
    """The precision in which a training by a recipe's schedule would begin on this machine.

    fp16 is returned unchanged, since a training may be planned on a machine without a GPU.
    """
    asked = config.schedule(recipe, schedule).precision
    if asked == "fp16":
        return Precision(asked)
    return decide(
        asked,
        "cuda" if devices.on_gpu(config.settings["device"]) else "cpu",
        config.recipe(recipe).architecture.name,
    )


@functools.cache
def multiplies_bfloat16(device: str) -> bool:
    """Whether the processor or GPU has instructions to multiply bfloat16 numbers and PyTorch uses them."""
    import torch  # noqa: PLC0415 - PyTorch takes seconds

    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(able.get(name, False) for name in BF16_INSTRUCTIONS)


def _obstacle_to_lstm(architecture: str, device: str) -> str | None:
    """The reason why an LSTM is not trained in bfloat16; None if it is."""
    if architecture != "nmtprune_lstm":
        return f"the cells of {architecture} run one by one, outside of the kernels that train in bfloat16"
    return None if _trains_lstm(device) else "PyTorch has no kernels here that train an LSTM in bfloat16"


@functools.cache
def _trains_lstm(device: str) -> bool:
    """Whether PyTorch trains an LSTM in bfloat16, found by trying.

    On CPUs, oneDNN's kernels do so on some processors and fail on others. As in nmtprune_lstm, one stack
    starts with the final states of another. Gradients are compared with those in single precision.
    """
    import torch  # noqa: PLC0415 - PyTorch takes seconds

    from nmtprune.fairseq_bridge.recurrence import StackedLstm  # noqa: PLC0415 - fairseq takes seconds

    def run(autocast: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The states of two stacks [sentences, length, n], and all gradients as one vector."""
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            states, (hidden, cell) = first(x)
            states, _ = second(x + states, (hidden, cell))
        gradients = torch.autograd.grad(
            states.float().square().sum(), [*first.parameters(), *second.parameters()]
        )
        return states, torch.cat([gradient.flatten() for gradient in gradients])

    with torch.random.fork_rng(), torch.enable_grad():
        first, second = (StackedLstm(96, 2, dropout=0.0).to(device) for _ in range(2))
        x = torch.randn(16, 9, 96, device=device)
        _, exact = run(autocast=False)
        try:
            states, rounded = run(autocast=True)
            with torch.no_grad(), torch.autocast(device, torch.bfloat16):
                first(x)
        except RuntimeError:
            return False
    return states.dtype == torch.bfloat16 and bool((rounded - exact).norm() < LARGEST_ERROR * exact.norm())
