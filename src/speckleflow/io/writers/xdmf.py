"""An XDMF file for ParaView and VisIt: the grid in micrometres; the values stay in ``volumes.h5``."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, ClassVar

from speckleflow.io.writers.base import VolumeSource

NAME = "volumes.xdmf"


class XdmfWriter:
    """A uniform grid whose points are the voxel centres, with every volume as a point attribute."""

    package: ClassVar[str] = ""

    def write(self, source: VolumeSource, folder: Path) -> dict[str, Any]:
        """``volumes.xdmf``; it names ``volumes.h5`` relative to itself, so that both move together."""
        shape = " ".join(map(str, source.shape))
        voxel = f"{source.voxel_size_um:.9g}"
        # the folder has its final name only after it was written; its parent is the same
        beside = Path(os.path.relpath(source.path.resolve(), folder.resolve().parent)).as_posix()
        root = ET.Element("Xdmf", Version="3.0")
        domain = ET.SubElement(root, "Domain")
        grid = ET.SubElement(domain, "Grid", Name=source.scan, GridType="Uniform")
        ET.SubElement(grid, "Information", Name="unit of lengths", Value="um")
        ET.SubElement(grid, "Topology", TopologyType="3DCoRectMesh", Dimensions=shape)
        geometry = ET.SubElement(grid, "Geometry", GeometryType="ORIGIN_DXDYDZ")
        for text in ("0 0 0", f"{voxel} {voxel} {voxel}"):
            item = ET.SubElement(
                geometry, "DataItem", Dimensions="3", NumberType="Float", Precision="8", Format="XML"
            )
            item.text = text
        for name in source.names:
            attribute = ET.SubElement(grid, "Attribute", Name=name, AttributeType="Scalar", Center="Node")
            ET.SubElement(attribute, "Information", Name="unit", Value=source.unit(name))
            values = ET.SubElement(
                attribute, "DataItem", Dimensions=shape, NumberType="Float", Precision="4", Format="HDF"
            )
            values.text = f"../{beside}:/{name}"
        ET.indent(root)
        ET.ElementTree(root).write(folder / NAME, encoding="utf-8", xml_declaration=True)
        return {"files": [NAME]}
