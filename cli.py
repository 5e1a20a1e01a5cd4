"""The front door of a checkout: `python cli.py …` is the same program as `runward …`."""

from ledger.commands import main

if __name__ == "__main__":
    main()
