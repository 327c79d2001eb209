"""`python -m sightwords` is the `sightwords` command (torchrun needs it: `torchrun -m sightwords train ...`)."""

from sightwords.cli import main

if __name__ == "__main__":
    main()
