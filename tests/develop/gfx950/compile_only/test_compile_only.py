"""`develop --target gfx950 --compile-only` with a compiler of the test's own: what is compiled again, what is said of failures, and the exit code.

The stand-in reads a source and what it includes as C does, writes their text as the code, and the names of all it read as clang does.
"""

import json
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from develop_workshop import CPU_MACHINE

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.cli.develop import develop as command
from tunefork.develop.gfx950.compile_only import compile_only as native
from tunefork.develop.gfx950.compile_only import parts, toolchain
from tunefork.develop.gfx950.compile_only.toolchain import Toolchain
from tunefork.develop.gfx950.compile_only.unit import Unit

COMPILER = """
import re, sys
from pathlib import Path
words = sys.argv[1:]
out = Path(words[words.index("-o") + 1])
if "assembler" in words:
    out.write_text("object"); sys.exit()
folders = [words[at + 1] for at, word in enumerate(words) if word in ("-I", "-isystem")]
read = []
def text(path):
    read.append(str(path))
    lines = []
    for line in path.read_text().splitlines():
        if name := re.match(r'#include "(.*)"', line):
            found = next((Path(one) / name[1] for one in [path.parent, *folders] if (Path(one) / name[1]).is_file()), None)
            if found is None:
                sys.exit(f"{path}:1:1: fatal error: '{name[1]}' file not found")
            lines += text(found)
        elif line.startswith("#error"):
            sys.exit(f"{path}:7:9: error: {line[7:]}")
        else:
            lines.append(line)
    return lines
code = text(Path(words[-1]))
Path(words[words.index("-dependency-file") + 2]).write_text("code: " + " \\\\\\n ".join(read) + "\\n")
registers = max([int(line[6:]) for line in code if line.startswith("vgprs ")], default=1)
out.write_text("\\n".join(code) + f"\\namdhsa.kernels:\\n  - .name: k\\n    .vgpr_count: {registers}\\n")
"""


class Project:
    """Sources of an upstream in a folder, and the run over them."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder / "src"
        (self.folder / "include").mkdir(parents=True)
        (folder / "root").mkdir()
        (folder / "compiler.py").write_text(COMPILER)
        self.layout = Layout(folder / "root", folder / "cache")
        tools = Toolchain("stand-in", "stand-in", (sys.executable, str(folder / "compiler.py")), (), (), (6, 2), folder / "stand_ins", "1")
        self.tools = tools
        monkeypatch.setattr(native.toolchain, "find", lambda *_: self.tools)
        monkeypatch.setattr(native, "applied_tree", lambda _layout, name: type("Tree", (), {"path": self.folder})() if name == "vllm" else None)
        monkeypatch.setattr(native.vllm_units, "units", lambda *_: [self.unit(path.name) for path in sorted(self.folder.glob("*.cu"))])
        monkeypatch.setattr("tunefork.cli.develop.Layout.here", lambda: self.layout)
        self.flags, self.said = ("-O2",), []

    def unit(self, name):
        return Unit(f"vllm/{name}", self.folder / name, self.flags, (str(self.folder / "include"),), "_C")

    def write(self, **files):
        for name, text in files.items():
            (self.folder / name.replace("__", "/").replace("_h", ".h").replace("_cu", ".cu")).write_text(text + "\n")

    def run(self, **how):
        self.said.clear()
        return native.compile_only(self.layout, CPU_MACHINE, say=self.said.append, **how)

    def states(self, **how):
        return {one.name.removeprefix("vllm/"): one.state for one in self.run(**how).files}

    def again(self):
        """Which files a run compiles."""
        return {name for name, state in self.states().items() if state == "compiled"}

    def clean(self):
        """The code of every file, compiled with an empty cache."""
        there, self.layout = self.layout, Layout(self.layout.root, self.layout.cache / f"clean-{len(list(self.layout.cache.glob('clean-*')))}")
        try:
            return self.codes()
        finally:
            self.layout = there

    def codes(self):
        return {one.name: one.code.read_bytes() for one in self.run().files}

    def cli(self, *arguments):
        return CliRunner().invoke(command, ["--target", "gfx950", "--compile-only", *arguments], catch_exceptions=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = Project(tmp_path, monkeypatch)
    made.write(a_cu='#include "both.h"\na', b_cu='#include "both.h"\n#include "own.h"\nb', c_cu="c", include__both_h="int both;", include__own_h="int own;")
    return made


@pytest.mark.slow
def test_a_rebuild_compiles_what_changed_and_gives_a_clean_builds_code(project):
    assert project.again() == {"a.cu", "b.cu", "c.cu"}
    assert project.again() == set()
    for change, compiled in (
        ({"c_cu": "c2"}, {"c.cu"}),
        ({"include__both_h": "int both2;"}, {"a.cu", "b.cu"}),
        ({"include__own_h": "int own2;"}, {"b.cu"}),
        ({"include__other_h": "nobody includes it"}, set()),
        ({"python.py": "def f(): pass"}, set()),
        ({"d_cu": "a new instance"}, {"d.cu"}),
        ({"own_h": "beside the source: it is found first"}, {"b.cu"}),
    ):
        project.write(**change)
        assert project.again() == compiled, change
        assert project.codes() == project.clean(), change


def test_an_older_content_is_still_there(project):
    project.again()
    project.write(c_cu="c2")
    project.again()
    project.write(c_cu="c")
    assert project.again() == set()


def test_other_flags_or_another_compiler_compile_everything(project):
    project.again()
    project.flags = ("-O3",)
    assert len(project.again()) == 3
    project.tools = replace(project.tools, identity="2")
    assert len(project.again()) == 3


def test_a_file_that_compiled_before_and_does_not_now_is_an_error(project):
    assert project.cli().exit_code == 0
    project.write(a_cu="#error of today")
    done = project.cli()
    assert done.exit_code == 1
    assert "LOST: vllm/a.cu: line 7 of a.cu, of today" in done.stdout and "2 of 3 compiled, 2 of them before" in done.stdout
    assert project.cli().exit_code == 1, "and stays one"
    project.write(a_cu="a")
    assert project.cli().exit_code == 0


def test_one_that_never_compiled_is_told_and_not_counted(project):
    project.write(b_cu='#include "rocprim.h"', c_cu="#error unknown type name '__hip_fp8_e4m3'")
    done = project.cli()
    assert done.exit_code == 0
    assert "out of reach: vllm/b.cu: needs the header rocprim.h, which is in no place here" in done.stdout
    assert "out of reach: vllm/c.cu: needs __hip_fp8_e4m3, of newer HIP headers than a package index has" in done.stdout
    assert "1 of 3 compiled" in done.stdout
    assert project.cli("--only", "b.cu").exit_code == 1, "asked for by name"


def test_facts_against_the_last_good_record(project):
    project.write(c_cu="vgprs 64")
    project.run()
    project.write(c_cu="vgprs 96")
    [c] = project.run(only=["c.cu"]).files
    assert (c.before.facts.vgprs, c.facts.vgprs) == (64, 96)
    project.write(c_cu="vgprs 90")
    assert "96 -> 90" in project.cli("--only", "c.cu").stdout


def test_what_is_no_longer_listed_is_said(project):
    project.run()
    (project.folder / "c.cu").unlink()
    assert project.run().missing == ("vllm/c.cu",)


def test_json(project):
    told = json.loads(project.cli("--json").stdout)
    assert told["toolchain"] == "stand-in" and [one["ok"] for one in told["files"]] == [True] * 3
    assert {"name", "state", "seconds", "peak", "facts", "why", "stand_ins", "lost"} <= set(told["files"][0])
    assert told["files"][0]["peak"] > 1 << 20


def test_a_stand_in_header_with_code_is_marked(project):
    folder = project.tools.stand_ins / "hipcub"
    folder.mkdir(parents=True)
    (folder / "hipcub.h").write_text("reduce\n")
    project.tools = replace(project.tools, includes=(str(project.tools.stand_ins),))
    project.write(a_cu='#include "hipcub/hipcub.h"')
    assert [one.stand_ins for one in project.run().files] == [("hipCUB",), (), ()]
    assert "1 (*) with a stand-in of hipCUB" in project.cli().stdout


def test_bad_input(project):
    with pytest.raises(BadInput, match="no native source matches nothing"):
        project.run(only=["nothing"])
    with pytest.raises(MissingTool, match="aiter is not applied"):
        project.run(upstreams=("aiter",))
    for words in (["--compile-only", "--target", "cpu"], ["--compile-only", "--target", "gfx950", "--dry-run"], ["--jobs", "3"]):
        with pytest.raises(BadInput):
            CliRunner().invoke(command, words, catch_exceptions=False)


def test_a_rocm_is_taken_before_the_parts(project, tmp_path, monkeypatch):
    home = tmp_path / "rocm"
    clang = home / "lib" / "llvm" / "bin" / "clang++"
    clang.parent.mkdir(parents=True)
    clang.write_text("#!/bin/sh\necho AMD clang version 20\n")
    clang.chmod(0o755)
    monkeypatch.undo()
    monkeypatch.setattr(toolchain, "hipified_torch", lambda *_: tmp_path / "torch")
    monkeypatch.setattr(toolchain, "torch_headers", lambda: tmp_path)
    found = toolchain.find(project.layout, replace(CPU_MACHINE, rocm_home=home, rocm="7.2.1"), quiet)
    assert (found.clang, found.hip, found.stand_ins) == ((str(clang),), (7, 2), None)
    assert found.argv == (f"--rocm-path={home}",) and "AMD clang version 20" in found.name
    assert toolchain.described(project.layout, replace(CPU_MACHINE, rocm_home=home, rocm="7.2.1"))[0]


def test_the_parts_are_named_where_nothing_is_there(project):
    here, words = toolchain.described(project.layout, CPU_MACHINE)
    assert not here
    assert all(f"{part.name} {part.version}" in words for part in parts.PARTS)
