"""Adaptive average pooling in ONNX, for any size.

Left to itself, torch's exporter writes the windows of the example's size into the graph, whatever sizes are dynamic:
pyramid pooling (PSPNet, UPerNet) then gives other labels for every other size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from onnxscript import opset18 as op


def translations() -> dict[Any, Any]:
    """How the operator is written."""
    return {torch.ops.aten._adaptive_avg_pool2d.default: _adaptive_average_pool}


def _adaptive_average_pool(values: Any, output_size: Sequence[int]) -> Any:
    """[..., H, W] to [..., *output_size]: a matrix for the rows, one for the columns."""
    rows, columns = (_windows(values, axis, count) for axis, count in zip((2, 3), output_size, strict=True))
    return op.MatMul(op.MatMul(rows, values), op.Transpose(columns, perm=[1, 0]))


def _windows(values: Any, axis: int, count: int) -> Any:
    """[count, length] of averages: window i has the positions floor(i L / count) to ceil((i + 1) L / count) - 1, as
    PyTorch defines it."""
    length = op.Shape(values, start=axis, end=axis + 1)
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    position = op.Range(zero, op.Squeeze(length), one)
    begin = op.Div(op.Mul(_column(range(count)), length), op.Constant(value_ints=[count]))
    end = op.Div(
        op.Add(op.Mul(_column(range(1, count + 1)), length), op.Constant(value_ints=[count - 1])),
        op.Constant(value_ints=[count]),
    )
    inside = op.And(op.GreaterOrEqual(position, begin), op.Less(position, end))
    return op.Div(op.CastLike(inside, values), op.CastLike(op.Sub(end, begin), values))


def _column(numbers: Sequence[int]) -> Any:
    return op.Unsqueeze(op.Constant(value_ints=list(numbers)), op.Constant(value_ints=[1]))
