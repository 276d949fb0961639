#!/usr/bin/env bash
# onnx and onnxruntime: one Cast to FLOAT8E8M0 makes other scales in onnx's reference than in onnxruntime.
#
# Guess, written down before (2026-11-30): the operator's table of special values holds in both: the same bytes, at least with the
#   defaults (saturate=1, round_mode="up").
# Versions: onnx 1.23.2, onnxruntime 1.32.0 (CPU), numpy 2.3.5, CPython 3.11.7, Linux. Opset 24, IR version 11.
# Behaviour: ordinary numbers agree. -3.0 is 4.0 in the reference (its sign is dropped) and 2^-127, the smallest scale, in
#   onnxruntime; infinity is NaN here and 2^127 there; 1e-40, between zero and 2^-127, is 2^-126 here and 2^-127 there. With saturate=0
#   a block of zeros (scale 0.0) is 2^-127 here and NaN there: the whole block would be NaN. Neither warns.
# Output seen (2026-11-30): "onnx:        0 -> 0, -3 -> 129, 3 -> 129, 1e-40 -> 1, inf -> 255; saturate=0: 0.0 -> 0",
#   "onnxruntime: 0 -> 0, -3 -> 0, 3 -> 129, 1e-40 -> 0, inf -> 254; saturate=0: 0.0 -> 255"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

NUMBERS = [0.0, -3.0, 3.0, 1e-40, float("inf")]


def scale_bytes(**how):
    """{runtime: the E8M0 byte of each number}, told from the float that a Cast back gives."""
    nodes = [helper.make_node("Cast", ["x"], ["scale"], to=TensorProto.FLOAT8E8M0, **how),
             helper.make_node("Cast", ["scale"], ["y"], to=TensorProto.FLOAT)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(NUMBERS)]) for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    onnx.checker.check_model(model, full_check=True)
    given = {"x": np.array(NUMBERS, np.float32)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made = {"onnx": ReferenceEvaluator(model).run(None, given)[0], "onnxruntime": session.run(None, given)[0]}
    return {name: [255 if np.isnan(value) else int(np.log2(value)) + 127 for value in values.astype(np.float64)] for name, values in made.items()}


usual, strict = scale_bytes(), scale_bytes(saturate=0)
for name in usual:
    pairs = ", ".join(f"{number:g} -> {byte}" for number, byte in zip(NUMBERS, usual[name]))
    print(f"{name + ':':12} {pairs}; saturate=0: 0.0 -> {strict[name][0]}")
if usual != {"onnx": [0, 129, 129, 1, 255], "onnxruntime": [0, 0, 129, 0, 254]} or (strict["onnx"][0], strict["onnxruntime"][0]) != (0, 255):
    sys.exit("changed: a Cast to FLOAT8E8M0 gives other bytes")
PYTHON
