"""The command line: parse, call the library, print. Errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

# Before numpy loads: one thread for each peer. With a thread a core, peers on one machine
# wait for each other's threads and run 10 times slower.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        status = _run()
    except KeyboardInterrupt:
        status = _say("stopped", 130)
    sys.exit(status)


def _run() -> int:
    import typer  # takes a moment, in which Ctrl-C may come

    from gossipml.cli.app import app
    from gossipml.errors import GossipError

    # typer brings its own click or uses the installed one: ask it which
    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        status = app(standalone_mode=False)
    except GossipError as error:
        return _say(str(error), error.exit_code)
    except typer.Abort:
        return _say("stopped", 130)
    except usage_error as error:
        return _say(error.format_message(), 2)
    except BrokenPipeError:  # before other OSErrors: the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that went away
        where = f": {error.filename}" if error.filename else ""
        return _say(f"{error.strerror or error}{where}", 1)
    return status if isinstance(status, int) else 0


def _say(message: str, status: int) -> int:
    print(f"gossipml: {message}", file=sys.stderr)
    return status
