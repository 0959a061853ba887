"""The commands as typer knows them: names, options, help. Each imports what it does only when it is called."""
