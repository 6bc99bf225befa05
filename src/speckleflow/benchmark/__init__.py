"""Evidence that can be made again: figures of the papers and comparisons, each beside the number that was published."""
