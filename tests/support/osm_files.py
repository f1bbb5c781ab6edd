"""OpenStreetMap's data as tests think of it, and as servers and extracts hold it: Overpass's JSON, and PBF.

PBF by hand (https://wiki.openstreetmap.org/wiki/PBF_Format), so that nothing of what reads it is trusted.
"""

import json
import struct
from dataclasses import dataclass, field


@dataclass
class Map:
    """Nodes, ways and multipolygons under construction."""

    nodes: dict = field(default_factory=dict)
    ways: dict = field(default_factory=dict)
    relations: dict = field(default_factory=dict)

    def way(self, places, **tags):
        """A way through places (longitude, latitude); equal places are one node. Returns its id."""
        number = len(self.ways) + 1
        refs = [self.nodes.setdefault(tuple(place), len(self.nodes) + 1) for place in places]
        self.ways[number] = (refs, {k.replace("__", ":"): v for k, v in tags.items()})
        return number

    def multipolygon(self, members, **tags):
        """A relation of (way's id, role)."""
        number = len(self.relations) + 1
        self.relations[number] = (members, {"type": "multipolygon"} | tags)
        return number

    def overpass(self, box=None):
        """What `out geom` answers: ways that have a node in a box, and all relations."""
        place = {number: place for place, number in self.nodes.items()}

        def geometry(refs):
            return [{"lon": place[r][0], "lat": place[r][1]} for r in refs]

        def here(refs):
            w, s, e, n = box
            return any(w <= place[r][0] <= e and s <= place[r][1] <= n for r in refs)

        elements = [
            {"type": "way", "id": i, "nodes": refs, "geometry": geometry(refs), "tags": tags}
            for i, (refs, tags) in self.ways.items()
            if tags and (box is None or here(refs))
        ]
        elements += [
            {
                "type": "relation",
                "id": i,
                "tags": tags,
                "members": [
                    {"type": "way", "ref": way, "role": role, "geometry": geometry(self.ways[way][0])}
                    for way, role in members
                ],
            }
            for i, (members, tags) in self.relations.items()
        ]
        return {"version": 0.6, "osm3s": {"copyright": "ODbL"}, "elements": elements}

    def pbf(self):
        """The bytes of an extract."""
        texts = [""]

        def text(said):
            if said not in texts:
                texts.append(said)
            return texts.index(said)

        def tagged(tags):
            return _packed(2, [text(k) for k in tags]) + _packed(3, [text(v) for v in tags.values()])

        groups = [b"", b"", b""]
        for (lon, lat), number in self.nodes.items():
            where = _number(8, _zigzag(round(lat * 1e7))) + _number(9, _zigzag(round(lon * 1e7)))
            groups[0] += _bytes(1, _number(1, _zigzag(number)) + where)
        for number, (refs, tags) in self.ways.items():
            groups[1] += _bytes(3, _number(1, number) + tagged(tags) + _packed(8, map(_zigzag, _steps(refs))))
        for number, (members, tags) in self.relations.items():
            ways, roles = [way for way, _ in members], [text(role) for _, role in members]
            body = _packed(8, roles) + _packed(9, map(_zigzag, _steps(ways))) + _packed(10, [1] * len(ways))
            groups[2] += _bytes(4, _number(1, number) + tagged(tags) + body)
        table = _bytes(1, b"".join(_bytes(1, t.encode()) for t in texts))
        header = _bytes(4, b"OsmSchema-V0.6")
        blocks = b"".join(_blob(b"OSMData", table + _bytes(2, group)) for group in groups if group)
        return _blob(b"OSMHeader", header) + blocks


def _blob(kind, content):
    blob = _bytes(1, content)
    header = _bytes(1, kind) + _number(3, len(blob))
    return struct.pack(">I", len(header)) + header + blob


def _varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _zigzag(number):
    return number * 2 if number >= 0 else -number * 2 - 1


def _number(tag, number):
    return _varint(tag << 3) + _varint(number)


def _bytes(tag, content):
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _packed(tag, numbers):
    content = b"".join(map(_varint, numbers))
    return _bytes(tag, content) if content else b""  # GDAL takes no empty list


def _steps(numbers):
    return [b - a for a, b in zip([0, *numbers], numbers, strict=False)]


def dumped(answer):
    """JSON as a server sends it."""
    return json.dumps(answer).encode()
