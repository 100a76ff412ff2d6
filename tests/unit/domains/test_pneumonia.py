"""PneumoniaMNIST: the division among hospitals, and what is refused in its file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.compose import composed
from tacit.domains.domain import Metric, check_sites
from tacit.domains.pneumonia import Pneumonia, divide
from tacit.errors import ConfigurationError, DataError

SITES = {"a": 30, "b": 20, "c": 10}
PUBLISHED = {"train": (1214, 3494), "val": (135, 389), "test": (234, 390)}
"""Images of each class: MedMNIST v2, and Kermany et al. 2018 for the test set."""


def arrays(train=60, val=12, test=20):
    """Made-up images, told apart by their number, and labels that are 1 two times of three."""
    rng = np.random.default_rng(0)
    made = {}
    for part, n in (("train", train), ("val", val), ("test", test)):
        made[f"{part}_images"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(n)[:, None] % 3 > 0).astype(np.uint8)
    return made


def write(folder, name="pneumoniamnist.npz", **changed):
    made = {key: a for key, a in {**arrays(), **changed}.items() if a is not None}
    np.savez(folder / name, **made)
    return folder / name


def domain_of(path, **more):
    return Pneumonia(str(path), SITES, **more)


def key_of(image):
    return image.numpy().tobytes()


def test_every_training_image_lies_at_one_hospital_with_its_label(tmp_path):
    path = write(tmp_path)
    made = arrays()
    pixels = torch.from_numpy(made["train_images"].astype(np.float32)) / 255
    wanted = dict(zip(map(key_of, pixels), made["train_labels"][:, 0].tolist(), strict=True))
    found = {}
    for held in domain_of(path).load().values():
        assert held.train.features.shape[1:] == (1, 28, 28)
        assert held.train.targets.dtype == torch.int64
        for image, target in zip(held.train.features, held.train.targets, strict=True):
            assert key_of(image[0]) not in found
            found[key_of(image[0])] = int(target)
    assert found == wanted


def test_all_hospitals_share_the_whole_test_set_as_one_tensor(tmp_path):
    path = write(tmp_path)
    tests = [held.test for held in domain_of(path).load().values()]
    assert len({id(test.features) for test in tests}) == 1
    made = arrays()
    assert tests[0].features[:, 0].equal(torch.from_numpy(made["test_images"] / np.float32(255)))
    assert tests[0].targets.tolist() == made["test_labels"][:, 0].tolist()


def test_the_pool_is_the_validation_split_and_needs_no_labels(tmp_path):
    path = write(tmp_path, val_labels=None)
    pool = domain_of(path).public_pool()
    assert pool[:, 0].equal(torch.from_numpy(arrays()["val_images"] / np.float32(255)))


def test_pixels_are_scaled_by_their_public_range(tmp_path):
    images = np.zeros((60, 28, 28), np.uint8)
    images[:, 0, 0] = 255
    held = domain_of(write(tmp_path, train_images=images)).load()["a"]
    assert held.train.features.unique().tolist() == [0, 1]


def test_labels_may_lie_in_a_row_or_in_a_column(tmp_path):
    column = domain_of(write(tmp_path)).load()
    flat = {key: a[:, 0] for key, a in arrays().items() if key.endswith("labels")}
    row = domain_of(write(tmp_path, **flat)).load()
    assert all(column[s].train.targets.equal(row[s].train.targets) for s in SITES)


@given(
    counts=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    sites=st.integers(1, 8),
    alpha=st.floats(0.05, 100),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_a_division_gives_every_row_to_one_site(counts, sites, alpha, seed):
    labels = np.repeat([0, 1], counts)
    names = tuple(f"site_{n}" for n in range(sites))
    found = divide(labels, names, alpha, seed)
    assert tuple(found) == names
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(labels)))
    again = divide(labels, names, alpha, seed)
    assert all(found[name].tolist() == again[name].tolist() for name in names)


def test_alpha_says_how_unlike_the_hospitals_are_and_the_seed_which_division():
    labels, names = np.repeat([0, 1], (1214, 3494)), ("a", "b", "c", "d")

    def spread(alpha):
        """Standard deviation of the sites' shares of a class; a Dirichlet's is known."""
        shares = [
            [(labels[rows] == 1).sum() / 3494 for rows in divide(labels, names, alpha, s).values()]
            for s in range(200)
        ]
        return np.std(shares)

    # Variance of a share of Dirichlet(α, α, α, α): (1/4)(3/4) / (4α + 1). The 800 shares of 200
    # draws give its root to within 3 % (one standard error, 1/sqrt(2 * 600)): 5 of them.
    for alpha in (0.5, 5.0):
        wanted = (3 / 16 / (4 * alpha + 1)) ** 0.5
        assert abs(spread(alpha) / wanted - 1) < 0.15
    first, other = (divide(labels, names, 1.0, seed)["a"].tolist() for seed in (0, 1))
    assert first != other


def test_the_declared_sizes_follow_from_published_counts_and_the_division():
    options = composed(["domain=pneumonia", "domain.root=unused"])["domain"]
    labels = np.repeat([0, 1], PUBLISHED["train"])
    sizes = options["declared_sizes"]
    found = divide(labels, tuple(sizes), options["alpha"], options["partition_seed"])
    assert {site: round(len(rows), -1) for site, rows in found.items()} == sizes


def test_the_card_says_what_is_protected(tmp_path):
    card = domain_of(tmp_path).card
    assert card.metric is Metric.AUC
    assert card.classes == ("normal", "pneumonia")
    assert "one image; not the patient" in card.unit_protected
    assert "public by assumption" in card.public_pool
    assert "3 hospitals" in card.title
    assert not card.synthetic


@pytest.mark.parametrize("name", ["pneumoniamnist.npz", "pneumoniamnist_28.npz", "other.npz"])
def test_the_file_is_found_in_its_folder(tmp_path, name):
    path = write(tmp_path, name)
    assert domain_of(tmp_path).load().keys() == domain_of(path).load().keys() == SITES.keys()


def test_the_data_set_is_told_from_other_files_beside_it(tmp_path):
    write(tmp_path)
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    assert len(domain_of(tmp_path).load()) == 3


def test_a_missing_path_and_an_ambiguous_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder; domain\.root"):
        domain_of(tmp_path / "nowhere").load()
    with pytest.raises(DataError, match=r"holds no \.npz file"):
        domain_of(tmp_path).load()
    write(tmp_path, "pneumoniamnist_a.npz")
    write(tmp_path, "pneumoniamnist_b.npz")
    with pytest.raises(DataError, match=r"several \.npz files: pneumoniamnist_a.*_b\.npz"):
        domain_of(tmp_path).load()


def changed(key, place, value):
    array = arrays()[key].astype(np.int64)
    array[place] = value
    return {key: array}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_images": None}, r"train_images is missing; the file holds"),
        ({"test_labels": None}, r"test_labels is missing"),
        ({"train_images": np.zeros((60, 64, 64), np.uint8)}, r"shape \[60, 64, 64\], \[n, 28, 28"),
        ({"train_images": np.zeros((60, 784), np.uint8)}, r"shape \[60, 784\]"),
        ({"train_images": np.zeros((60, 28, 28), np.float32)}, r"type float32, uint8 is needed"),
        ({"test_images": np.zeros((0, 28, 28), np.uint8)}, r"test_images holds no images"),
        ({"train_labels": np.zeros((59, 1), np.uint8)}, r"shape \[59, 1\].* has 60 images"),
        ({"train_labels": np.zeros((60, 2), np.uint8)}, r"shape \[60, 2\]"),
        ({"train_labels": np.zeros(60)}, r"train_labels is of type float64, whole numbers"),
        (changed("train_labels", 4, 7), r"train_labels row 5 is 7, .*0 \(normal\) or 1 \(pneum"),
        (changed("test_labels", 2, -1), r"test_labels row 3 is -1"),
        ({"train_labels": np.array([{}] * 60)}, r"train_labels cannot be read"),  # needs pickle
    ],
)
def test_a_wrong_file_is_refused_by_name_key_and_value(tmp_path, wrong, message):
    path = write(tmp_path, **wrong)
    with pytest.raises(DataError, match=rf"{path}: .*{message}|{path}: {message}"):
        domain_of(path).load()


def test_a_wrong_pool_is_refused(tmp_path):
    with pytest.raises(DataError, match="val_images holds no images"):
        domain_of(write(tmp_path, val_images=np.zeros((0, 28, 28), np.uint8))).public_pool()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "pneumoniamnist.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path}: train_images cannot be read"):
        domain_of(path).load()


def test_a_damaged_and_a_single_array_are_named(tmp_path):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF  # inside the first image: the checksum of the archive tells
    path.write_bytes(content)
    with pytest.raises(DataError, match="train_images cannot be read"):
        domain_of(path).load()
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="holds a single array"):
        domain_of(path).load()


def test_a_hospital_without_images_is_told_what_to_change(tmp_path):
    path = write(tmp_path)
    with pytest.raises(DataError, match=r"without training images: use a larger domain\.alpha"):
        domain_of(path, alpha=0.001).load()


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ConfigurationError, match=r"domain\.alpha="):
        domain_of("unused", alpha=alpha)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigurationError, match=r"domain\.partition_seed=-1"):
        domain_of("unused", partition_seed=-1)


def test_the_real_file(data_root: Path):
    folder = data_root / "pneumoniamnist"
    if not folder.is_dir():
        pytest.skip(f"there is no pneumoniamnist in {data_root}: set TACIT_DATA to run this test")
    options = composed(["domain=pneumonia", "domain.root=unused"])["domain"]
    domain = Pneumonia(str(folder), options["declared_sizes"])
    data = domain.load()
    check_sites(data, domain.card)
    labels = torch.cat([held.train.targets for held in data.values()])
    assert tuple(labels.bincount().tolist()) == PUBLISHED["train"]
    assert {site: round(len(held.train), -1) for site, held in data.items()} == dict(
        domain.declared_sizes
    )
    test = data["hospital_1"].test
    assert tuple(test.targets.bincount().tolist()) == PUBLISHED["test"]
    assert domain.public_pool().shape == (sum(PUBLISHED["val"]), 1, 28, 28)
