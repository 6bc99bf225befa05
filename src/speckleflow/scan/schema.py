"""Names, units and meaning of everything that results hold: the one place that writers, report and docs read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldSchema:
    """Unit ('' where it has none) and meaning of a dataset."""

    unit: str
    meaning: str


#: bits of the dataset ``flags``
FLAGS = {
    1: "stopped at a bound",
    2: "rays cross",
    4: "window leaves the image",
    8: "filled, not measured",
    16: "simulated frame is not the measured one",
    32: "too far from measured pixels, NaN",
    64: "displacement may be wrong by a period of the pattern",
}
BOUND, FOLD, EDGE, FILLED, MISFIT, LOST, PERIOD = FLAGS
#: bits of pixels whose displacement is not to be trusted in the integration
REJECTED_FLAGS = BOUND | FOLD | PERIOD

#: datasets (projection, y, x), or one number or pair a projection
FIELDS = {
    "ux": FieldSchema("px", "displacement along x, to the right"),
    "uy": FieldSchema("px", "displacement along y, downward"),
    "transmission": FieldSchema("", "transmission T, 1 = empty beam"),
    "darkfield": FieldSchema("", "visibility ratio D, 1 = no scattering"),
    "displacement_std": FieldSchema("px", "expected standard deviation of one displacement component"),
    "transmission_measured": FieldSchema(
        "", "T / det(1 + grad u) as tracking measures it, with the light that refraction gathers at edges"
    ),
    "scatter_xx": FieldSchema("px2", "variance along x of the blur by small-angle scattering"),
    "scatter_xy": FieldSchema("px2", "covariance of the blur by small-angle scattering"),
    "scatter_yy": FieldSchema("px2", "variance along y of the blur by small-angle scattering"),
    "misfit": FieldSchema(
        "",
        "difference beyond noise of the frame simulated again from the fields and the measured one, over the pattern "
        "(RMS)",
    ),
    "flags": FieldSchema("", "bits: " + ", ".join(f"{bit} {meaning}" for bit, meaning in FLAGS.items())),
    "flux": FieldSchema(
        "", "incident flux of each frame, its air margins' light over the reference's; divided out"
    ),
    "drift_px": FieldSchema("px", "displacement (x, y) of the air margins, taken off ux and uy"),
    "phase_retrieved": FieldSchema("rad", "phase as the method gives it, its level in the air not yet set"),
    "phase": FieldSchema("rad", "phase, negative in matter"),
    "curl_px": FieldSchema("px", "root mean square of the part of the displacement that is no gradient"),
    "angle_deg": FieldSchema("deg", "rotation, counter-clockwise seen from above"),
    "time_s": FieldSchema("s", "time of the frame, of a sample that changes"),
    "turns": FieldSchema(
        "", "first projection of every turn that a volume is made of, and the one after its last"
    ),
    "turn_time_s": FieldSchema("s", "mean time of the projections of every turn"),
    "raw_index": FieldSchema("", "number of the projection in the raw files, counted from 0"),
}
#: contrasts in the order in which they are shown
CONTRASTS = ("transmission", "darkfield", "phase", "ux", "uy", "displacement_std", "misfit")
#: the volumes of a scan, each where its contrast was retrieved
VOLUMES = ("delta", "mu", "darkfield")
#: of the standard deviation of a volume's noise: <volume>_std
STD = "_std"
