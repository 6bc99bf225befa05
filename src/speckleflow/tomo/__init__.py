"""From projections to volumes: sinogram values, rotation axis, rings, back-projection, physical units."""
