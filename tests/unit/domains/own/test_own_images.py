"""Images of one's own: pixels as they are, and a broken file is named by its path."""

import io
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tacit.domains.domain import check_inputs, check_sites, site_data
from tacit.domains.own.content import Rows
from tacit.domains.own.data import OwnImages
from tacit.domains.own.images import Images
from tacit.domains.own.schema_parts import Colour, ImageSpec
from tacit.errors import ConfigurationError, DataError

FOLDERS = """\
name: scans
files: scans
target: {task: classes, classes: [well, ill]}
image: {size: [6, 4]}
sites: {declared_sizes: {north: 12, south: 12}}
test: {share: 0.4}
"""
TABLE = (
    FOLDERS.replace("files: scans", "files: scans.csv\nperson: who")
    .replace("{task: classes", "{column: what, task: classes")
    .replace("[6, 4]", "[6, 4], column: path")
    .replace("{declared", "{column: where, declared")
)


def png(value=0, size=(4, 6), mode="L", form="PNG", **more):
    """An image of one value; its size is width and height, as Pillow has it."""
    stream = io.BytesIO()
    Image.new(mode, size, value).save(stream, form, **more)
    return stream.getvalue()


@pytest.fixture
def folders(tmp_path):
    """Twelve scans of each class at each of two sites, as bright as their number."""
    for site in ("north", "south"):
        for place, name in enumerate(("well", "ill")):
            (tmp_path / "scans" / site / name).mkdir(parents=True)
            for n in range(12):
                content = png(100 * place + n)
                (tmp_path / "scans" / site / name / f"{n:02d}.png").write_bytes(content)
    (tmp_path / "scans.yaml").write_text(FOLDERS)
    return tmp_path


def load(folder, schema=None, **more):
    if schema is not None:
        (folder / "scans.yaml").write_text(schema)
    domain = OwnImages(str(folder / "scans.yaml"), **more)
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    return domain, data


def test_folders_of_sites_and_classes(folders):
    domain, data = load(folders)
    assert domain.inputs == (1, 6, 4)
    assert not domain.columns
    for held in data.values():
        assert len(held.train) + len(held.test) == 24
        for part in (held.train, held.test):
            bright = part.features.amax((1, 2, 3)) * 255
            assert torch.equal(part.targets, (bright >= 99.5).long())
            assert part.features.dtype == torch.float32
    own = site_data(domain, "south")
    assert torch.equal(own.train.features, data["south"].train.features)


def test_a_folder_each_and_a_partition(folders):
    each = FOLDERS.replace("files: scans", "files: 'scans/{site}'")
    _, data = load(folders)
    _, found = load(folders, each)
    for site, held in data.items():  # the split goes by pixels, and not by the paths
        assert torch.equal(found[site].test.features, held.test.features)
    alone = FOLDERS[: FOLDERS.index("sites:")].replace("files: scans", "files: scans/north")
    _, dealt = load(
        folders, alone, partition={"_target_": "tacit.domains.partition_sizes.IID", "sites": 3}
    )
    assert sum(len(held.train) for held in dealt.values()) + len(dealt["user-000000"].test) == 24


def test_an_image_under_two_names_is_held_out_under_both_or_none(folders):
    _, data = load(folders)
    for site in ("north", "south"):
        for path in sorted((folders / "scans" / site).rglob("*.png")):
            path.with_name(f"copy-of-{path.name}").write_bytes(path.read_bytes())
    _, twice = load(folders)
    for site, held in data.items():
        for part in ("train", "test"):
            once, both = getattr(held, part).features, getattr(twice[site], part).features
            assert sorted(both.sum((1, 2, 3)).tolist()) == sorted(2 * once.sum((1, 2, 3)).tolist())


def test_a_table_of_paths(folders):
    rows = [
        f"scans/{site}/{name}/{n:02d}.png,{name},{site},p{n // 2}"
        for site in ("north", "south")
        for name in ("well", "ill")
        for n in range(12)
    ]
    (folders / "scans.csv").write_text("\n".join(["path,what,where,who", *rows]))
    _, data = load(folders, TABLE)
    held = data["north"]
    assert len(held.train) + len(held.test) == 24
    assert int(held.train.persons.max()) + 1 == len(held.train) // 4
    rows[3] = "scans/none.png,well,north,p1"
    (folders / "scans.csv").write_text("\n".join(["path,what,where,who", *rows]))
    with pytest.raises(DataError, match=r"scans\.csv: row 5: image 'scans/none\.png' is not there"):
        load(folders)


def test_a_class_that_the_schema_does_not_know_is_named_by_path(folders):
    with pytest.raises(DataError, match=r"north/ill/00\.png, column 'class folder': value 'ill'"):
        load(folders, FOLDERS.replace("ill]", "sick]"))
    with pytest.raises(DataError, match=r"column 'site folder': value 'south' is not one of"):
        load(folders, FOLDERS.replace("south", "west"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read as PNG"),
        (b"no image", "cannot be read as PNG"),
        (png(3)[:50], "cannot be read as PNG"),
        (png(3, (5, 6)), r"has 6 x 5 pixels \(height, width\), and the schema says 6 x 4: resize"),
        (png(3, mode="I;16"), "has pixels of the mode I;16: save it in grey or RGB of 8 bits"),
        (png(3, form="GIF"), "cannot be read as PNG"),
    ],
)
def test_a_broken_image_is_named_by_its_path(folders, content, says):
    (folders / "scans/north/ill/03.png").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        load(folders)
    assert f"{folders}/scans: north/ill/03.png: image " in str(caught.value)


def read(content, **more):
    import pandas as pd

    table = pd.DataFrame({"image": [content]}, dtype=object)
    said = []
    found = Images(ImageSpec((6, 4), **more)).read(Rows("scans", table), said.append)
    return found[0], said


def test_pixels_are_scaled_by_their_public_range():
    pixels = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    found, said = read(stream.getvalue())
    assert not said
    assert torch.equal(found[0], torch.from_numpy(pixels.astype(np.float32)) / 255)


def test_colours_and_sizes_become_what_the_schema_says():
    red = png((255, 0, 0), mode="RGB")
    assert read(red, colour=Colour.RGB)[0].amax((1, 2)).tolist() == [1, 0, 0]
    # ITU-R 601-2: grey of red is 299/1000 of 255, in whole numbers 76.
    assert read(red)[0].unique().tolist() == pytest.approx([76 / 255])
    assert read(png(7), colour=Colour.RGB)[0].shape == (3, 6, 4)
    wide = png(50, (40, 30))
    assert read(wide, resize=True)[0].unique().tolist() == pytest.approx([50 / 255])
    turned = png(
        9,
        (6, 4),
        form="JPEG",
        exif=bytes.fromhex("4578696600004d4d002a00000008000101120003000000010006000000000000"),
    )
    assert not read(turned)[1]  # a camera that was held upright: 6 x 4 is shown as 4 x 6


def test_a_bomb_is_refused():
    """A few bytes that unpack to many are no image of ours."""
    header = b"\x00\x01\x00\x00" * 2 + b"\x08\x00\x00\x00\x00"  # 65536 x 65536 of eight bits
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    assert "exceeds limit" in read(content, resize=True)[1][0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it leaves out of a TIFF
@given(st.data())
def test_an_altered_image_is_read_or_named(data):
    content = bytearray(
        data.draw(st.sampled_from([png(5), png(5, form="JPEG"), png(5, form="TIFF")]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found, said = read(bytes(content), resize=True)
    assert len(said) <= 1
    assert bool(((found >= 0) & (found <= 1)).all())


def test_a_table_is_no_folder(folders):
    with pytest.raises(DataError, match="there is no such folder"):
        load(folders, FOLDERS.replace("files: scans", "files: none"))
    with pytest.raises(ConfigurationError, match="describes text: use domain=text"):
        load(
            folders,
            FOLDERS.replace("image: {size: [6, 4]}", "text: {column: t}")
            .replace("{task", "{column: c, task")
            .replace("{declared", "{column: s, declared"),
        )
