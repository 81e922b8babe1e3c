"""The command `sasrecf-tune`, and `python -m sasrecf_tune`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while its modules are imported."""
    try:
        from sasrecf_tune.cli.app import main as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
