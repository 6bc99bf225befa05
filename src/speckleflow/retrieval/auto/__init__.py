"""The method with the least error for a scan's number of diffuser positions."""
