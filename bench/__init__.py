"""What spanloom costs, beside its peers, as ratios taken in one run. See README.md in this folder."""
