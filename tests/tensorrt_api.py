"""TensorRT's real Python classes without TensorRT: the bindings over empty libraries.

What is checked with them is that names, arguments and enum values exist as segtool uses them. Nothing of TensorRT runs.
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import DEFAULT, Mock, create_autospec

import pytest

_SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion",
    "getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
_LIBRARIES = ("libnvinfer.so.11", "libnvinfer_plugin.so.11", "libnvonnxparser.so.11")


def bindings(folder: Path) -> ModuleType:
    """The module of the wheel tensorrt-cu13-bindings, over libraries that are compiled into `folder`."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++, for libraries that stand in for TensorRT's")
    for name in _LIBRARIES:
        code = "".join(f'extern "C" void* {symbol}() {{ return nullptr; }}\n' for symbol in _SYMBOLS)
        source = folder / f"{name}.cpp"
        source.write_text(code if name == _LIBRARIES[0] else "")
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", str(source), "-o", str(folder / name)]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    return pytest.importorskip("tensorrt_bindings", reason="the wheel tensorrt-cu13-bindings is for Linux on x86-64")


def module_of(real: ModuleType, name: str, **replaced: Any) -> SimpleNamespace:
    """The module with some of its names replaced."""
    return SimpleNamespace(**{**vars(real), "__name__": name, **replaced})


def conforming(real: type, **returns: Any) -> Mock:
    """An object that has what the class has and no more, and refuses calls that its signatures do not take.

    Args:
        returns: what its methods give, or values of its properties.
    """
    mock = create_autospec(real, instance=True, spec_set=True)
    for name in dir(real):
        method = getattr(real, name)
        if name.startswith("_") or not callable(method):
            continue
        getattr(mock, name).side_effect = _checker(name, method.__doc__ or "")
        if name in returns:
            getattr(mock, name).return_value = returns.pop(name)
    for name, value in returns.items():
        setattr(mock, name, value)
    return mock


def signatures(name: str, doc: str) -> list[list[tuple[str, bool]]]:
    """The overloads that a docstring of pybind11 or Cython names: (argument, required), without self."""
    found = re.findall(rf"(?:^|\n)(?:\d+\. )?(?:\w+\.)?{name}\((.*?)\)(?: ->|\n|$)", doc)
    overloads = []
    for text in found:
        parts = [p.strip() for p in re.split(r",(?![^\[\(<]*[\]\)>])", text)]
        if "*args" in parts:
            continue
        parts = [p for p in parts if p and p != "*" and p != "/"]
        arguments = [(re.split(r"[:=]", p)[0].strip().split()[-1], "=" not in p) for p in parts]
        overloads.append([a for a in arguments if a[0] != "self"])
    return overloads


def _checker(name: str, doc: str) -> Any:
    overloads = signatures(name, doc)

    def check(*arguments: Any, **named: Any) -> Any:
        if overloads and not any(_takes(o, arguments, named) for o in overloads):
            raise TypeError(f"{name} does not take {arguments} {named}: {overloads}")
        return DEFAULT

    return check


def _takes(overload: list[tuple[str, bool]], arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    if len(arguments) > len(overload):
        return False
    rest = overload[len(arguments) :]
    return set(named) <= {a for a, _ in rest} and all(a in named for a, required in rest if required)
