"""``python -m speckleflow``: the command line."""

from speckleflow.cli import main

if __name__ == "__main__":
    main()
