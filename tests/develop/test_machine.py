"""Reading a machine's facts from its files."""

import pytest

from tunefork.develop import machine
from tunefork.develop.machine import TorchBuild, gpu_architectures, probe, torch_build


def test_a_machine_with_gpus(tmp_path):
    for number, version in enumerate((0, 90500, 90500, 90010, 110501)):
        node = tmp_path / machine.KFD_NODES / str(number)
        node.mkdir(parents=True)
        (node / "properties").write_text(f"cpu_cores_count 0\ngfx_target_version {version}\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kfd").touch()
    (tmp_path / "opt/rocm/.info").mkdir(parents=True)
    (tmp_path / "opt/rocm/.info/version").write_text("7.2.0-43\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2 avx512f\n\nprocessor : 1\nflags : fpu\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:       1024 kB\nMemFree: 3 kB\n")
    found = probe(tmp_path)
    assert found.gpus == ("gfx950", "gfx950", "gfx90a", "gfx1151")
    assert (found.kfd, found.rocm, found.memory) == (True, "7.2.0-43", 1 << 20)
    assert found.cpu_flags == {"fpu", "avx2", "avx512f"}


@pytest.fixture(autouse=True)
def _no_rocm_of_this_machine(monkeypatch):
    monkeypatch.delenv("ROCM_HOME", raising=False)
    monkeypatch.delenv("ROCM_PATH", raising=False)


def test_rocm_elsewhere_in_the_order_in_which_the_builds_look(tmp_path, monkeypatch):
    for place, version in (("opt/rocm", "7.0.0"), ("home", "7.2.3"), ("path", "7.1.0")):
        (tmp_path / place / ".info").mkdir(parents=True)
        (tmp_path / place / ".info" / "version").write_text(version)
    assert (machine.rocm_version(tmp_path), machine.rocm_home(tmp_path)) == ("7.0.0", tmp_path / "opt" / "rocm")
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "path"))
    assert machine.rocm_version(tmp_path) == "7.1.0"
    monkeypatch.setenv("ROCM_HOME", str(tmp_path / "home"))
    assert (machine.rocm_version(tmp_path), machine.rocm_home(tmp_path)) == ("7.2.3", tmp_path / "home")


def test_rocm_as_python_packages(tmp_path, monkeypatch):
    (tmp_path / "_rocm_sdk_devel").mkdir()
    (tmp_path / "_rocm_sdk_devel" / "__init__.py").write_text("")
    (tmp_path / "rocm-10.0.0.dist-info").mkdir()
    (tmp_path / "rocm-10.0.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rocm\nVersion: 10.0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (machine.rocm_version(tmp_path), machine.rocm_home(tmp_path)) == ("10.0.0", tmp_path / "_rocm_sdk_devel")


def test_libraries_that_the_loader_does_not_find(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPU_LIBRARIES", ("libc.so.6", "libtunefork-none.so.1"))
    assert probe(tmp_path).unloadable == ("libtunefork-none.so.1",)


def test_a_machine_without(tmp_path):
    found = probe(tmp_path)
    assert (found.kfd, found.gpus, found.rocm, found.memory, found.cpu_flags) == (False, (), None, 0, frozenset())
    assert gpu_architectures(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", TorchBuild("2.13.0+cpu", None, None)),
        ("__version__ = '2.13.0+rocm7.2'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.2.1'\n", TorchBuild("2.13.0+rocm7.2", "7.2.1", None)),
        ("__version__ = '2.5.1'\ncuda = '12.4'\nhip = None\n", TorchBuild("2.5.1", None, "12.4")),
        ("nothing\n", None),
    ],
)
def test_torch_builds(tmp_path, text, expected):
    (tmp_path / "version.py").write_text(text)
    assert torch_build(tmp_path / "version.py") == expected


def test_torch_kind():
    assert [TorchBuild("1", *build).kind for build in ((None, None), ("7", None), (None, "12"))] == ["CPU", "ROCm", "CUDA"]
