"""`python -m sasrecf_tune`."""

from sasrecf_tune.cli import main

if __name__ == "__main__":
    main()
