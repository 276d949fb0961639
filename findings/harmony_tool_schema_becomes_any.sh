#!/usr/bin/env bash
# openai_harmony: of a tool's arguments as pydantic describes them, GPT-OSS is told "any" for each optional, nested or enumerated one.
#
# Guess (2026-12-01, worded after a first probe): the JSON schema of a pydantic model reaches the prompt as the TypeScript type that it means.
# Versions: oss-harmony 0.0.11 (module openai_harmony), pydantic 2.14.4, CPython 3.11.7, Linux; openai-harmony 0.0.8 wrote the same text.
# Behaviour: `anyOf` (Optional, Union) and `$ref` (a nested model, an Enum class) are "any", silently: no name of a nested field is in the
#   prompt, and "$defs" is not either. Literal[1, 2, 4] is "number", a dict of floats is an object without members, a list of two words is
#   "a" | "b"[], which in TypeScript is the word a or a list of b. The same content spelled with "type": ["integer", "null"], with `oneOf`
#   or written out in place is rendered whole. So a client that sends pydantic's schema as it is leaves the model to guess the arguments,
#   and a server that answers by the schema's grammar hides it.
# Output seen (2026-12-01): "place: any,", "days?: any, // default: null", "unit?: any, // default: "celsius"", "exact: number,",
#   "modes: "rain" | "wind"[],", "table: { },", "spelled by type: x: number | null, by oneOf: x: | string | number, in place: x: { city: string, },"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check oss-harmony==0.0.11 pydantic==2.14.4 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import enum
import sys
from typing import Literal, Optional

from openai_harmony import DeveloperContent, HarmonyEncodingName, Message, Role, ToolDescription, load_harmony_encoding
from pydantic import BaseModel

harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(BaseModel):
    city: str


class Arguments(BaseModel):
    place: Place
    days: Optional[int] = None
    unit: Unit = Unit.C
    exact: Literal[1, 2, 4]
    modes: list[Literal["rain", "wind"]]
    table: dict[str, float]


def types(schema):
    """What the prompt says of each argument, a comment line left out."""
    tool = ToolDescription.new("look", "Looks.", schema)
    content = DeveloperContent.new().with_function_tools([tool])
    text = harmony.decode(harmony.render(Message.from_role_and_content(Role.DEVELOPER, content)))
    inside = text.partition("(_: {\n")[2].partition("}) => any;")[0]
    return " ".join(" ".join(line for line in inside.splitlines() if not line.startswith("//")).split())


def one(schema):
    return types({"type": "object", "properties": {"x": schema}, "required": ["x"]}).rstrip(" ,")


seen = types(Arguments.model_json_schema())
print(seen)
whole = [one({"type": ["integer", "null"]}), one({"oneOf": [{"type": "string"}, {"type": "number"}]}),
         one({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})]
print("spelled by type: {}, by oneOf: {}, in place: {}".format(*whole))
wanted = ('place: any, days?: any, // default: null unit?: any, // default: "celsius" exact: number, '
          'modes: "rain" | "wind"[], table: { },')
if seen != wanted or whole != ["x: number | null", "x: | string | number", "x: { city: string, }"]:
    sys.exit("changed: how the Harmony library renders a tool's JSON schema")
PYTHON
