"""The commands, one module each, imported when typed: options in, an exit code out.

They put together what a command needs (settings, store, journals, a room's entry point) and leave the work
to it. What a person gets wrong leaves here as one of the errors that cli.py turns into a sentence.
"""
