"""What a run was asked to do: options, the guide's environment variables, the profile - in that order of strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from tunefork.base.checked import first_fault
from tunefork.base.errors import BadInput
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.profile import PARALLEL, Profile, ScenarioSet
from tunefork.bench.records.schema import Model
from tunefork.bench.server.command import EVERYWHERE

Mode = Literal["acc", "perf", "submit"]
# The guide's variables for one configuration, and what each sets here.
GUIDE: dict[str, tuple[str, type]] = {
    "MODEL": ("model", str), "PORT": ("port", int), "TP": ("tp", int), "MAX_MODEL_LEN": ("max_model_len", int), "ISL": ("isl", int),
    "OSL": ("osl", int), "CONC": ("conc", int), "RANDOM_RANGE_RATIO": ("range_ratio", float), "NUM_PROMPTS": ("num_prompts", int),
    "RESULT_FILENAME": ("result_filename", str), "GPU_MEMORY_UTIL": ("gpu_memory_util", float), "BLOCK_SIZE": ("block_size", int),
    "SERVER_LOG": ("server_log", str), "GSM8K_BASELINE_METRIC": ("gsm8k_baseline", float), "GSM8K_TOL": ("gsm8k_tol", float),
}
# The harness' own variables for one configuration; its `-isl -osl` takes all CONC of the pair and computes these anew for each.
OF_ONE = ("CONC", "NUM_PROMPTS", "RESULT_FILENAME")
OF_GSM8K = ("GSM8K_BASELINE_METRIC", "GSM8K_TOL")
OF_OUR_SERVER = ("PORT", "MAX_MODEL_LEN", "GPU_MEMORY_UTIL", "BLOCK_SIZE", "SERVER_LOG")
SERVER_FLAGS = {"max_model_len": "max-model-len", "gpu_memory_util": "gpu-memory-utilization", "block_size": "block-size"}
LEAST_OSL = 2
SHORT_PARALLEL = {"-tp": PARALLEL[0], "-pp": PARALLEL[1], "-dp": PARALLEL[2]}


class Settings(Model):
    """One run. profile: a name or a path.  conc: empty for the profile's.  extra: further `vllm serve` arguments.

    gpus: devices that a server behind ``base_url`` uses; None counts the profile's TP x PP x DP.  server_log: instead of a new file in
    work/logs/serve.  gsm8k_baseline, gsm8k_tol: stage 2's bound is the first less the second, where given.
    """

    profile: str
    mode: Mode = "perf"
    isl: int | None = Field(default=None, ge=1)
    osl: int | None = Field(default=None, ge=1)
    conc: tuple[int, ...] = ()
    variant: str | None = None
    model: str | None = None
    port: int | None = Field(default=None, ge=0, le=65535)
    tp: int | None = Field(default=None, ge=1)
    max_model_len: int | None = Field(default=None, ge=1)
    gpu_memory_util: float | None = Field(default=None, gt=0, le=1)
    block_size: int | None = Field(default=None, ge=1)
    range_ratio: float | None = Field(default=None, gt=0, le=1)
    num_prompts: int | None = Field(default=None, ge=1)
    result_filename: str | None = None
    server_log: str | None = None
    gsm8k_baseline: float | None = Field(default=None, ge=0, le=1)
    gsm8k_tol: float | None = Field(default=None, ge=0, le=1)
    base_url: str | None = None
    gpus: int | None = Field(default=None, ge=1)
    seed_divisor: bool = False
    ready_timeout_s: float | None = Field(default=None, gt=0)
    client_timeout_s: float | None = Field(default=None, gt=0)
    seed: int | None = None
    extra: tuple[str, ...] = ()


def settings(options: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Settings from what was typed (None: not typed) over the guide's variables; also those variables that took effect."""
    typed = {name: value for name, value in options.items() if value not in (None, ())}
    taken: dict[str, str] = {}
    unused = left_out(options, environment)
    for variable, (name, kind) in GUIDE.items():
        text = environment.get(variable, "")
        if not text or name in typed or variable in unused:
            continue
        try:
            value = kind(text)
        except ValueError:
            raise BadInput(f"{variable}={text} in the environment: expected {'a number' if kind is not str else kind.__name__}",
                           f"unset {variable}") from None
        typed[name] = (value,) if name == "conc" else value
        taken[variable] = text
    try:
        made = Settings(**typed)
    except ValidationError as error:
        raise BadInput(first_fault(error), "python3 build.py bench run --help") from None
    check(made)
    return made, taken


def left_out(options: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """The guide's variables that are set and mean something else than what was typed, each with the reason.

    As in its harness: `-isl -osl` asks for every CONC of the pair, and the number of prompts and the file's name are those of one CONC.
    """
    typed = {name for name, value in options.items() if value not in (None, ())}
    found: dict[str, str] = {}

    def leave(names: Sequence[str], why: str) -> None:
        found.update({name: why for name in names if environment.get(name) and GUIDE[name][0] not in typed})

    if any(environment.get(name) for name in OF_GSM8K) and not rules.load(profiles.load(options["profile"])).gsm8k:
        leave(OF_GSM8K, f"profile {options['profile']} has no gsm8k gate of the harness' kind")
    if "base_url" in typed:
        leave(OF_OUR_SERVER, "the server of --base-url has its own")
    concs = options.get("conc") or ()
    if {"isl", "osl"} <= typed:
        leave(OF_ONE, "--isl --osl ask for every CONC of the pair; --conc N for one" if not concs else "it is of the variables' configuration")
    elif concs and list(map(str, concs)) != [environment.get("CONC", str(concs[0]))]:
        leave(OF_ONE[1:], f"it is for CONC {environment.get('CONC') or 'of one value'}")
    elif not concs and not environment.get("CONC"):
        leave(OF_ONE[1:], "without CONC it is not known which one it is for")
    return found


def address(option: str, url: str) -> str:
    """A server's address as a client on this machine reaches it: a server at 0.0.0.0 listens everywhere, and is at no such place.

    BadInput where it has no scheme, no host or a blank: the client would take it for a server that does not answer.
    """
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"{option} {url}: expected http://HOST:PORT", f"{option} http://{url}")
    plain = url.rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(plain)
        host, port = parts.hostname or "", "" if parts.port is None else f":{parts.port}"
    except ValueError as error:
        raise BadInput(f"{option} {url}: expected http://HOST:PORT ({error})", f"{option} http://127.0.0.1:8000") from None
    if not host or any(each.isspace() for each in url) or parts.query or parts.fragment:
        raise BadInput(f"{option} {url}: expected http://HOST:PORT", f"{option} http://127.0.0.1:8000")
    near = EVERYWHERE.get(host)
    return plain if near is None else parts._replace(netloc=f"{near}{port}").geturl()


def check(one: Settings) -> None:
    """Refuse what cannot be meant."""
    if (one.isl is None) != (one.osl is None):
        raise BadInput("--isl and --osl go together", "--isl 1024 --osl 1024")
    if any(conc < 1 for conc in one.conc) or len(set(one.conc)) != len(one.conc):
        raise BadInput(f"--conc {' '.join(map(str, one.conc))}: expected different positive integers", "--conc 4 --conc 8")
    if one.result_filename is not None:
        if "/" in one.result_filename or one.result_filename in (".", ".."):
            raise BadInput(f"RESULT_FILENAME {one.result_filename!r} is not a file's name", "name the folder with --out")
        if len(one.conc) != 1 or one.isl is None:
            raise BadInput("RESULT_FILENAME names one file: it needs one ISL, OSL and CONC", "unset RESULT_FILENAME")
    if one.base_url:
        address("--base-url", one.base_url)
    if one.base_url and (one.extra or one.port is not None or one.variant):
        raise BadInput("--base-url uses a server that runs: its port, variant and arguments are its own",
                       "leave out --port, --variant and what follows `--`")
    for word in one.extra:
        name = word.split("=", 1)[0].replace("_", "-")
        if name in SHORT_PARALLEL or name.removeprefix("--") in PARALLEL:
            flag = SHORT_PARALLEL.get(name, name.removeprefix("--"))
            raise BadInput(f"{name} after `--` would go past the count of GPUs that the score divides by",
                           "--tp N" if flag == PARALLEL[0] else f"set {flag} in a profile of your own")


def profile(one: Settings) -> Profile:
    """The profile with the settings applied: TP, the server's flags, and the scenarios to run."""
    found = profiles.load(one.profile)
    if one.tp is not None:
        found = found.with_tensor_parallel(one.tp)
    flags = {flag: getattr(one, name) for name, flag in SERVER_FLAGS.items() if getattr(one, name) is not None}
    made = replace(found, server={**found.server, **flags}, model=one.model or found.model, scenarios=scenarios(one, found))
    has_pace(made)
    if not one.base_url:
        fits(made, longest(made, one.extra))
    return made


def has_pace(made: Profile) -> None:
    """Refuse a load whose answers have no time between tokens: it would be measured to its end and could not pass (load/checks.py)."""
    for load in made.scenarios:
        if load.osl < LEAST_OSL:
            raise BadInput(f"ISL {load.isl} OSL {load.osl}: an answer of one token has no time per token, so this load could not pass",
                           f"--isl {load.isl} --osl {LEAST_OSL}, or a longer answer")


def longest(made: Profile, extra: tuple[str, ...]) -> int | None:
    """The most tokens of a request to the server that will be started; None where it is not said as a number."""
    given = [word.partition("=")[2] for word in extra if word.startswith("--max-model-len=")]
    given += [after for word, after in pairwise(extra) if word == "--max-model-len"]
    most = str(given[-1] if given else made.server.get("max-model-len", ""))
    return int(most) if most.isdecimal() else None


def fits(made: Profile, most: int | None) -> None:
    """Refuse, before anything is begun, a load whose requests a server of ``most`` tokens would refuse one by one."""
    for load in made.scenarios:
        if most is not None and load.isl + load.osl > most:
            raise BadInput(f"ISL {load.isl} + OSL {load.osl} = {load.isl + load.osl} tokens, the server takes {most} (max-model-len)",
                           f"a shorter load, or a server that takes it: `-- --max-model-len {load.isl + load.osl}` starts one")


def scenarios(one: Settings, found: Profile) -> tuple[ScenarioSet, ...]:
    """Which loads: those asked for, of the profile's where only a part is said."""
    if one.isl is None or one.osl is None:
        return tuple(ScenarioSet(load.isl, load.osl, one.conc or load.conc) for load in found.scenarios)
    known = next((load for load in found.scenarios if (load.isl, load.osl) == (one.isl, one.osl)), None)
    if known is None and not one.conc:
        pairs = ", ".join(f"{load.isl}/{load.osl}" for load in found.scenarios)
        raise BadInput(f"profile {found.name} has no {one.isl}/{one.osl} (it has {pairs}), so it does not say which CONC", "--conc 4")
    return (ScenarioSet(one.isl, one.osl, one.conc or (known.conc if known else ())),)
