"""The fast engine: RecBole's SASRecF, the same mathematics in a fraction of the time.

dataset.py   prefixes as offsets into one flat array, in RecBole's order
groups.py    a batch as groups of samples of similar length
dropout.py   dropout of the exact probability from cheap random bytes
attention.py one layer for all positions, one layer for the last position only
loss.py      cross-entropy over all items in chunks
model.py     SASRecF and SASRec with stock parameters, on top of these
trainer.py   a RecBole Trainer
build.py     what the worker calls; says what this engine does not cover
"""
