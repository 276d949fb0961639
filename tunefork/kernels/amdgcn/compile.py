"""Compiles Triton kernels for gfx950 on any machine: in parallel, and once for each content.

A result is kept under ``<cache>/gfx950/<key>``; the key covers the kernel's source and what it calls, the signature, constexprs,
divisibility, options, Triton's version and the environment variables that change Triton's code generation.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.base.layout import user_cache
from tunefork.base.tied import tied
from tunefork.kernels.amdgcn.errors import CompileFailed
from tunefork.kernels.arch import GFX950
from tunefork.kernels.shipped import Shipped


@dataclass(frozen=True)
class Compiled:
    """One kernel's gfx950 code.

    text: the amdgcn assembly.  shared: LDS bytes.  num_warps: waves per work-group.  dots: `tt.dot` and `tt.dot_scaled` of the kernel
    before Triton lowers them.
    """

    name: str
    key: str
    text: str
    shared: int
    num_warps: int
    triton: str
    dots: int = 0


@dataclass(frozen=True)
class Request:
    """What to compile, in a form that another process can read: the kernel by its module and name."""

    module: str
    file: str
    name: str
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    options: Mapping[str, Any]
    attrs: Mapping[Any, Any]

    @classmethod
    def of(cls, entry: Shipped) -> Request:
        """Of a row whose kernel is a function at the top of a module."""
        function = entry.fn.fn
        file = str(Path(function.__code__.co_filename).resolve())
        names = (function.__module__, file, function.__qualname__)
        return cls(*names, dict(entry.signature), dict(entry.constexprs), dict(entry.options), dict(entry.attrs))

    def kernel(self) -> Any:
        """The ``@triton.jit`` function, imported by module name or from its file."""
        module = sys.modules.get(self.module) or _import(self.module, self.file)
        return getattr(module, self.name)


def _import(name: str, file: str) -> Any:
    try:
        found = importlib.import_module(name)
        if Path(found.__file__ or "").resolve() == Path(file):
            return found
    except ImportError:
        pass
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CompileFailed(f"cannot import the kernel's module {name} from {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def content_key(request: Request) -> str:
    """What the result depends on, as a hash."""
    import triton
    from triton._C.libtriton import get_cache_invalidating_env_vars

    parts = {
        "source": request.kernel().cache_key,
        "signature": dict(request.signature),
        "constexprs": {name: repr(value) for name, value in request.constexprs.items()},
        "options": {name: repr(value) for name, value in request.options.items()},
        "attrs": {repr(name): repr(value) for name, value in request.attrs.items()},
        "triton": triton.__version__,
        "kept": "dots",  # what an older result of the same content lacks
        "environment": dict(get_cache_invalidating_env_vars()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def compile_request(request: Request, cache: Path) -> Compiled:
    """Compile one kernel, or read it from the cache. Errors: CompileFailed with Triton's message."""
    key = content_key(request)
    place = cache / GFX950.name / key
    kept = place.is_dir()
    try:
        about = jsons.loads((place / "facts.json").read_text())
        return Compiled(text=(place / "kernel.amdgcn").read_text(), key=key, **about)
    except (OSError, ValueError, TypeError):  # not there; or what a full disk or a power cut left, which `_store` replaces
        if kept:
            shutil.rmtree(place, ignore_errors=True)
    import triton

    done = build(request)
    dots = len(re.findall(r"\btt\.dot(?:_scaled)?\b", done.asm["ttir"]))
    compiled = Compiled(request.name, key, done.asm["amdgcn"], done.metadata.shared, done.metadata.num_warps, triton.__version__, dots)
    _store(place, compiled)
    return compiled


def build(request: Request) -> Any:
    """Triton's own result: ``.asm["amdgcn"]`` the text, ``.asm["hsaco"]`` the code object. Errors: CompileFailed with Triton's message."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = request.kernel()
    names = list(kernel.arg_names)
    signature = {name: "constexpr" if name in request.constexprs else request.signature.get(name, "") for name in names}
    missing = [name for name, kind in signature.items() if not kind]
    if missing:
        raise CompileFailed(f"{request.name}: no type is given for {', '.join(missing)}")
    attrs = {
        name if isinstance(name, tuple) else (names.index(name),): value if isinstance(value, list) else [["tt.divisibility", value]]
        for name, value in request.attrs.items()
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=dict(request.constexprs), attrs=attrs)
    try:
        target = GPUTarget(*GFX950.target)
        return triton.compile(source, target=target, options=dict(request.options))
    except Exception as error:  # Triton raises many kinds; all mean that this kernel has no gfx950 code
        raise CompileFailed(f"{request.name}: {type(error).__name__}: {error}") from error


def _store(place: Path, compiled: Compiled) -> None:
    """Write a result so that readers see all of it or nothing."""
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    (staging / "kernel.amdgcn").write_text(compiled.text)
    about = {name: getattr(compiled, name) for name in ("name", "shared", "num_warps", "triton", "dots")}
    (staging / "facts.json").write_text(json.dumps(about))
    try:
        staging.rename(place)
    except OSError:  # another process was first, with the same content
        for file in staging.iterdir():
            file.unlink()
        staging.rmdir()


def compile_all(
    entries: Sequence[Shipped], *, cache: Path | None = None, workers: int | None = None
) -> list[Compiled | CompileFailed]:
    """Compile entries in parallel; the result of each is its code or what stopped it, in the order given.

    cache: this user's where not given.  workers: as many processes as cores; 1 compiles in this process.
    """
    place = cache or user_cache()
    requests = [Request.of(entry) for entry in entries]
    count = min(workers or os.cpu_count() or 1, len(requests))
    if count <= 1:
        return [_attempt(request, place) for request in requests]
    results: list[Compiled | CompileFailed | None] = [None] * len(requests)
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(count, mp_context=context, initializer=tied) as pool:
        jobs = {pool.submit(_attempt, request, place): at for at, request in enumerate(requests)}
        for job in as_completed(jobs):
            results[jobs[job]] = job.result()
    return [result for result in results if result is not None]


def _attempt(request: Request, cache: Path) -> Compiled | CompileFailed:
    try:
        return compile_request(request, cache)
    except CompileFailed as error:
        return error
