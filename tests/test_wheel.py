"""The wheel and the sdist, built as a user builds them, from a checkout that lost its links; and the checkout's own names on Python's path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from project import ROOT, project

slow = pytest.mark.slow
Done = subprocess.CompletedProcess[str]
NO_CHECKOUT = "is not in a Tunefork checkout"
EXTRAS = ("numpy", "scipy", "httptools", "torch", "triton", "duckdb", "pyarrow", "transformers", "vllm", "requests")
"""What ``pip install tunefork`` does not bring, of what this code imports."""

# What is typed in a folder that is no checkout -> what it says that it needs; "" works there.
ELSEWHERE: dict[str, str | tuple[str, ...]] = {
    "plan-sizes --conc 8": "", "kernels list": "", "--version": "", "-h": "",
    "bench ab": "needs httptools, numpy, scipy", "bench report": "needs numpy", "bench kernels": "need torch", "kernels gate": "need torch",
    "kernels tune": "needs torch", "kernels compare": ("need", "llvm-mca"),
    **dict.fromkeys((
        "apply", "status", "develop", "develop --dry-run", "serve", "serve --dry-run", "bench run", "bench profile", "bench compare a b",
        "bench query --sql select", "bench submit x --team t", "variants diff base all", "patch lint", "patch export", "patch lock vllm",
        "patch show x", "patch log x", "patch graph", "patch new x", "patch edit x", "patch refresh", "patch reorder a --first",
        "patch split a b c", "patch squash a b", "patch drop a", "patch rename a b", "patch import . --upstream x", "bisect vllm --run true",
        "upstream x", "rebase vllm --to 1", "test", "doctor", "container", "clean --dry-run"), NO_CHECKOUT),
}  # fmt: skip


def run(*argv: str | Path, cwd: Path, **env: str) -> Done:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUNEFORK_", "PYTHON"))}
    return subprocess.run([str(word) for word in argv], cwd=cwd, env=kept | env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose links are small text files, as git on Windows and some zips leave them."""
    root = project(tmp_path_factory.mktemp("zip") / "tunefork")
    for name in ("kernels", "bench"):
        target = (root / name).readlink()
        (root / name).unlink()
        (root / name).write_text(str(target))
    return root


@pytest.fixture(scope="module")
def built(checkout: Path) -> Path:
    """dist/ of `python3 -m build`, typed where build.py lies."""
    done = run(sys.executable, "-m", "build", cwd=checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return checkout / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a clean environment with the wheel and what it requires."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    done = run(venv / "bin/python", "-m", "pip", "install", "-q", next(built.glob("*.whl")), cwd=venv)
    assert done.returncode == 0, done.stderr
    return venv / "bin"


@slow
def test_the_wheel_holds_the_packages_and_nothing_else(built: Path) -> None:
    held = {name for name in zipfile.ZipFile(next(built.glob("*.whl"))).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", "tunefork", "vllm_overrides"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert held == set(tracked.stdout.split())


@slow
def test_the_sdist_is_a_checkout(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in tracked if not (root / name).exists()} <= {"kernels", "bench"}
    done = run(sys.executable, root / "build.py", "--no-venv", "status", "vllm", "--json", cwd=tmp_path)
    assert done.returncode == 0 and '"pin"' in done.stdout, done.stderr


@slow
@pytest.mark.parametrize("words", ELSEWHERE)
def test_each_command_outside_a_checkout_works_or_says_what_it_needs(words: str, installed: Path, tmp_path: Path) -> None:
    done = run(installed / "tunefork", *words.split(), cwd=tmp_path, TUNEFORK_CACHE=str(tmp_path / "cache"))
    needs = ELSEWHERE[words]
    if not needs:
        assert done.returncode == 0, done.stderr
        return
    error, remedy = done.stderr.splitlines()
    assert done.returncode in (2, 6) and error.startswith("error: ") and remedy.startswith("  try: ") and "build.py" not in remedy
    assert any(need in error for need in ([needs] if isinstance(needs, str) else needs)), error


@pytest.mark.slow
def test_no_command_needs_an_extra_before_it_says_so(tmp_path: Path) -> None:
    """The same without building anything: numpy came in with a client's module, and `bench run` of a bare install ended in a traceback."""
    blocked = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
from tunefork.cli import main
for words in {[*ELSEWHERE]!r}:
    sys.argv = ["tunefork", *words.split()]
    try:
        main.main()
    except SystemExit:
        pass
    except BaseException as error:
        print("RAISED", words, repr(error))
"""
    for package in ("tunefork", "vllm_overrides"):  # away from this checkout, on which the commands would act
        shutil.copytree(ROOT / package, tmp_path / "site" / package)
    done = run(sys.executable, "-P", "-c", blocked, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"), TUNEFORK_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0 and "RAISED" not in done.stdout and done.stderr.count(NO_CHECKOUT) > 30, done.stdout[-2000:] + done.stderr


@slow
def test_in_a_checkout_the_wheel_acts_on_it(installed: Path, checkout: Path, tmp_path: Path) -> None:
    folder = checkout / "patches" / "vllm"
    said = run(installed / "tunefork", "status", "--json", cwd=folder, TUNEFORK_CACHE=str(tmp_path))
    assert said.returncode == 0 and '"name": "tuned-gemm-first"' in said.stdout, said.stderr
    served = run(installed / "tunefork", "serve", "--profile", "stage2", "--dry-run", cwd=folder, TUNEFORK_CACHE=str(tmp_path))
    assert served.returncode == 0 and f"{checkout}/work" in served.stdout, served.stderr
    wrong = run(installed / "tunefork", "aply", cwd=folder)
    assert "try: tunefork apply" in wrong.stderr


@slow
@pytest.mark.parametrize("links", ["text", "none"])
def test_a_checkout_without_its_links_works(links: str, checkout: Path, tmp_path: Path) -> None:
    root = project(tmp_path / "zip") if links == "none" else checkout
    if links == "none":
        for name in ("kernels", "bench"):
            (root / name).unlink()
    for words in (["status", "vllm"], ["plan-sizes", "--conc", "8"], ["serve", "--dry-run"]):
        # The checkout's own code: this environment's install of another one must not answer for it.
        done = run(sys.executable, "-P", "-m", "tunefork.cli.main", *words, cwd=root, PYTHONPATH=str(root), TUNEFORK_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr


@slow
def test_an_editable_install_puts_neither_root_nor_links_on_the_path(tmp_path: Path) -> None:
    """transformers imports a library called `kernels`; ours must not answer for it, whatever the working directory of the program is."""
    root = project(tmp_path / "clone")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    done = run(python, "-m", "pip", "install", "-q", "--no-deps", "-e", root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("kernels", "bench", "build", "studies", "tools"):
        found = run(python, "-c", f"import {name}", cwd=tmp_path)
        assert found.returncode == 1 and f"No module named '{name}'" in found.stderr, found
    seen = run(python, "-c", "import sys, tunefork, vllm_overrides; print(tunefork.__path__[0]); print(*sys.path, sep='\\n')", cwd=tmp_path)
    ours, *path = seen.stdout.splitlines()
    assert Path(ours) == root / "tunefork" and str(root) not in path, seen


@slow
def test_where_the_packaging_tool_is_missing_build_py_names_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    done = run(tmp_path / "venv/bin/python", "-m", "build", cwd=ROOT)
    assert done.returncode == 1 and "lacks the packaging tool `build`" in done.stderr and "-m pip install build" in done.stderr
