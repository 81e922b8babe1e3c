"""The coordinator: plans a study, asks for trials, records outcomes. Imports no torch."""
