"""`python -m touchstone` is the `touchstone` command."""

from touchstone.cli import app

if __name__ == "__main__":
    app()
