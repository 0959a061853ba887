"""Which output a command has: for a person, as JSON lines, or only the results."""

from __future__ import annotations

from comfypod.cli.output import Output, OutputOptions
from comfypod.cli.plain_output import JSONOutput, QuietOutput
from comfypod.errors import ConfigurationError


def make_output(options: OutputOptions) -> Output:
    """The output that the options ask for.

    Raises:
        ConfigurationError: they exclude each other, or what previews need is not installed.
    """
    if options.as_json and options.quiet:
        raise ConfigurationError(["Choose one of --json and --quiet."])
    if options.as_json:
        return JSONOutput(previews=options.previews)
    if options.quiet:
        return QuietOutput()
    # Only here, because its libraries take longer to import than all the rest of a command.
    from comfypod.cli.human_output import HumanOutput  # noqa: PLC0415

    return HumanOutput(previews=options.previews)
