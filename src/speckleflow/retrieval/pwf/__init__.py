"""Preconditioned Wirtinger flow: phase and attenuation by wave optics, from a single shot or several."""
