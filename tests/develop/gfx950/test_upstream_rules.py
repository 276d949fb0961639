"""What the plan of `develop --target gfx950` rests on, rule by rule, each with the file and line of the pinned source that says so.

A rule is (what the plan does, the file below work/, its line, what stands there). A pin that moves makes these fail: read the line again.
"""

import re

import pytest

from tunefork.base.layout import Layout
from tunefork.develop.gfx950 import plan as gfx950
from tunefork.develop.gfx950 import triton_kernels

WORK = Layout.here().work

AITER = (
    ("0 is the default, and what the editable install passes", "setup.py", 19, 'os.environ.get("PREBUILD_KERNELS", "0")'),
    ("pip asks for metadata by dist_info, for which jit is not imported ...", "setup.py", 184, '"dist_info",'),
    ("... but with another value than 0 this import follows: `No module named 'jit'`", "setup.py", 290, "from jit.utils.mha_recipes import"),
    ("so the build ahead runs setup.py with a word that holds `editable`", "setup.py", 51, '"editable" in arg'),
    ("the prebuild empties the JIT build folder", "setup.py", 352, "shutil.rmtree(bd"),
    ("MAX_JOBS bounds the C++ modules", "setup.py", 383, 'os.environ.get("MAX_JOBS")'),
    ("and this the FlyDSL compilers, which do not look at MAX_JOBS", "aiter/aot/flydsl/common.py", 239, 'os.environ.get("AITER_FLYDSL_AOT_WORKERS")'),
    ("the machine's Triton stays", "setup.py", 99, "AITER_USE_SYSTEM_TRITON = int("),
    ("in an editable install setup.py runs pip for this, unless it is there", "setup.py", 16, 'FLYDSL_VERSION = "flydsl==0.3.1"'),
    ("and the build requirements bring it first", "pyproject.toml", 11, "flydsl==0.3.1"),
    ("unset or native asks rocminfo, and there may be no GPU", "aiter/jit/core.py", 487, 'os.getenv("GPU_ARCHS", "native")'),
    ("HipKittens is cloned by experimental modules alone ...", "aiter/jit/core.py", 1215, "if not is_experimental_enabled() and single_ops.get("),
    ("... which this variable would add", "aiter/jit/core.py", 41, 'os.environ.get("AITER_ENABLE_EXPERIMENTAL", "0")'),
    ("and whose clone edits the user's git configuration", "aiter/jit/core.py", 764, '"git", "config", "--global"'),
    ("ROCm is looked for by these variables ...", "aiter/jit/utils/cpp_extension.py", 144, 'os.environ.get("ROCM_HOME") or os.environ.get("ROCM_PATH")'),
    ("... then as Python packages", "aiter/jit/utils/cpp_extension.py", 152, 'find_spec("_rocm_sdk_devel")'),
    ("where the JIT objects are", "aiter/jit/core.py", 463, '"AITER_JIT_DIR" in os.environ'),
    ("stale objects go, build folders stay, as AITER_REBUILD=2 does it", "aiter/jit/core.py", 853, "AITER_REBUILD >= 2"),
    ("the one submodule", ".gitmodules", 1, "3rdparty/composable_kernel"),
)
VLLM = (
    ("the target is said, not guessed from torch", "setup.py", 110, 'os.getenv("VLLM_TARGET_DEVICE") is None'),
    ("the version is ours", "setup.py", 1352, 'os.getenv("VLLM_VERSION_OVERRIDE")'),
    ("MAX_JOBS bounds the compilers", "setup.py", 218, "num_jobs = envs.MAX_JOBS"),
    ("ccache is taken where it is", "setup.py", 291, "-DCMAKE_HIP_COMPILER_LAUNCHER=ccache"),
    ("ROCm is where torch found it", "setup.py", 331, "-DROCM_PATH={ROCM_HOME}"),
    ("the architectures", "cmake/utils.cmake", 555, "DEFINED ENV{PYTORCH_ROCM_ARCH}"),
    ("gfx950 is one of them", "CMakeLists.txt", 55, "gfx950"),
    ("without this CMake clones ROCm/triton", "cmake/external_projects/triton_kernels.cmake", 5, "DEFINED ENV{TRITON_KERNELS_SRC_DIR}"),
    ("vLLM's own image sets it, too", "docker/Dockerfile.rocm", 311, "ENV TRITON_KERNELS_SRC_DIR="),
    ("the oldest torch that `doctor` takes, 2.11", "CMakeLists.txt", 1286, "TORCH_TARGET_VERSION=0x020B"),
    ("ROCm 10 is a Python package", "vllm/platforms/rocm.py", 426, 'importlib.metadata.version("rocm")'),
    ("the build requirements pin another ROCm's torch: left out", "requirements/build/rocm.txt", 6, "torch==2.12.0+rocm7.14.0"),
    ("and another ROCm's amdsmi", "requirements/build/rocm.txt", 17, "amdsmi=="),
    ("the requirements name neither torch nor Triton", "requirements/rocm.txt", 2, "-r common.txt"),
    ("image of ROCm 10: torch", "docker/Dockerfile.rocm_base", 3, "TORCH_VERSION=2.13.0+rocm10.0.0"),
    ("image of ROCm 10: Triton", "docker/Dockerfile.rocm_base", 7, "TRITON_VERSION=3.8.0"),
    ("image of ROCm 10: AITER is built with the same variables", "docker/Dockerfile.rocm_base", 254, "PREBUILD_KERNELS=1 AITER_USE_SYSTEM_TRITON=1 GPU_ARCHS="),
    ("image of ROCm 7.2.3", "docker/Dockerfile.rocm_72_base", 1, "7.2.3"),
    ("image of ROCm 7.2.3: torch 2.13", "docker/Dockerfile.rocm_72_base", 4, "release/2.13"),
    ("image of ROCm 7.2.3: AITER likewise", "docker/Dockerfile.rocm_72_base", 272, "PREBUILD_KERNELS=1 AITER_USE_SYSTEM_TRITON=1 GPU_ARCHS="),
)


def source(upstream, name):
    path = WORK / upstream / name
    if not (WORK / upstream).is_dir():
        pytest.skip(f"NOT TESTED: no source of {upstream} is applied here (python3 build.py apply {upstream})")
    return path.read_text()


@pytest.mark.parametrize(("upstream", "rule", "name", "number", "text"),
                         [*(("vllm", *row) for row in VLLM), *(pytest.param("aiter", *row, marks=pytest.mark.aiter) for row in AITER)])
def test_the_line_says_it(upstream, rule, name, number, text):
    lines = source(upstream, name).splitlines()
    now = [at for at, line in enumerate(lines, 1) if text in line]
    assert text in lines[number - 1], f"{rule}: {upstream}/{name}:{number} no longer says {text!r}; it stands in lines {now}"


def test_vllm_is_the_only_one_that_fetches_on_rocm():
    """Further projects that CMake clones belong to CUDA or to the CPU; a new one for ROCm would be a clone that no step shows."""
    listed = source("vllm", "CMakeLists.txt")
    for project in re.findall(r"include\(cmake/external_projects/(\w+)\.cmake\)", listed):
        before = listed[: listed.index(f"external_projects/{project}.cmake")]
        guard = re.findall(r'^if\s*\((.*)\)|^\s*(endif)\(', before, re.MULTILINE)
        opened = []
        for condition, end in guard:
            if end and opened:
                opened.pop()
            elif condition:
                opened.append(condition)
        assert project == "triton_kernels" or any('"CUDA"' in each or '"cuda"' in each.lower() for each in opened), project


def test_the_build_requirements_of_the_real_trees():
    source("vllm", "setup.py")
    written = gfx950.build_requirements(WORK / "vllm", WORK / "aiter")
    names = [re.match(r"[A-Za-z0-9_-]+", line)[0].lower() for line in written]
    assert {"cmake", "setuptools-scm", "setuptools-rust", "wheel", "jinja2"} <= set(names)
    assert not {"torch", "torchvision", "torchaudio", "triton", "amdsmi"} & set(names)
    assert not [line for line in written if line.startswith("-")]


def test_rocms_triton_is_read_from_cmake():
    source("vllm", "setup.py")
    url, commit = triton_kernels.pinned(WORK / "vllm")
    assert (url, commit) == ("https://github.com/ROCm/triton.git", "669b31acc1dd1b3fd93286afd5db67f65d9f7557")
