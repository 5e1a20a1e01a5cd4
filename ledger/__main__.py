"""`python -m ledger` is `runward`."""

from ledger.commands import main

if __name__ == "__main__":
    main()
