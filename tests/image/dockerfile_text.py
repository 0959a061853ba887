"""A Dockerfile as its stages and instructions, for the rules that the tests of this folder hold it to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dockerfile as parser

VARIABLE = re.compile(r"\$\{(\w+)[^}]*\}|\$(\w+)")
OPERATORS = ("&&", "||", ";", "|", "|&", "&", "(", ")", "{", "}")


@dataclass(frozen=True)
class ShellCommand:
    """The words of one command, and the operator before it."""

    operator: str
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """Its name without a folder; assignments before it do not count."""
        names = [word for word in self.words if not re.match(r"\w+=", word)]
        return Path(names[0]).name if names else ""


@dataclass(frozen=True)
class Instruction:
    name: str
    values: tuple[str, ...]
    flags: tuple[str, ...]
    text: str
    line: int
    is_exec_form: bool
    heredocs: tuple[object, ...]

    @property
    def pairs(self) -> dict[str, str]:
        """Names and values of an ARG, ENV or LABEL; an ARG without a default is left out."""
        if self.name == "ARG":
            named = (value.partition("=") for value in self.values if "=" in value)
            return {name: default.strip("\"'") for name, _, default in named}
        return dict(zip(self.values[::2], (value.strip("\"'") for value in self.values[1::2]), strict=True))

    @property
    def commands(self) -> list[ShellCommand]:
        """The commands of a RUN; what stands in quotes stays one word."""
        lexer = shlex.shlex(self.values[0] if self.values else "", posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        found, operator, words = [], "", []
        for word in [*lexer, ";"]:
            if word in OPERATORS:
                found.append(ShellCommand(operator, tuple(words)))
                operator, words = word, []
            else:
                words.append(word)
        return [command for command in found if command.words]


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    line: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Dockerfile:
    """A parsed Dockerfile in its folder, which is the build's context."""

    folder: Path
    text: str
    arguments: dict[str, str]
    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, path: Path) -> Dockerfile:
        """Read it with Docker's own parser; bases have the arguments' defaults filled in."""
        instructions = [_instruction(command) for command in parser.parse_file(str(path))]
        starts = [index for index, item in enumerate(instructions) if item.name == "FROM"]
        arguments: dict[str, str] = {}
        for item in instructions[: starts[0]]:
            arguments |= {name: substituted(default, arguments) for name, default in item.pairs.items()}
        stages = [
            _stage(instructions[start], instructions[start + 1 : end], arguments)
            for start, end in zip(starts, [*starts[1:], None], strict=True)
        ]
        return cls(path.parent, path.read_text(encoding="utf-8"), arguments, tuple(stages))

    @property
    def instructions(self) -> Iterator[Instruction]:
        for stage in self.stages:
            yield from stage.instructions

    @property
    def runs(self) -> Iterator[Instruction]:
        return (item for item in self.instructions if item.name == "RUN")

    @property
    def image(self) -> list[Stage]:
        """The stages that the last one consists of, first to last; others lend files at most."""
        by_name = {stage.name: stage for stage in self.stages}
        lineage = [self.stages[-1]]
        while lineage[0].base in by_name:
            lineage.insert(0, by_name[lineage[0].base])
        return lineage


def substituted(text: str, arguments: dict[str, str]) -> str:
    return VARIABLE.sub(lambda match: arguments.get(match[1] or match[2], match[0]), text)


def _instruction(command: parser.Command) -> Instruction:
    return Instruction(
        name=command.cmd.upper(),
        values=tuple(command.value),
        flags=tuple(command.flags),
        text=command.original,
        line=command.start_line,
        is_exec_form=command.json,
        heredocs=tuple(command.heredocs),
    )


def _stage(start: Instruction, instructions: list[Instruction], arguments: dict[str, str]) -> Stage:
    name = start.values[2] if len(start.values) == 3 else ""
    return Stage(name, substituted(start.values[0], arguments), start.line, tuple(instructions))
