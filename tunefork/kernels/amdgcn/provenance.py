"""Which kernel argument each global load reads from: pointers followed through the registers, branch by branch, to a fixed point.

A pointer is known where it enters (preloaded registers, loads from the kernel arguments); arithmetic keeps it, loaded data loses it. So a count
of loads can say "weights" where a count of mnemonics cannot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tunefork.kernels.amdgcn.assembly import BRANCH, Instruction, Program
from tunefork.kernels.amdgcn.errors import BadAssembly
from tunefork.kernels.amdgcn.facts import LOAD, LOAD_BYTES

State = dict[str, frozenset[str]]
NOTHING: frozenset[str] = frozenset()
KERNARG = frozenset({"(kernel arguments)"})
REGISTER = re.compile(r"([vsa])(?:(\d+)|\[(\d+):(\d+)\])")
NO_RESULT = re.compile(r"(ds_write|global_store|buffer_store|s_(cmp|cmpk|bitcmp|c?branch|waitcnt|barrier|nop|endpgm|setprio|sleep|setreg))")
SCALAR_LOAD = re.compile(r"s_load_dword(?:x(\d+))?$")


def registers(operand: str) -> list[str]:
    """The registers of an operand, "s[2:3]" as ["s2", "s3"]; also behind a sign or in bars."""
    found = REGISTER.search(operand)
    if not found:
        return [operand] if operand in ("vcc", "m0", "exec") else []
    first = int(found[2] or found[3])
    return [f"{found[1]}{at}" for at in range(first, int(found[4] or first) + 1)]


def entry_state(program: Program, words: Mapping[int, frozenset[str]]) -> State:
    """What the scalar registers hold before the first instruction: the kernarg pointer, and arguments that the firmware preloads."""
    directives, place = program.directives, 0
    state: State = {}
    for name in ("dispatch_ptr", "queue_ptr", "kernarg_segment_ptr", "dispatch_id"):
        if directives.get(f"user_sgpr_{name}", 0):
            if name == "kernarg_segment_ptr":
                state |= {f"s{place}": KERNARG, f"s{place + 1}": KERNARG}
            place += 2
    place += directives.get("user_sgpr_private_segment_size", 0)
    first = directives.get("user_sgpr_kernarg_preload_offset", 0)
    for word in range(directives.get("user_sgpr_kernarg_preload_length", 0)):
        state[f"s{place + word}"] = words.get(first + word, NOTHING)
    return state


def held(state: State, operands: Iterable[str]) -> frozenset[str]:
    """The arguments from which any register of these operands derives."""
    return frozenset().union(*(state.get(name, NOTHING) for operand in operands for name in registers(operand)))


def step(state: State, item: Instruction, words: Mapping[int, frozenset[str]]) -> None:
    """Change the state as an instruction does."""
    if not item.operands or NO_RESULT.match(item.mnemonic):
        return
    result, sources = registers(item.operands[0]), item.operands[1:]
    if found := SCALAR_LOAD.match(item.mnemonic):
        first = int(item.modifiers.get("offset") or "0", 0) + (int(sources[1], 0) if re.fullmatch(r"0x[\da-f]+|\d+", sources[1]) else 0)
        known = held(state, sources[:1]) & KERNARG
        for at, name in enumerate(result[: int(found[1] or 1)]):
            state[name] = words.get(first // 4 + at, NOTHING) if known else NOTHING
        return
    loaded = LOAD.match(item.mnemonic) or item.mnemonic.startswith("ds_read")
    value = NOTHING if loaded else held(state, sources)
    if item.mnemonic.startswith("v_writelane"):
        value |= held(state, item.operands[:1])
    for name in result:
        state[name] = value


def address_operands(item: Instruction) -> Sequence[str]:
    """Where a load's base is: the resource of a buffer load; the address of a global one."""
    if item.mnemonic.startswith("buffer"):
        return item.operands[-2:-1]
    return item.operands[1:]


def sources_of_loads(program: Program, names: Sequence[str]) -> dict[int, str]:
    """Place of each global load -> the argument it reads from, by name ("?" where none or several could be).

    names: the run-time arguments in the order of the signature (Triton's hidden ones come after them).
    """
    visible = [item for item in program.arguments if not item.kind.startswith("hidden")]
    if len(visible) < len(names):
        raise BadAssembly(f"{program.name} takes {len(visible)} arguments, {len(names)} names came")
    words: dict[int, frozenset[str]] = {}
    for name, argument in zip(names, visible, strict=False):
        if argument.kind == "global_buffer":
            words |= {argument.offset // 4: frozenset({name}), argument.offset // 4 + 1: frozenset({name})}
    before: dict[int, State] = {program.entry: entry_state(program, words)}
    found: dict[int, frozenset[str]] = {}
    todo = [program.entry]
    leaders = {program.target(item) for item in program.instructions if BRANCH.match(item.mnemonic)}
    while todo:
        at = todo.pop()
        state = dict(before[at])
        while True:
            item = program.instructions[at]
            if LOAD.match(item.mnemonic):
                found[at] = found.get(at, NOTHING) | held(state, address_operands(item))
            step(state, item, words)
            following = program.successors(at)
            if len(following) == 1 and following[0] not in leaders:
                at = following[0]
                continue
            for after in following:
                known = before.get(after)
                joined = dict(state) if known is None else {name: known.get(name, NOTHING) | state.get(name, NOTHING) for name in {*known, *state}}
                if joined != known:
                    before[after] = joined
                    todo.append(after)
            break
    return {at: next(iter(holds)) if len(holds) == 1 else "?" for at, holds in sorted(found.items())}


def widths_by_argument(program: Program, body: Sequence[Instruction], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Loads of some instructions: argument -> bytes per lane (as text) -> how many."""
    where = sources_of_loads(program, names)
    counts: dict[str, Counter[str]] = {}
    for item in body:
        if loaded := LOAD.match(item.mnemonic):
            counts.setdefault(where.get(item.index, "?"), Counter())[str(LOAD_BYTES[loaded[3].split("_")[0]])] += 1
    return {name: dict(widths) for name, widths in counts.items()}
