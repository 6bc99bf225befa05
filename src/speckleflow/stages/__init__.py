"""The stages of the workflow: each reads files, calls the library's arrays-only code, and writes one file.

The scripts of the workflow call these functions and nothing else. A module imports only what its stage needs,
so that each stage runs in an environment of its own.
"""
