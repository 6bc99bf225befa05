"""From reference and sample stacks to displacement, transmission and dark field. Knows no files."""
