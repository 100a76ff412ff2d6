"""``python -m audits`` is tacit-audit."""

from audits.command import main

if __name__ == "__main__":
    main()
