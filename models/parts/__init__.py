"""What networks of any form stand on: norms, masks, segments, first weights, and what a network returns."""
