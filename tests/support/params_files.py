"""Params files that several tests read."""

# The space of RecBole's documentation of SASRecF.
DOCUMENTED = """\
learning_rate choice [0.01,0.005,0.001,0.0005,0.0001]
attn_dropout_prob choice [0.2, 0.5]
hidden_dropout_prob choice [0.2, 0.5]
n_heads choice [1, 2]
n_layers choice [1,2,3]
"""
