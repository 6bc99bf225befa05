"""From projections to volumes: sinogram values, rotation axis, rings, filtered back-projection, physical units."""
