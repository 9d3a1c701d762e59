"""From retrainings to a claim, and how good it is: fit, its held-out gap, and the curve that plans the next stage."""
