"""``python -m simulations`` is tacit-simulate."""

from simulations.command import main

if __name__ == "__main__":
    main()
