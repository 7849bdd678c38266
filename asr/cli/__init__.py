"""Command lines: arguments in, printed text and exit status out; a file a command."""
