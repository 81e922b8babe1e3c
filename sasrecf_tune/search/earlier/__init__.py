"""Earlier searches: reads their trials, decides which count in a study, and adds these."""
