"""Gathers of one token of each row, such as a prompt's end, kept on a GPU: else its capture would fail."""

from __future__ import annotations

from onnxscript import ir

from .nodes import counter

_INTEGERS = ir.DataType.INT32, ir.DataType.INT64


def keep_gathers_on_gpu(graph: ir.Graph) -> None:
    """Look for the greatest of integers as of floats, and count no rows where each is read at a position of its own.

    ONNX Runtime has on a GPU no greatest of integers, and counts on the processor. Floats are exact below 2**24, as the
    numbers of tokens are, and whether one is the last.
    """
    for node in list(graph):
        if node.op_type == "ArgMax" and node.inputs[0] and node.inputs[0].dtype in _INTEGERS:
            cast = ir.node("Cast", [node.inputs[0]], {"to": ir.DataType.FLOAT})
            graph.insert_before(node, cast)
            node.replace_input_with(0, cast.outputs[0])
        elif node.op_type == "GatherND" and (positions := _of_each_row(node)):
            node.replace_input_with(1, positions)
            node.attributes["batch_dims"] = ir.AttrInt64("batch_dims", 1)


def _of_each_row(node: ir.Node) -> ir.Value | None:
    """The positions beside the numbers of all rows, in their order; None where they are others."""
    array, pairs = node.inputs
    joined = pairs.producer() if pairs else None
    if array is None or not array.shape or joined is None or joined.op_type != "Concat" or len(joined.inputs) != 2:
        return None
    column, positions = joined.inputs
    rows = array.shape[0]
    known = isinstance(rows, int) or rows.value is not None
    column_of_rows = positions is not None and list(positions.shape or ()) == [rows, 1] and _counts(column, rows)
    whole = node.attributes.get_int("batch_dims", 0) == 0
    return positions if known and column_of_rows and whole else None


def _counts(column: ir.Value | None, rows: int | ir.SymbolicDim) -> bool:
    """Whether a column [rows, 1] is made of the numbers 0, 1, 2 ..."""
    numbers = counter(column)
    if numbers is None or list(numbers.outputs[0].shape or ()) != [rows]:
        return False
    start, _, step = (
        value.const_value.numpy().item() if value and value.const_value else None for value in numbers.inputs
    )
    return (start, step) == (0, 1)
