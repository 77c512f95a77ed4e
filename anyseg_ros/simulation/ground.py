# SPDX-License-Identifier: Apache-2.0
"""The ground: carriageway with its markings and rails, kerbs, sidewalks, the tram's bed, side streets, terrain."""

from __future__ import annotations

import numpy as np

from anyseg_ros.simulation import kinds as k
from anyseg_ros.simulation.geometry import Mesh, make, material_id, quads
from anyseg_ros.simulation.street import CITY, KERB_M, LANE_HALF_M, PARK, Plan

GAUGE_HALF_M = 0.72
LINE_M = 0.14
SIDE_STREET_M = 62.0


def build_ground(plan: Plan, rng: np.random.Generator) -> list[Mesh]:
    """All ground surfaces of a street."""
    begin, end = plan.path.begin_m, plan.path.end_m
    breaks = [np.arange(begin, end, 2.5), [end]]
    for j in plan.junctions:
        w = j.half_width
        breaks.append(
            [j.s - w - 6.5, j.s - w - 3.0, j.s - w - 2.5, j.s - w - 2.1, j.s - w, j.s + w, j.s + w + 2.2, j.s + w + 5.7]
        )
    s = np.unique(np.round(np.concatenate(breaks), 3))
    s = s[np.concatenate([[True], np.diff(s) > 0.05])]
    meshes = [_carriageway(plan, s, rng)]
    for sign in (-1, 1):
        meshes += _roadside(plan, s, sign, rng)
    return meshes + _side_streets(plan, rng) + _horizon(plan, rng)


def _strip_edges(plan: Plan) -> tuple[list[float], list[int]]:
    """Lateral boundaries of the carriageway's strips, right to left, and each strip's kind of surface."""
    c = plan.section
    lines = [(-LANE_HALF_M, k.LINE), (c.opposite + LANE_HALF_M, k.LINE)]
    lines += [(c.right_kerb + c.right_parking, k.LINE)] if c.right_parking else []
    lines += [(c.left_kerb - c.left_parking, k.LINE)] if c.left_parking else []
    if c.tram == "middle":
        lines += [(LANE_HALF_M, k.LINE), (c.opposite - LANE_HALF_M, k.LINE)]
    else:
        lines += [(0.5 * c.opposite, k.DASHES)]
    marks = [(at - LINE_M / 2, at + LINE_M / 2, kind) for at, kind in lines]
    if c.tram != "verge":
        for track in c.tracks:
            marks += [(track + side - 0.04, track + side + 0.04, k.RAIL) for side in (-GAUGE_HALF_M, GAUGE_HALF_M)]
    edges, surfaces = [c.right_kerb], []
    for low, high, kind in sorted(marks):
        edges += [low, high]
        surfaces += [k.ASPHALT, kind]
    return edges + [c.left_kerb], surfaces + [k.ASPHALT]


def _grid(plan: Plan, s: np.ndarray, edges: np.ndarray, z: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [len(s),len(edges),3] in the world and their local coordinates (s, d, z)."""
    ss, dd = np.meshgrid(s, edges, indexing="ij")
    x, y, _ = plan.path.at(ss, dd)
    zz = np.broadcast_to(z, ss.shape)
    return np.stack([x, y, zz], -1), np.stack([ss, dd, zz], -1)


def _cells(vertices: np.ndarray, local: np.ndarray, class_id: int, material: np.ndarray) -> Mesh:
    """Two triangles per cell of a grid [S,D,3]; ``material`` is one number or [S-1,D-1]."""
    rows, columns = vertices.shape[:2]
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = i * columns + j
    b, c, d = a + columns, a + columns + 1, a + 1
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    per_cell = np.broadcast_to(np.asarray(material), (rows - 1, columns - 1)).reshape(-1)
    return make(vertices, triangles, class_id, np.repeat(per_cell, 2), local)


def _carriageway(plan: Plan, s: np.ndarray, rng: np.random.Generator) -> Mesh:
    edges, surfaces = _strip_edges(plan)
    colour = int(rng.choice([2, 3, 4, 5, 6, 59, 60, 63, 15]))
    middle = 0.5 * (s[1:] + s[:-1])
    material = np.empty((len(middle), len(surfaces)), np.uint16)
    material[:] = [material_id(kind, colour) for kind in surfaces]
    asphalt = np.array(surfaces) == k.ASPHALT
    not_rail = np.array(surfaces) != k.RAIL
    for j in plan.junctions:
        inside = np.abs(middle - j.s) < j.half_width
        material[np.ix_(inside, not_rail)] = material_id(k.ASPHALT, colour)
        if j.signals:
            zebra = (middle < j.s - j.half_width - 2.9) & (middle > j.s - j.half_width - 6.6)
            material[np.ix_(zebra, asphalt)] = material_id(k.ZEBRA, colour)
            stop = (middle < j.s - j.half_width - 2.1) & (middle > j.s - j.half_width - 2.5)
            right = (np.array(edges[:-1]) >= -LANE_HALF_M) & (np.array(edges[1:]) <= LANE_HALF_M) & asphalt
            material[np.ix_(stop, right)] = material_id(k.LINE, colour)
    vertices, local = _grid(plan, s, np.array(edges))
    return _cells(vertices, local, k.ROAD, material)


def _open_cells(plan: Plan, s: np.ndarray, sign: int) -> np.ndarray:
    """Which cells of the s grid are not the mouth of a side street on this side."""
    middle = 0.5 * (s[1:] + s[:-1])
    keep = np.ones(len(middle), bool)
    for j in plan.junctions:
        if sign in j.sides:
            keep &= np.abs(middle - j.s) > j.half_width
    return keep


def _only(mesh: Mesh, cells: np.ndarray) -> Mesh:
    """The mesh of a grid without the cells that are False."""
    keep = np.repeat(cells.reshape(-1), 2)
    return Mesh(
        mesh.vertices, mesh.local, mesh.triangles[keep], mesh.class_id[keep], mesh.material[keep], mesh.instance[keep]
    )


def _roadside(plan: Plan, s: np.ndarray, sign: int, rng: np.random.Generator) -> list[Mesh]:
    """Kerb, sidewalk, tram's bed (left) and terrain of one side."""
    kerb, line, _ = plan.side(sign)
    c = plan.section
    walk = c.left_walk if sign > 0 else line
    keep = _open_cells(plan, s, sign)
    colour = int(rng.choice([6, 7, 8, 9, 16, 61, 62, 63, 24]))
    face = _grid(plan, s, np.array([kerb, kerb]), np.array([0.0, KERB_M]))
    top = _grid(plan, s, np.array([kerb, kerb + sign * 0.16]), KERB_M)
    verge = kerb + sign * max(plan.verge(sign), 0.3)
    columns = keep[:, None]
    meshes = [_only(_cells(*g, k.SIDEWALK, material_id(k.KERB, 8)), columns) for g in (face, top)]
    paving = material_id(k.PAVING, colour)
    meshes.append(_only(_cells(*_grid(plan, s, np.array([verge, walk]), KERB_M), k.SIDEWALK, paving), columns))
    meshes.append(_verge(plan, s, sign, keep, (kerb + sign * 0.16, verge), paving))
    if line != walk:
        meshes.append(_tram_bed(plan, s, keep))
    meshes.append(_terrain(plan, s, sign, keep, rng))
    return meshes


def _verge(plan: Plan, s: np.ndarray, sign: int, keep: np.ndarray, span: tuple[float, float], paving: int) -> Mesh:
    """The strip beside the kerb: paved in the city or where it is narrow, else grass."""
    middle = 0.5 * (s[1:] + s[:-1])
    grass = np.array([plan.verge(sign) > 1.0 and plan.kind_at(at, sign) != CITY for at in middle])
    material = np.where(grass, material_id(k.GRASS, 39), paving)[:, None]
    mesh = _cells(*_grid(plan, s, np.array(span), KERB_M), k.SIDEWALK, material)
    mesh.class_id[np.repeat(grass, 2)] = k.TERRAIN
    return _only(mesh, keep[:, None])


def _tram_bed(plan: Plan, s: np.ndarray, keep: np.ndarray) -> Mesh:
    c = plan.section
    edges, surfaces = [c.left_walk], []
    for track in c.tracks:
        for side in (-GAUGE_HALF_M, GAUGE_HALF_M):
            edges += [track + side - 0.04, track + side + 0.04]
            surfaces += [k.GRASS, k.RAIL]
    edges.append(c.left_line)
    surfaces.append(k.GRASS)
    material = np.array([material_id(kind, 38) for kind in surfaces])
    mesh = _cells(*_grid(plan, s, np.array(edges), KERB_M), k.TERRAIN, np.tile(material, (len(s) - 1, 1)))
    return _only(mesh, np.repeat(keep[:, None], len(surfaces), 1))


def _terrain(plan: Plan, s: np.ndarray, sign: int, keep: np.ndarray, rng: np.random.Generator) -> Mesh:
    """Ground beyond the property line: paved in the city, lawns in the suburb, uneven fields in the park."""
    _, line, zones = plan.side(sign)
    reach = np.array([0.0, 2.0, 5.0, 9.0, 14.0, 22.0, 34.0, 60.0])
    edges = line + sign * reach
    rough = np.zeros(len(s))
    material = np.full((len(s) - 1, len(reach) - 1), material_id(k.GRASS, 38), int)
    middle = 0.5 * (s[1:] + s[:-1])
    for zone in zones:
        inside = (middle >= zone.begin) & (middle < zone.end)
        if zone.kind == CITY:
            material[inside, :4] = material_id(k.PAVING, int(rng.choice([6, 7, 8, 24])))
        else:
            colour = int(rng.choice([38, 39, 40, 40, 43, 44, 22]))
            material[inside] = material_id(k.SOIL if rng.random() < 0.15 else k.GRASS, colour)
        if zone.kind == PARK:
            centre, half = 0.5 * (zone.begin + zone.end), 0.5 * (zone.end - zone.begin)
            rough = np.maximum(rough, np.clip(1.3 * (1 - np.abs(s - centre) / half), 0, 1))
    phase = rng.uniform(0, 6.28, 4)
    rise = rng.uniform(-0.02, 0.09)
    ss, rr = np.meshgrid(s, reach, indexing="ij")
    bumps = np.sin(0.21 * ss + phase[0]) * np.sin(0.37 * rr + phase[1]) + 0.5 * np.sin(0.53 * ss + phase[2] + 0.3 * rr)
    z = KERB_M + rough[:, None] * np.clip(rr / 5, 0, 1) * (0.25 * bumps + rise * rr)
    flat = np.zeros(len(s), bool)
    for j in plan.junctions:
        if sign in j.sides:
            flat |= np.abs(s - j.s) < j.half_width + 1.0
    z[flat] = KERB_M
    mesh = _cells(*_grid(plan, s, edges, z), k.TERRAIN, material)
    paved = (mesh.material >> 6) == k.PAVING
    mesh.class_id[paved] = k.SIDEWALK
    return _only(mesh, np.repeat(keep[:, None], len(reach) - 1, 1))


def _side_streets(plan: Plan, rng: np.random.Generator) -> list[Mesh]:
    """Asphalt of the side streets and the kerbs at their mouths."""
    meshes = []
    for j in plan.junctions:
        for sign in j.sides:
            kerb, line, _ = plan.side(sign)
            d = np.linspace(kerb, line + sign * SIDE_STREET_M, 9)
            s = np.array([j.s - j.half_width, j.s - 0.07, j.s + 0.07, j.s + j.half_width])
            vertices, local = _grid(plan, s, d)
            colour = int(rng.integers(2, 6))
            kinds = [k.ASPHALT, k.DASHES, k.ASPHALT]
            material = np.tile(np.array([[material_id(kind, colour)] for kind in kinds]), (1, len(d) - 1))
            local = local[..., [1, 0, 2]]
            meshes.append(_cells(vertices, local, k.ROAD, material))
            for edge in (j.s - j.half_width, j.s + j.half_width):
                vertices, local = _grid(plan, np.array([edge, edge]), d, np.array([[0.0], [KERB_M]]))
                meshes.append(_cells(vertices, local[..., [1, 0, 2]], k.SIDEWALK, material_id(k.KERB, 8)))
    return meshes


def _horizon(plan: Plan, rng: np.random.Generator) -> list[Mesh]:
    """A plain under everything, and a ring of wooded hills around it."""
    low, high = plan.path.xy.min(axis=0) - 600.0, plan.path.xy.max(axis=0) + 600.0
    z = -0.4
    corners = [[low[0], low[1], z], [high[0], low[1], z], [high[0], high[1], z], [low[0], high[1], z]]
    plain = quads([corners], k.TERRAIN, material_id(k.GRASS, 39))
    angle = np.linspace(0, 2 * np.pi, 97)
    radius = 0.5 * float(np.linalg.norm(plan.path.xy.max(axis=0) - plan.path.xy.min(axis=0))) + 260.0
    middle = 0.5 * (low + high)
    phase = rng.uniform(0, 6.28, 3)
    crest = 14 + 8 * np.sin(3 * angle + phase[0]) + 5 * np.sin(8 * angle + phase[1]) + 2 * np.sin(31 * angle + phase[2])
    rims = [np.stack([middle[0] + r * np.cos(angle), middle[1] + r * np.sin(angle), h], 1) for r, h in (
        (radius, np.full(97, z)), (radius + 60, 0.5 * crest), (radius + 140, np.maximum(crest, 1.0)),
    )]  # fmt: skip
    grid = np.stack(rims, axis=1)
    return [plain, _cells(grid, grid, k.VEGETATION, material_id(k.LEAF, 44))]
