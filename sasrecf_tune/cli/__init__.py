"""The command line: a Typer app, one module a command, and the session that they share."""
