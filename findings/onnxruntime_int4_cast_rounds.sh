#!/usr/bin/env bash
# onnxruntime: a Cast to INT4 rounds and wraps, a Cast to INT8 cuts: 7.6 is 7 as INT8 and -8 as INT4.
#
# Guess, written down before (2026-11-30): the fraction is cut in both, as in onnx's reference, so every number within -8 .. 7 is
#   the same as INT4 and as INT8.
# Versions: onnx 1.23.2, onnxruntime 1.32.0 (CPU), numpy 2.3.5, CPython 3.11.7, Linux. Opset 24, IR version 11.
# Behaviour: for INT4 and UINT4 onnxruntime rounds to nearest, ties away from zero: 0.5 is 1, 2.5 is 3, -2.5 is -3, and 7.6 goes to 8,
#   which wraps to -8: the largest weight of a block changes its sign. onnx's reference cuts (7). QuantizeLinear agrees in both,
#   ties to even and clamped. So a Div and a Cast are no replacement for QuantizeLinear, and only one runtime shows it.
# Output seen (2026-11-30): "INT8 onnx: 0 2 -2 7", "INT8 onnxruntime: 0 2 -2 7", "INT4 onnx: 0 2 -2 7", "INT4 onnxruntime: 1 3 -3 -8"
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

NUMBERS = np.array([0.5, 2.5, -2.5, 7.6], np.float32)
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(NUMBERS)]) for name in "xy"]
found = {}
for kind in ("INT8", "INT4"):
    nodes = [helper.make_node("Cast", ["x"], ["cast"], to=getattr(TensorProto, kind)), helper.make_node("Cast", ["cast"], ["y"], to=TensorProto.FLOAT)]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, runs in (("onnx", ReferenceEvaluator(model)), ("onnxruntime", session)):
        found[kind, name] = runs.run(None, {"x": NUMBERS})[0].astype(int).tolist()
        print(f"{kind} {name}:", *found[kind, name])
cut = [0, 2, -2, 7]
if found != {("INT8", "onnx"): cut, ("INT8", "onnxruntime"): cut, ("INT4", "onnx"): cut, ("INT4", "onnxruntime"): [1, 3, -3, -8]}:
    sys.exit("changed: a Cast to four or eight bits gives other numbers")
PYTHON
