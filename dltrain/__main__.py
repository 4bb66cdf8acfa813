"""The console script. Completion, which the shell waits for, imports nothing of the command line."""

import os
import sys


def main() -> None:
    from dltrain.cli.completion.server import ASKED, complete

    if ASKED in os.environ:
        sys.stdout.write(complete(os.environ[ASKED], sys.argv[1:]))
    else:
        from dltrain.cli.main import main as run

        run()


if __name__ == "__main__":
    main()
