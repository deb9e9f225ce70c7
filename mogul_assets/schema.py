"""``mogul.yaml`` as a JSON schema, made from what reads it: an editor completes with it, and marks what is wrong.

It says what stands where. What only the type itself can judge (settings that go together) is ``mogul check``'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from mogul_assets.catalog.datasets import CUSTOMER_STATUSES, DATASETS
from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.choice import NAME as TABLE
from mogul_assets.destinations.choice import Columns
from mogul_assets.destinations.configured import settings_of
from mogul_assets.settings import (
    ALERT_CHANNELS,
    CHOICE,
    ENTRY,
    HABITS,
    HOURS,
    NAME,
    OWNER,
    RESERVED,
    RETENTION,
    SHORTEST_RETENTION,
    AccountSettings,
    LedgerSettings,
    StoreSettings,
)
from mogul_assets.timetable import HOUR, NAMED_SCHEDULES, REAL_TIME

Schema = dict[str, Any]
_OWNER: Schema = {"type": "string", "pattern": OWNER.pattern}
_OWNERS: Schema = {"anyOf": [_OWNER, {"type": "array", "items": _OWNER}]}


def schema() -> Schema:
    """The schema, in draft 7: the one that editors of YAML know."""
    definitions: Schema = {}
    account = _object(AccountSettings.model_fields, definitions)
    short = {"sandbox": {"const": True}, "rates": {"enum": ["ecb", "ecb_offline"]}}
    for key, form in short.items():
        account["properties"][key] = {"anyOf": [form, account["properties"][key]]}
    found = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mogul.yaml",
        "description": "A ChartMogul account, and where its datasets are delivered to.",
        "type": "object",
        "additionalProperties": False,
        "required": ["account"],
        "properties": {
            "account": {"description": _first_line(AccountSettings), **account},
            "store": {"description": _first_line(StoreSettings), **_object(StoreSettings.model_fields, definitions)},
            "ledger": {"description": _first_line(LedgerSettings), **_object(LedgerSettings.model_fields, definitions)},
            "retention": {
                "description": "Days that runs, what messages said and rows that could not be read stay.",
                "type": "integer",
                "minimum": SHORTEST_RETENTION,
                "default": RETENTION,
            },
            "owners": {"description": "Who looks after the assets: e-mail addresses, team:names.", **_OWNERS},
            "alerts": {
                "description": "Who is told what is wrong.",
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    **{word: _object(settings_of(load_type(word)), definitions) for word in ALERT_CHANNELS},
                    "quiet": {
                        "description": "Between which hours nobody is, such as 22:00-07:00.",
                        "type": "string",
                        "pattern": HOURS.pattern,
                    },
                    "time_zone": {"description": "Of quiet, such as Europe/Paris.", "type": "string"},
                },
            },
            "destinations": {
                "description": "Where it goes, by names of your own.",
                "type": ["object", "null"],
                "propertyNames": {"pattern": NAME.pattern, "not": {"enum": sorted(RESERVED)}},
                "additionalProperties": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {"type": {"description": "What kind of place it is.", "enum": list(TYPES)}},
                    "allOf": [
                        {
                            "if": {"properties": {"type": {"const": word}}, "required": ["type"]},
                            "then": {"$ref": f"#/definitions/{word}"},
                        }
                        for word in TYPES
                    ],
                },
            },
        },
    }
    kinds = {word: _kind(word, definitions) for word in TYPES}
    return {**found, "definitions": {**definitions, **kinds}}


def text() -> str:
    """The schema as the repository keeps it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _kind(word: str, definitions: Schema) -> Schema:
    """One destination of a type: its own settings and those of any."""
    found = _object(settings_of(load_type(word)), definitions)
    found["properties"] = {"type": {"const": word}, **found["properties"], **_of_any(word, definitions)}
    return found


def _of_any(word: str, definitions: Schema) -> Schema:
    """The settings that every destination has."""
    schedules = [*NAMED_SCHEDULES, *([REAL_TIME] if word in HABITS and HABITS[word].schedule == REAL_TIME else [])]
    kind = load_type(word)
    takes = kind(name="it", **kind.EXAMPLE).capabilities.takes
    dataset = {"enum": [name for name in DATASETS if takes(name)]}
    forms: Schema = {
        "datasets": {"anyOf": [{"const": "all"}, dataset, {"type": "array", "minItems": 1, "items": dataset}]},
        "schedule": {"anyOf": [{"enum": schedules}, {"type": ["string", "null"]}]},
        "schedules": {"type": "object", "propertyNames": dataset, "additionalProperties": {"type": "string"}},
        "hour": {"type": "integer", "minimum": 0, "maximum": 23, "default": HOUR},
        "on_refresh": {"type": "boolean", "default": False},
        "paused": {"type": "boolean", "default": False},
        "guard": {"type": ["string", "number", "boolean"]},
        "owners": _OWNERS,
        "table_prefix": {"type": "string", "pattern": f"^{TABLE.pattern}$"},
        "tables": {
            "type": "object",
            "propertyNames": dataset,
            "additionalProperties": {"type": "string", "pattern": f"^{TABLE.pattern}$"},
        },
        "columns": _columns(word, [name for name in DATASETS if takes(name)], definitions),
        "rows": _rows(),
    }
    return {
        name: {"description": what, **forms.get(name, {"type": "string"})}
        for name, what in ENTRY.items()
        if name not in CHOICE or name in kind.CHOOSES
    }


def _columns(word: str, datasets: Sequence[str], definitions: Schema) -> Schema:
    """Columns to leave out and to hash; the definitions are shared by all types that take every dataset."""
    for name in datasets:
        names = [column.name for column in DATASETS[name].columns]
        definitions.setdefault(f"column_of_{name}", {"enum": names})
    several = {name: _several({"$ref": f"#/definitions/column_of_{name}"}) for name in datasets}
    by_dataset = f"by_dataset_{word}" if len(datasets) < len(DATASETS) else "by_dataset"
    definitions.setdefault(by_dataset, {"type": "object", "additionalProperties": False, "properties": several})
    salt = _object({"salt": Columns.model_fields["salt"]}, definitions)["properties"]
    both = {setting: {"$ref": f"#/definitions/{by_dataset}"} for setting in ("leave_out", "hash")}
    return {"type": "object", "additionalProperties": False, "properties": {**both, **salt}}


def _rows() -> Schema:
    values: Schema = {
        "data_source": {"type": "string", "pattern": "^ds_"},
        "country": {"type": "string", "pattern": "^[A-Za-z]{2}$"},
        "status": {"enum": list(CUSTOMER_STATUSES)},
        "tag": {"type": "string"},
    }
    forms = {name: _several(form) for name, form in values.items()}
    return {"type": "object", "additionalProperties": False, "properties": forms}


def _several(one: Schema) -> Schema:
    """One of them, or a list."""
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


def _object(fields: Mapping[str, FieldInfo], definitions: Schema) -> Schema:
    properties = {}
    for name, field in fields.items():
        wanted: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        made = TypeAdapter(wanted).json_schema(ref_template="#/definitions/{model}")
        definitions.update(made.pop("$defs", {}))
        what = {"description": field.description} if field.description else {}
        usual = {"default": field.default} if isinstance(field.default, str | int | float) else {}
        properties[name] = {**what, **made, **usual}
    required = [name for name, field in fields.items() if field.is_required()]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]
