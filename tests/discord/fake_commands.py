"""What Discord checks of application commands when they are registered, and of what somebody types into them."""

from __future__ import annotations

import re
from typing import Any

STRING, INTEGER, BOOLEAN, NUMBER, ATTACHMENT = 3, 4, 5, 10, 11
NAME = re.compile(r"[-_\w]{1,32}")
LARGEST = 2**53


def command_faults(command: dict[str, Any]) -> list[str]:
    """What Discord would refuse (docs.discord.com, Application Commands)."""
    options = command.get("options", [])
    items = [command, *options]
    required = [bool(option.get("required")) for option in options]
    names = [option["name"] for option in options]
    found = [
        f"name {item['name']!r}"
        for item in items
        if not NAME.fullmatch(item["name"]) or item["name"].lower() != item["name"]
    ]
    found += [f"description of {item['name']}" for item in items if not 1 <= len(item.get("description", "")) <= 100]
    found += (
        [f"{command['name']}: a required option after an optional one"]
        if sorted(required, reverse=True) != required
        else []
    )
    found += [f"{command['name']}: more than 25 options"] if len(options) > 25 else []
    found += [f"{command['name']}: two options of one name"] if len(set(names)) < len(names) else []
    return found + [fault for option in options for fault in _option_faults(option)]


def _option_faults(option: dict[str, Any]) -> list[str]:
    choices, bounds = option.get("choices", []), [option.get("min_value"), option.get("max_value")]
    found = [f"{option['name']}: type {option['type']}"] if option["type"] not in {3, 4, 5, 10, 11} else []
    found += [f"{option['name']}: more than 25 choices"] if len(choices) > 25 else []
    found += [
        f"{option['name']}: choice {c!r}"
        for c in choices
        if not 1 <= len(c["name"]) <= 100 or len(str(c["value"])) > 100
    ]
    found += [f"{option['name']}: bound {b}" for b in bounds if b is not None and abs(b) > LARGEST]
    if option["type"] not in {INTEGER, NUMBER} and any(bound is not None for bound in bounds):
        found.append(f"{option['name']}: bounds of what is no number")
    return found


def registered(commands: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(command for command in commands if command["name"] == name)


def options_of(command: dict[str, Any], values: dict[str, Any]) -> list[dict[str, Any]]:
    """What Discord's client sends for what somebody typed; it lets nobody send anything else."""
    known = {option["name"]: option for option in command.get("options", [])}
    missing = [name for name, option in known.items() if option.get("required") and name not in values]
    assert not missing, f"Discord's client asks for {missing}"
    for name, value in values.items():
        option = known[name]
        low, high = option.get("min_value", -LARGEST), option.get("max_value", LARGEST)
        assert not isinstance(value, int | float) or low <= value <= high, f"Discord's client refuses {name}={value}"
        choices = [choice["value"] for choice in option.get("choices", [])]
        assert not choices or value in choices, f"Discord's client does not offer {name}={value}"
        assert len(str(value)) <= option.get("max_length", 6000)
    return [{"name": name, "type": known[name]["type"], "value": value} for name, value in values.items()]
