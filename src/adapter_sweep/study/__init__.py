"""The study: search space, sampler, worker loop and ledger. The only importer of Optuna.

The ledger (`study.ledger`) reads a study without torch; the loop (`study.loop`) runs trials.
"""
