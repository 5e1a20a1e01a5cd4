"""The deterministic simulation: real lives over a real SQLite file, in one process, from one seed.

Time, the network, the scheduler and death are simulated; the reconciler, the store, the core and
the providers are the ones that run in production. A schedule says what happens; playing it twice
gives the same history, hashes included.
"""
