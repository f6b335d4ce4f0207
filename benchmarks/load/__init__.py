"""Load on Rosette, on the bare artifact and on other servers of models, in one run on one machine."""
