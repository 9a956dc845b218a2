"""Reads a sender's section of the configuration over its preset, and says what is wrong with it by key."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from app.domain.errors import StartupError
from app.executors.sender_options import TX_B64, Body, SenderOptions
from app.executors.sender_presets import PRESETS, Preset

TODO: Final = "see docs/senders.md"
_PLAIN: Final = Preset({}, (), {})
_CHOOSING: Final = frozenset({"preset", "regions", "url"})
"""Keys that say where to begin; the rest are the options' own."""


def sender_options(name: str, section: Mapping[str, object]) -> SenderOptions:
    """Read the section of a sender; raises StartupError naming the sender's key at fault, never a value.

    Beside the keys of `SenderOptions` it may have `preset`, `regions` (names of the preset's) and `url`.
    A mapping in it is laid over the preset's of the same name, anything else replaces it.
    """
    reader = _Reader(f"methods.senders.{name}", section)
    try:
        options = SenderOptions(**reader.whole())
    except ValidationError as error:
        raise reader.explain(error) from None
    reader.check(options)
    return options


class _Reader:
    def __init__(self, where: str, section: Mapping[str, object]) -> None:
        self._where = where
        self._section = {str(key): value for key, value in section.items()}
        self._preset = self._chosen()

    def _chosen(self) -> Preset:
        named = self._section.get("preset")
        if named is None:
            return _PLAIN
        if str(named) not in PRESETS:
            raise self._invalid("preset", f"it is none of {', '.join(PRESETS)}")
        return PRESETS[str(named)]

    def whole(self) -> dict[str, Any]:
        """Give the section over its preset; a key set to null is as if it were not there."""
        own = {key: value for key, value in self._section.items() if key not in _CHOOSING}
        merged = {**self._preset.section, **own}
        for key, value in own.items():
            below = self._preset.section.get(key)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                merged[key] = {**below, **value}
        return {key: value for key, value in merged.items() if value is not None} | self._urls()

    def _urls(self) -> dict[str, Any]:
        given = [key for key in ("url", "urls", "regions") if self._section.get(key) is not None]
        if len(given) > 1:
            raise self._invalid(given[1], f"it says where the sender is, and so does {given[0]}")
        if "urls" in given:
            return {}
        if "url" in given:
            return {"urls": [self._section["url"]]}
        names = self._names()
        if not names:
            raise self._lacking()
        return {"urls": [self._preset.regions[name] for name in names]}

    def _names(self) -> Sequence[str]:
        regions = self._section.get("regions")
        if regions is None:
            return self._preset.usual
        listed = regions.split(",") if isinstance(regions, str) else regions
        names = [str(each).strip() for each in listed] if isinstance(listed, Sequence) else []
        known = self._preset.regions
        if not names or any(name not in known for name in names):
            raise self._invalid("regions", f"its regions are {', '.join(known) or 'none'}")
        return names

    def _lacking(self) -> StartupError:
        known = ", ".join(self._preset.regions)
        key, what = ("regions", f"name some of {known}") if known else ("urls", "say where it is")
        return self._not_configured(key, what)

    def explain(self, error: ValidationError) -> StartupError:
        """Name the first key at fault; the value may be a secret and is kept out."""
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            return StartupError("CONFIG_UNKNOWN", f"{self._where}.{key} names no setting", TODO)
        if first["type"] == "missing":
            return self._not_configured(key, "it is needed")
        return self._invalid(key, first["msg"])

    def check(self, options: SenderOptions) -> None:
        """Refuse what is well-formed and cannot work."""
        key, tip = options.key, options.tip
        if len(set(options.urls)) < len(options.urls):
            raise self._invalid("urls", "one stands twice")
        if options.api_key and key is None:
            raise self._invalid("key", "it does not say where the api_key goes")
        if key is not None and key.where != "path" and not key.name:
            raise self._invalid("key.name", "it has none")
        if key is not None and key.required and not options.api_key:
            raise self._not_configured("api_key", "the sender wants one")
        if len(set(tip.accounts)) < len(tip.accounts):
            raise self._invalid("tip.accounts", "one stands twice")
        if not tip.accounts and max(tip.min_lamports, tip.lamports) > 0:
            raise self._invalid("tip.accounts", "a tip is wanted and nobody named to be paid")
        if options.success.kind == "json_path" and not options.success.path:
            raise self._invalid("success.path", "it has none")
        for number, rule in enumerate(options.error_rules):
            if rule.http is None and rule.code is None and rule.message is None:
                raise self._invalid(f"error_rules.{number}", "it would fit anything")
        self._check_template(options)

    def _check_template(self, options: SenderOptions) -> None:
        """Write a body once: what cannot be written as JSON, or has no transaction in it, shows here."""
        try:
            body = options.request(b"\x00")
        except TypeError:
            key = "json_template" if options.body is Body.JSON else "rpc_options"
            raise self._invalid(key, "it holds what is no JSON") from None
        if options.body is Body.JSON and body == options.request(b"\x01"):
            raise self._invalid("json_template", f"it has no {TX_B64}")

    def _invalid(self, key: str, why: str) -> StartupError:
        return StartupError("CONFIG_INVALID", f"{self._where}.{key}: {why}", TODO)

    def _not_configured(self, key: str, why: str) -> StartupError:
        return StartupError("METHOD_NOT_CONFIGURED", f"{self._where}.{key} is not set: {why}", TODO)
