"""`python -m sasrecf_tune`."""

from sasrecf_tune.cli.app import main

if __name__ == "__main__":
    main()
