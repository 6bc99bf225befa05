"""UMPA: displacement, transmission and dark field by windows, any number of diffuser positions."""
