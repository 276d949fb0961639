"""AITER's list of native sources, out of its own configuration."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.develop.gfx950.compile_only import aiter_units
from tunefork.develop.gfx950.compile_only.toolchain import Toolchain

AITER = Layout.here().checkout("aiter")
TOOLS = Toolchain("stand-in", "stand-in", ("cc",), (), (), (6, 2), None, "1")


@pytest.mark.skipif(not (AITER / "aiter").is_dir(), reason="NOT TESTED: no source of aiter is applied here (python3 build.py apply aiter)")
def test_aiters_own_list():
    units = {unit.name: unit for unit in aiter_units.units(AITER, TOOLS)}
    within = [unit for unit in units.values() if not unit.out_of_reach]
    assert len(within) > 50 and all(unit.file.is_file() for unit in within)
    assert not any("pybind" in name or "gfx1250" in name for name in units)
    norm = units["aiter/csrc/kernels/rmsnorm/rmsnorm_opus_norm_bf16.cu"]
    assert norm.extension == "module_rmsnorm" and "-D__HIPCC_RTC__" in norm.flags and "-DAITER_CK_FREE=1" in norm.flags
    assert not any(flag.startswith("-D__HIP_NO_HALF") for flag in norm.flags)
    blocked = [unit for unit in units.values() if unit.out_of_reach]
    assert all("3rdparty/composable_kernel, which is not checked out" in unit.out_of_reach for unit in blocked) and blocked


def test_what_older_hip_headers_lack_is_given_beside_the_index_s_parts_alone(tmp_path):
    (tmp_path / "aiter" / "jit").mkdir(parents=True)
    entry = {"module_x": {"srcs": ["f'{AITER_CSRC_DIR}/x.cu'"], "flags_extra_hip": ["'-DX=1'"]}}
    (tmp_path / aiter_units.MODULES).write_text(json.dumps(entry))
    for stand_ins, given in ((tmp_path, True), (None, False)):
        (unit,) = aiter_units.units(tmp_path, replace(TOOLS, stand_ins=stand_ins))
        assert ("unordered_map" in unit.flags) is given and "-DX=1" in unit.flags
        assert any("PciChipId" in flag for flag in unit.flags) is given


def test_strings_of_the_configuration(tmp_path):
    def value(text):
        return aiter_units.value(text, tmp_path)

    assert value("f'{AITER_CSRC_DIR}/kernels/a.cu'") == f"{tmp_path}/csrc/kernels/a.cu"
    assert value("'-mllvm -x=1'") == "-mllvm -x=1"
    assert value("f'-DD={os.environ.get(\"D\", 2)}'") == "-DD=2"
    assert value("f'/hsa/{get_gfx()}/'") == "/hsa/gfx950/"
    assert value("'-a' if int(torch.version.hip.split('.')[0]) >= 7 else '-b'") == ""


def test_a_folder_that_is_not_known_is_said(tmp_path):
    modules = tmp_path / aiter_units.MODULES
    modules.parent.mkdir(parents=True)
    modules.write_text(json.dumps({"module_x": {"srcs": ["f'{NEW_DIR}/a.cu'"]}}))
    with pytest.raises(BadInput, match="a folder that is not known here"):
        aiter_units.units(Path(tmp_path), TOOLS)
