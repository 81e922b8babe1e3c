"""The fast engine: SASRecF and SASRec with the mathematics of RecBole, one model at a time."""
