"""What must be so, worked out by hand from what happened: no store, no rule of ours, nothing but the vocabulary."""
