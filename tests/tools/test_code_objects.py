"""tools/code_objects.py: the hash of a code object says what the machine would do, not where the source stands."""

from __future__ import annotations

from pathlib import Path

from tools.code_objects import digest, digest_of, sections
from tunefork.kernels.amdgcn.compile import Request, build

SOURCE = """import triton
import triton.language as tl
{above}

@triton.jit
def twice_kernel(x, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(x + at, tl.load(x + at) * {by})
"""


def request(folder: Path, name: str, *, above: str = "", by: int = 2) -> Request:
    file = folder / f"{name}.py"
    file.write_text(SOURCE.format(above=above, by=by))
    return Request(name, str(file), "twice_kernel", {"x": "*i32"}, {"SIZE": 64}, {"num_warps": 1}, {})


def test_a_move_changes_the_object_and_not_its_hash(tmp_path: Path) -> None:
    here, there = request(tmp_path, "code_objects_here"), request(tmp_path, "code_objects_there", above="\n" * 40)
    one, other = build(here).asm["hsaco"], build(there).asm["hsaco"]
    assert one != other and sections(one)[".debug_line"] != sections(other)[".debug_line"]
    assert digest(one) == digest(other)


def test_another_instruction_changes_the_hash(tmp_path: Path) -> None:
    assert digest_of(request(tmp_path, "code_objects_two")) != digest_of(request(tmp_path, "code_objects_three", by=3))
