"""As much of the GraphQL language as clients of RunPod write: operations, fields, arguments, variables. Pure.

Fragments and directives are refused: nothing that talks to RunPod uses them (runpod-python, runpodctl, SkyPilot).
Grammar: spec.graphql.org, October 2021, "Language".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>[\s,﻿]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[_A-Za-z][_0-9A-Za-z]*)
      | (?P<sign>[!$():=@\[\]{}|&]|\.\.\.)""",
    re.VERBOSE,
)
_DEEPEST = 20


class SyntaxProblem(Exception):
    """The document cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field that is asked for."""

    name: str
    key: str
    """Its name in the answer: the alias, if it has one."""
    arguments: Mapping[str, Any]
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What a document asks for."""

    kind: str
    """``query`` or ``mutation``."""
    fields: tuple[Field, ...]
    variable_types: Mapping[str, str] = field(default_factory=dict)
    """Names of types by names of variables, without ``!`` and brackets."""


def parse(document: str, variables: Mapping[str, Any]) -> Operation:
    """Read a document with one operation; variables are put in their places.

    Raises:
        SyntaxProblem: it is none.
    """
    return _Parser(document, variables).operation()


class _Parser:
    def __init__(self, document: str, variables: Mapping[str, Any]) -> None:
        self._tokens = _tokens(document)
        self._at = 0
        self._variables = variables
        self._types: dict[str, str] = {}

    def operation(self) -> Operation:
        kind = "query"
        if self._next in {"query", "mutation"}:
            kind = self._take()
            if self._next not in {"{", "("}:
                self._name()
            if self._next == "(":
                self._variable_types()
        fields = self._selection(0)
        if self._next:
            raise SyntaxProblem(f'Syntax Error: Unexpected "{self._next}".')
        return Operation(kind, fields, self._types)

    def _variable_types(self) -> None:
        self._expect("(")
        while self._next != ")":
            self._expect("$")
            name = self._name()
            self._expect(":")
            kind = ""
            while self._next in {"[", "]", "!"} or not kind:
                token = self._take()
                kind = kind if token in {"[", "]", "!"} else token
            if self._next == "=":
                self._take()
                self._value(0)
            self._types[name] = kind
        self._expect(")")

    def _selection(self, depth: int) -> tuple[Field, ...]:
        if depth > _DEEPEST:
            raise SyntaxProblem("Syntax Error: the document is too deep.")
        self._expect("{")
        fields = []
        while self._next != "}":
            fields.append(self._field(depth))
        self._expect("}")
        if not fields:
            raise SyntaxProblem('Syntax Error: Expected Name, found "}".')
        return tuple(fields)

    def _field(self, depth: int) -> Field:
        key = name = self._name()
        if self._next == ":":
            self._take()
            name = self._name()
        arguments = {}
        if self._next == "(":
            self._take()
            while self._next != ")":
                argument = self._name()
                self._expect(":")
                arguments[argument] = self._value(depth)
            self._take()
        return Field(name, key, arguments, self._selection(depth + 1) if self._next == "{" else ())

    def _value(self, depth: int) -> Any:  # noqa: ANN401 (any JSON)
        if depth > _DEEPEST:
            raise SyntaxProblem("Syntax Error: the document is too deep.")
        match self._take():
            case "$":
                return self._variable(self._name())
            case "[":
                items = []
                while self._next != "]":
                    items.append(self._value(depth + 1))
                self._take()
                return items
            case "{":
                return self._object(depth)
            case other:
                return _literal(other)

    def _object(self, depth: int) -> dict[str, Any]:
        found = {}
        while self._next != "}":
            name = self._name()
            self._expect(":")
            found[name] = self._value(depth + 1)
        self._take()
        return found

    def _variable(self, name: str) -> Any:  # noqa: ANN401 (any JSON)
        if name not in self._types:
            raise SyntaxProblem(f'Variable "${name}" is not defined.')
        return self._variables.get(name)

    @property
    def _next(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next
        if not token:
            raise SyntaxProblem("Syntax Error: Unexpected <EOF>.")
        self._at += 1
        return token

    def _expect(self, sign: str) -> None:
        found = self._take()
        if found != sign:
            raise SyntaxProblem(f'Syntax Error: Expected "{sign}", found "{found}".')

    def _name(self) -> str:
        token = self._take()
        if not (token[0].isalpha() or token[0] == "_"):
            raise SyntaxProblem(f'Syntax Error: Expected Name, found "{token}".')
        return token


def _tokens(document: str) -> list[str]:
    tokens, at = [], 0
    while at < len(document):
        match = _TOKEN.match(document, at)
        if match is None:
            raise SyntaxProblem(f'Syntax Error: Cannot parse the unexpected character "{document[at]}".')
        at = match.end()
        if match.lastgroup != "skip":
            tokens.append(match.group())
    return tokens


def _literal(token: str) -> Any:  # noqa: ANN401 (any JSON)
    if token in {"true", "false", "null"} or token[0] in '"-' or token[0].isdigit():
        try:
            return json.loads(token)
        except ValueError as error:
            raise SyntaxProblem(f"Syntax Error: {token[:50]} is no value.") from error
    if token[0].isalpha() or token[0] == "_":
        return token  # of an enum
    raise SyntaxProblem(f'Syntax Error: Unexpected "{token}".')
