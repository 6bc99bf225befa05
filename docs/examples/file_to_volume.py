"""From raw files to a volume in ten lines: python docs/examples/file_to_volume.py CONFIG [SCAN]."""

import sys

import numpy as np

import speckleflow as sf

scan = sf.open(*sys.argv[1:3])
fields = sf.retrieve(scan.reference, scan.frames(), method="umpa", settings={"window": 5})
phase = sf.integrate(fields, scan.geometry, air=scan.air)
axis = sf.find_axis(fields["transmission"], scan.angles_deg)
delta = sf.reconstruct(phase, scan.angles_deg, axis, quantity="delta", geometry=scan.geometry)
print(
    f"axis {axis:.2f} px, delta {np.percentile(delta, 99):.3g} in the densest hundredth, shape {delta.shape}"
)
np.save("delta.npy", delta)
