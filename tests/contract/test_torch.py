"""What is used of PyTorch beyond its documentation."""

import pytest
import torch
from support.contract import broken, entries

RELIED_UPON = {
    "fairseq_bridge/shim.py": [
        "nn/modules/module.py Module._load_from_state_dict("
        "self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)",
        'nn/modules/module.py "module._load_from_state_dict("',
    ],
    "fairseq_bridge/recurrence.py": ["nn/modules/rnn.py RNNBase.all_weights"],
    "fairseq_bridge/speedups.py": [
        'utils/data/_utils/fetch.py "self.dataset.__getitems__("',
        '_compile.py "__dynamo_disable"',
    ],
    "fairseq_bridge/precision.py": [
        "cpu/__init__.py get_capabilities()",
        "cuda/__init__.py is_bf16_supported(including_emulation)",
    ],
    "store/unpickling.py": ["serialization.py safe_globals", 'serialization.py "WeightsUnpickler error: "'],
}
# operators without documentation: the arguments that they are called with, in order where they are passed by
# position
OPERATORS = {
    "aten::_fused_adamw_": (
        "fairseq_bridge/speedups.py",
        ["self", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "state_steps"],
        {"lr", "beta1", "beta2", "weight_decay", "eps", "amsgrad", "maximize"},
    ),
    "aten::_foreach_mul_.Tensor": ("fairseq_bridge/speedups.py", ["self", "other"], set()),
    "aten::_foreach_mul_.Scalar": ("fairseq_bridge/speedups.py", ["self", "scalar"], set()),
    "aten::_foreach_norm.Scalar": ("fairseq_bridge/speedups.py", ["self"], set()),
    "aten::lstm.input": (
        "fairseq_bridge/recurrence.py",
        [
            "input",
            "hx",
            "params",
            "has_biases",
            "num_layers",
            "dropout",
            "train",
            "bidirectional",
            "batch_first",
        ],
        set(),
    ),
}


@pytest.mark.parametrize(("ours", "entry"), entries(RELIED_UPON))
def test_torch_has_what_is_used_of_it(ours, entry):
    assert (reason := broken("torch", ours, entry)) is None, reason


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_take_what_they_are_called_with(name):
    ours, by_position, by_name = OPERATORS[name]
    said = f"torch {torch.__version__}: the operator {name}, which {ours} calls,"
    schemas = [
        schema
        for schema in torch._C._jit_get_all_schemas()
        if f"{schema.name}.{schema.overload_name}".rstrip(".") == name
    ]
    assert schemas, f"{said} is gone"
    arguments = {argument.name: argument.has_default_value() for argument in schemas[0].arguments}
    assert list(arguments)[: len(by_position)] == by_position and by_name <= set(arguments), (
        f"{said} takes {list(arguments)} now"
    )
    needed = {argument for argument, has_default in arguments.items() if not has_default}
    assert needed <= {*by_position, *by_name}, (
        f"{said} needs {sorted(needed - {*by_position, *by_name})} as well now"
    )


@pytest.mark.parametrize("name", ["add_param_group", "load_state_dict", "state_dict", "zero_grad"])
def test_methods_of_optimisers_are_wrapped_to_be_left_out_of_compilation(name):
    wrapped = hasattr(getattr(torch.optim.Optimizer, name), "__wrapped__")
    assert wrapped, (
        f"torch {torch.__version__}: Optimizer.{name} has no `__wrapped__` any more; "
        "fairseq_bridge/speedups.py uses it"
    )
