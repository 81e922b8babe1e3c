"""Samplers, which choose the next configuration, and pruners, which stop weak trials early."""
