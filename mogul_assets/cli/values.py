"""What is typed for a setting of a destination, as it will stand in mogul.yaml."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import settings_of
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import Secret
from mogul_assets.timetable import NAMED_SCHEDULES

_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
"""What is taken for a variable's name where no ``{env: …}`` says so: an access key has no underscore."""

_OF_ANY: Mapping[str, Any] = {
    **dict.fromkeys(("schedule", "time_zone", "guard", "formerly", "table_prefix"), str),
    "datasets": list[str],
}
"""The settings of any destination that are no plain YAML."""


def pairs(kind: type[Destination], given: tuple[str, ...]) -> dict[str, Any]:
    """Settings that are given as ``key=value``.

    Raises:
        ConfigurationError: one is not of that form, or cannot be read; a value is not repeated, it may be a secret.
    """
    found = {}
    for each in given:
        key, equals, text = each.partition("=")
        if not equals:
            raise ConfigurationError("a setting is given as key=value", remedy="for example  --set path=out/files")
        found[key] = value(kind, key, text)
    return found


def value(kind: type[Destination], key: str, text: str) -> Any:
    """What the text means: a variable's name for a secret, commas between the items of a list, YAML for the rest."""
    field = settings_of(kind).get(key)
    wanted = _alternatives(field.annotation if field else _OF_ANY.get(key))
    if _secret(field):
        return {"env": _variable(key, text)}
    if str in wanted:
        return text
    if any(get_origin(one) is list for one in wanted) and not text.startswith("["):
        return [item.strip() for item in text.split(",")] if text != "all" else text
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        raise ConfigurationError(f"{key}: what is given cannot be read as YAML", remedy="quote it") from None


def asked(kind: type[Destination], given: Mapping[str, Any], *, schedule: bool) -> dict[str, Any]:
    """What was not given, asked for on the terminal: what is needed, and what the type's example has."""
    fields = settings_of(kind)
    needed = [key for key, field in fields.items() if field.is_required()]
    found = {}
    for key in dict.fromkeys([*needed, *kind.EXAMPLE]):
        if key in given:
            continue
        what = (fields[key].description or "").rstrip(".").partition("\n")[0]
        answer = click.prompt(
            f"{key}: {what}{'; the NAME of its variable' if _secret(fields[key]) else ''}"
            + ("" if key in needed else "  [Enter leaves it out]"),
            default=None if key in needed else "",
            show_default=False,
            value_proc=_read(kind, key),
            err=True,
        )
        if answer is not None:
            found[key] = answer
    if schedule:
        names = ", ".join(NAMED_SCHEDULES)
        asked = f"schedule: {names}, every 15 minutes, or a cron line  [Enter: by hand]"
        answer = click.prompt(asked, "", show_default=False, err=True)
        found.update({"schedule": answer} if answer else {})
    return found


def _read(kind: type[Destination], key: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return value(kind, key, text) if text else None
        except ConfigurationError as error:
            raise click.BadParameter(str(error)) from None  # click asks again

    return read


def _secret(field: FieldInfo | None) -> bool:
    kinds = _alternatives(field.annotation) if field else ()
    return any(isinstance(one, type) and issubclass(one, Secret) for one in kinds)


def _variable(key: str, text: str) -> str:
    named = re.fullmatch(r"\{\s*env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}", text)
    if named is None and not _VARIABLE.fullmatch(text):
        raise ConfigurationError(
            f"{key} is a secret, and what is given looks like no variable's name",
            remedy=f"put it into a variable, and give its name: {key}=SOME_NAME, or {key}={{env: name}}",
        )
    return named[1] if named else text


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
