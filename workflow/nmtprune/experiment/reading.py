"""Read YAML: settings, the user's own files, `--config` and `--set`.

The core schema of YAML 1.2 applies: `no` is a word (it is also the code of Norwegian), `1e-4` is a
number. Keys are text, whatever they look like: a test set may be called 2016. YAML that no setting can
mean is refused: repeated keys, control characters, and numbers that are infinite or not a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from nmtprune.foundation.errors import UserError

# Unicode's control characters except tab and newline, and halves of surrogate pairs, which no file name,
# title or setting contains.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST_NUMBER = 18  # digits: what fits into 64 bits
DEEPEST = 50  # most levels of nested values
_MERGE = "tag:yaml.org,2002:merge"
_KNOWN = {  # for each tag a pattern of its values and their possible first characters
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+(_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
    _MERGE: ("<<", "<"),
}


def _mistake(node: yaml.Node, what: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


_FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FASTEST):
    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}
    yaml_constructors: ClassVar[dict[str, Callable[..., Any]]] = {}

    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, index: Any) -> None:
        """Count the depth of nested values, and refuse values that are nested too deeply.

        Without a limit, the stack of PyYAML's C code overflows. PyYAML calls this on its way into each
        value, and `ascend_resolver` on its way out.
        """
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.constructor.ConstructorError(
                None, None, f"values within values, more than {DEEPEST} deep", None
            )

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def text(self, node: yaml.Node) -> str:
        value = self.construct_scalar(node)
        if _CONTROL.search(value):
            raise _mistake(node, "a control character in a value")
        return value

    def whole_number(self, node: yaml.Node) -> int:
        digits = self.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
        if len(digits) > LONGEST_NUMBER:
            raise _mistake(node, f"a number of {len(digits)} digits")
        return int(digits, base)

    def number(self, node: yaml.Node) -> float:
        value = float(self.construct_scalar(node))
        if not math.isfinite(value):
            raise _mistake(node, "a number that is not finite")
        return value

    def entries(self, node: yaml.Node) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _mistake(node, "expected keys and values")
        written = [key for key, _ in node.value if key.tag != _MERGE]
        names = [key.value for key in written]
        if twice := next((key for place, key in enumerate(written) if key.value in names[:place]), None):
            raise _mistake(twice, f"the key `{twice.value}` is written twice")
        self.flatten_mapping(
            node
        )  # keys from `<<` come first, so that keys of the mapping itself override them
        return {self.name(key): self.construct_object(value, deep=True) for key, value in node.value}

    def name(self, key: yaml.Node) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise _mistake(key, "a key that is not text")
        if _CONTROL.search(key.value) or set("\t\n") & set(key.value):
            raise _mistake(key, "a control character in a key")
        return key.value

    def values(self, node: yaml.Node) -> list[Any]:
        return self.construct_sequence(node, deep=True)


for _tag, (_pattern, _first) in _KNOWN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))
for _tag, _method in {
    "null": lambda loader, node: None,
    "bool": lambda loader, node: loader.construct_scalar(node).lower() == "true",
    "int": _Loader.whole_number,
    "float": _Loader.number,
    "str": _Loader.text,
    "map": _Loader.entries,
    "seq": _Loader.values,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _method)
_Loader.add_constructor(None, _Loader.construct_undefined)  # any other tag


def read_value(text: str, where: str) -> Any:
    """The value of a YAML text.

    Raises UserError, beginning with `where`, for text that is not valid YAML or contains what is
    refused.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split()).replace(' in "<unicode string>", line', ", line")
        raise UserError(f"{where} is not valid YAML: {said}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; empty for an empty file.

    Raises UserError that names the file and the line of the mistake.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not valid YAML: its text is not UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    value = read_value(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected keys and values")
    return value


def read_settings(files: list[Path], overrides: list[str]) -> dict[str, Any]:
    """Settings in layers, where each overrides those before it: files, then `key=value` of a command line.

    Values of a command line are also YAML. Layers are merged without validation, since mistakes may be
    overridden by later layers. Raises UserError for what cannot be read.
    """
    settings: dict[str, Any] = {}
    for file in files:
        settings = merge(settings, read_yaml(file))
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"`{override}` is not a setting; expected key=value")
        settings = merge(settings, {key.strip(): read_value(value, override)})
    return settings


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mapping `above` merged over `below`; mappings are merged key by key, everything else is replaced.

    A learning rate is replaced as a whole, since its forms exclude each other. So is an architecture or
    optimiser of another `name`, which has other keys.
    """
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping) and key != "learning_rate":
            of_one_name = value.get("name", under.get("name")) == under.get("name")
            merged[key] = merge(under, value) if of_one_name else value
        else:
            merged[key] = value
    return merged
