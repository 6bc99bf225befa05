"""ESPINNet: displacement, transmission and dark field by neural networks; as published, and a faster one."""
