"""Run by the Python that QGIS comes with: open a project, say what is in it, and paint it.

    QT_QPA_PLATFORM=offscreen python3 qgis_render.py PROJECT PNG [WIDTH HEIGHT] [LAYER...]

Prints one JSON object. With layers named, these are painted, whatever the project shows.
"""

import json
import sys

from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsProject
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def main(path: str, png: str, width: str = "800", height: str = "800", *only: str) -> None:
    """Open, tell, paint."""
    QgsApplication.setPrefixPath("/usr", True)  # noqa: FBT003 - its own signature
    app = QgsApplication([], False)  # noqa: FBT003
    app.initQgis()
    project = QgsProject.instance()
    opened = project.read(path)
    root = project.layerTreeRoot()
    nodes = [node for node in root.findLayers() if node.layer() is not None]
    layers = [node.layer() for node in nodes]
    shown = [n.layer() for n in nodes if (n.layer().name() in only if only else n.isVisible())]
    settings = QgsMapSettings()
    settings.setLayers(shown)
    settings.setBackgroundColor(QColor(255, 255, 255))
    settings.setOutputSize(QSize(int(width), int(height)))
    settings.setDestinationCrs(project.crs())
    settings.setTransformContext(project.transformContext())
    view = project.viewSettings().defaultViewExtent()
    settings.setExtent(view)
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    painted = job.renderedImage().save(png)
    told = {
        "opened": opened,
        "title": project.title(),
        "crs": project.crs().authid(),
        "painted": painted,
        "errors": [error.message for error in job.errors()],
        "extent": [view.xMinimum(), view.yMinimum(), view.xMaximum(), view.yMaximum()],
        "layers": [
            {
                "name": layer.name(),
                "valid": layer.isValid(),
                "kind": layer.providerType(),
                "crs": layer.crs().authid(),
                "source": layer.source(),
                "features": layer.featureCount() if hasattr(layer, "featureCount") else None,
                "renderer": layer.renderer().type() if layer.renderer() else None,
                "shown": layer in shown,
            }
            for layer in layers
        ],
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    project.clear()
    app.exitQgis()


if __name__ == "__main__":
    main(*sys.argv[1:])
