"""Logs trials and results to trackers: TensorBoard, MLflow, Weights & Biases.

The coordinator's callback posts the whole state of a trial; a thread for each tracker brings the tracker's
run up to date with it. So a tracker that was unreachable catches up by the next state that it gets.
"""
