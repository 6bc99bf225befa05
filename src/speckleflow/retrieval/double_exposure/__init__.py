"""Double exposure in a single shot: the in-line image by a generator, then any single-shot tracker."""
