"""The command line: `app` holds the program, every other module one command."""
