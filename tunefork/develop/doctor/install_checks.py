"""What `doctor` asks of the environment and of the network: torch, variables, what shadows ours, whether the pins can be had."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from tunefork.base.typed import typed
from tunefork.base.upstream_facts.vllm import ENVS
from tunefork.develop import targets
from tunefork.develop.doctor.check import Check, Patient, skipped
from tunefork.develop.doctor.machine_checks import MINIMUM_ROCM
from tunefork.develop.gfx950.plan import AMDSMI_SOURCE
from tunefork.develop.installed import distributions, import_paths, read_mark
from tunefork.develop.vllm_variables import dead, defined
from tunefork.patchset.checkout.applied import applied_tree
from tunefork.patchset.sources import packages, pins, sources


def torch(patient: Patient) -> Check:
    build = patient.machine.torch
    if patient.target == targets.CPU:
        found = f"{build.version} ({build.kind})" if build else "none yet"
        return Check("torch", True if build else None, found, "any build; develop brings one")
    floor = torch_floor(patient)
    wanted = "a ROCm build" + (f", {floor[0]} or newer ({floor[1]})" if floor else "")
    found = f"{build.version} ({build.kind})" if build else "none"
    if build is None or build.hip is None:
        return Check("torch", False, found, wanted, "run build.py with the Python that has the ROCm torch (in the container: `python3 build.py`)")
    old = floor is not None and release(build.version) < release(floor[0])
    remedy = f"take an image whose torch is {floor[0]} or newer; its ROCm comes with it" if old and floor else ""
    return Check("torch", not old, found, wanted, remedy)


def torch_floor(patient: Patient) -> tuple[str, str] | None:
    """The oldest torch that vLLM's extensions are built for, and the line of the applied source that says so."""
    found = asked(patient, "CMakeLists.txt", r"TORCH_TARGET_VERSION=0x([0-9A-Fa-f]{4})")
    return (f"{int(found[0][:2], 16)}.{int(found[0][2:], 16)}", found[1]) if found else None


def asked(patient: Patient, file: str, pattern: str) -> tuple[str, str] | None:
    """What a line of the applied vLLM asks for, and where it is: (version, ``vLLM's FILE:LINE``). pattern: its group is the version."""
    tree = applied_tree(patient.layout, "vllm")
    path = tree.path / file if tree else None
    for number, line in enumerate(path.read_text().splitlines(), 1) if path and path.is_file() else ():
        if word := re.search(pattern, line):
            return word[1], f"vLLM's {file}:{number}"
    return None


def rocm(patient: Patient) -> Check:
    """ROCm, wherever it comes from, against the least that knows gfx950; what vLLM's own image has is named with its line."""
    wanted = f"ROCm {MINIMUM_ROCM} or newer"
    if built := asked(patient, "docker/Dockerfile.rocm_base", r"^ARG ROCM_SDK_VERSION=(\d[\w.]*)"):
        wanted += f"; vLLM's image has {built[0]} ({built[1]})"
    if not patient.has_amd_gpu and patient.machine.rocm is None:
        return skipped("rocm", "no AMD GPU", wanted)
    found, home = patient.machine.rocm, patient.machine.rocm_home
    major = re.match(r"\d+", found or "")
    old = major is None or int(major[0]) < MINIMUM_ROCM
    hip = patient.machine.torch.hip if patient.machine.torch else None
    other = bool(found and hip and not old and release(found)[:1] != release(hip)[:1])
    where = f" ({home})" if home else ""
    remedy = "`python3 build.py container` prints a container that has it" if old else ""
    if other:
        remedy = f"the torch here is built for ROCm {hip}: set ROCM_HOME to the ROCm that it came with, or take a torch for {found}"
    missing = f"none in {home or 'ROCM_HOME, ROCM_PATH, the package rocm or /opt/rocm'}"
    return Check("rocm", not old and not other, f"{found}{where}" if found else missing, wanted, remedy)


def amdsmi(patient: Patient) -> Check:
    """amdsmi, by which vLLM finds its ROCm platform: the machine's own, of the ROCm that is here."""
    named = asked(patient, "requirements/build/rocm.txt", r"^amdsmi==([\w.]+)")
    wanted = "the package of this machine's ROCm" + (f"; {named[1]} names {named[0]}, which develop leaves out" if named else "")
    if patient.target != targets.GFX950:
        return skipped("amdsmi", "target cpu does not use it", wanted)
    found = distributions().get("amdsmi")
    home = patient.machine.rocm_home
    source = home / AMDSMI_SOURCE if home else None
    if found is not None:
        fits = patient.machine.rocm is None or release(found.version)[:1] >= (MINIMUM_ROCM,)
        return Check("amdsmi", fits, found.version, wanted, "" if fits else f"pip uninstall amdsmi, then `python3 build.py develop`: it installs {source}")
    if source is not None and source.is_dir():
        return Check("amdsmi", None, f"none yet; develop installs {source}", wanted)
    return Check("amdsmi", None if patient.machine.rocm is None else False, "none", wanted,
                 "`python3 build.py container` prints a container that has it" if patient.machine.rocm else "")


def release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def variables(patient: Patient) -> Check:
    wanted = "no VLLM_* variable that vLLM ignores"
    tree = applied_tree(patient.layout, "vllm")
    envs = tree.path / ENVS if tree else None
    if envs is None or not envs.is_file():
        return skipped("variables", "vLLM is not applied yet", wanted)
    lost = dead(patient.environment, defined(envs))
    found = "; ".join(f"{one.name} does nothing" for one in lost) or "none"
    return Check("variables", not lost, found, wanted, "; ".join(f"{one.name}: {one.advice}" for one in lost))


def shadowing(patient: Patient) -> Check:
    wanted = "vllm and aiter are imported from this project's checkouts"
    mark = read_mark()
    if mark is None:
        return skipped("shadowing", "nothing is developed in this environment yet", wanted)
    names = ("vllm", "aiter") if mark.target == targets.GFX950 else ("vllm",)
    ours = {name: patient.layout.checkout(name) for name in names}
    origins = import_paths(*names)
    wrong = {name: origin for name, origin in origins.items() if origin is None or ours[name] not in origin.parents}
    found = "; ".join(f"{name}: {origin or 'not found'}" for name, origin in (wrong or origins).items())
    remedy = "unset PYTHONPATH, `pip uninstall` the other one, then `python3 build.py develop`" if wrong else ""
    return Check("shadowing", not wrong, found, wanted, remedy)


def harmony(patient: Patient) -> Check:
    """Two packages are one module: the one installed last answers, and their prompts differ (findings/harmony_two_packages_one_module.sh)."""
    named = asked(patient, "requirements/common.txt", r"^oss-harmony *>= *([\w.]+)")
    wanted = "oss-harmony alone is the module openai_harmony" + (f" ({named[1]})" if named else "")
    here = distributions()
    found = [f"{name} {here[name].version}" for name in ("oss-harmony", "openai-harmony") if name in here]
    if not found:
        return skipped("harmony", "nothing is developed in this environment yet", wanted)
    wrong = "openai-harmony" in here
    python = typed(sys.executable)
    remedy = f"`{python} -m pip uninstall -y openai-harmony oss-harmony && {python} -m pip install 'oss-harmony>={named[0] if named else 0}'`"
    return Check("harmony", not wrong, " and ".join(found), wanted, remedy if wrong else "")


def reachable_checks(patient: Patient) -> list[Callable[[], Check]]:
    """A check per pin, each of which may take seconds of network."""

    def source(pin: pins.Pin) -> Check:
        ok, line = sources.reachable(pin, patient.layout)
        optional = pin.name == "aiter" and patient.target == targets.CPU
        remedy = "" if ok else "set url.<base>.insteadOf or a proxy in your git configuration, or an index for pip"
        wanted = f"{pin.tag} can be had"
        if optional and not ok:
            return Check(f"pin {pin.name}", None, f"{line}; target cpu does not need it", wanted, remedy)
        return Check(f"pin {pin.name}", ok, line, wanted, remedy)

    def wheel() -> Check:
        pin = pins.cpu_operators(patient.layout)
        if patient.target != targets.CPU:
            return skipped(f"pin {pin.name}", "only target cpu uses it", f"{pin.version} can be had")
        if any((patient.layout.cache / "downloads").glob(f"**/{pin.name.replace('-', '_')}-{pin.version}-*.whl")):
            return Check(f"pin {pin.name}", True, "in the cache", f"{pin.version} can be had")
        ok, line = packages.available(pin.name, pin.version, "wheel", 10.0)
        return Check(f"pin {pin.name}", ok, line, f"{pin.version} can be had", "" if ok else "configure an index for pip (pip config)")

    return [*((lambda pin=pin: source(pin)) for pin in pins.load(patient.layout).values()), wheel]


CHECKS = (rocm, torch, amdsmi, variables, shadowing, harmony)
