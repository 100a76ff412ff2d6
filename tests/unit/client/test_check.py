"""check=true: each thing looked at by itself, and nothing spent, sent or left behind."""

import re
import shutil
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from officer_example import LIMITS, file_of, settings_of

from client import check
from client.check import check_site
from client.ledger_home import open_ledger, place_of
from server.provision_folder import make_folder, revoke_site
from tacit.domains.hospitals import Hospitals
from tacit.errors import ExitCode
from tacit.privacy.events import GaussianSteps, Relation, Unit
from tacit.privacy.policy import Plan, Policy
from tacit.trust.hosts import Hosts
from tacit.trust.validity import utc_now

ITEMS = ("keys", "data", "model", "policy and cost", "ledger", "connection and clock")
HOUR = 3600


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two foundations, each with an authority of its own."""
    path = tmp_path_factory.mktemp("made")
    hosts = Hosts.parse(["localhost"], ["127.0.0.1"])
    for name in ("ours", "theirs"):
        make_folder(path / name, ["county", "va"], hosts, utc_now())
    make_folder(path / "elsewhere", ["county"], Hosts.parse(["else.example"], []), utc_now())
    return path


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The second place of ledgers, of each test its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


class Coordinator(BaseHTTPRequestHandler):
    """Answers as tacit-server does when it is asked how it is."""

    def do_GET(self):
        date, status = self.server.says
        self.send_response_only(status if self.path == "/health" else 404)
        if date is not None:
            self.send_header(
                "Date", date if isinstance(date, str) else formatdate(date(), usegmt=True)
            )
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # a client that hangs up in the handshake is what some tests are about


@contextmanager
def serving(server, says):
    server.says = says
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def coordinator(bundle, date=time.time, status=200, tls=True):
    """A TLS server on a port of its own, with the certificate of a coordinator's bundle."""
    server = Server(("127.0.0.1", 0), Coordinator)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(bundle / "server.pem", bundle / "server.key")
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    with serving(server, (date, status)) as port:
        yield port


@pytest.fixture(scope="module")
def port(made):
    with coordinator(made / "ours" / "server") as port:
        yield port


@pytest.fixture
def site(made, tmp_path, port):
    """Makes site files of a bundle and a ledger's folder of this test."""

    def make(*words, **keys):
        bundle = tmp_path / "site"
        if not bundle.exists():
            shutil.copytree(made / "ours" / "sites" / "county", bundle)
        return file_of(*words, folder=bundle, **{"server": f"https://localhost:{port}", **keys})

    return make


@pytest.fixture
def looked(capsys):
    """Check a site; gives the exit code, and what was said of each item by its title."""

    def look(file):
        capsys.readouterr()
        code = check_site(file, settings_of(file))
        out, err = capsys.readouterr()
        assert (err, "Traceback" in out) == ("", False)
        *items, last = out.rstrip().split("\n")
        found = {}
        for line in items:
            if line[:1].strip():
                mark, title = line.split(maxsplit=1)
                found[title] = (mark, [])
            elif line:
                found[title][1].append(line.strip())
        assert tuple(found) == ITEMS
        assert "Nothing was spent." in last
        assert (code == ExitCode.DONE) == all(mark == "ok" for mark, _ in found.values())
        assert code in (ExitCode.DONE, ExitCode.INCOMPLETE)
        return code, found

    return look


def wrong(found):
    return [title for title, (mark, _) in found.items() if mark == "wrong"]


def contents(*folders):
    """Every file and folder below some folders, with its bytes and time."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for folder in folders
        for path in (folder, *folder.rglob("*"))
        if path.exists()
    }


def test_all_is_well_and_nothing_is_left_behind(site, looked, tmp_path, state):
    file = site()
    before = contents(tmp_path)
    code, found = looked(file)
    assert (code, wrong(found)) == (ExitCode.DONE, [])
    assert contents(tmp_path) == before
    assert not file.ledger.exists()
    assert not state.exists()
    said = {title: " | ".join(lines) for title, (_, lines) in found.items()}
    assert said["keys"] == "keys of county, roster version 1"
    assert said["data"].startswith("hospitals: 78 training rows (declared: 70), all within")
    assert re.fullmatch("model [0-9a-f]{64}", said["model"])
    assert re.match(
        r"10 rounds would cost ε = (0\.99|1)\d* at δ = 0\.0001, with σ = ", said["policy and cost"]
    )
    assert said["policy and cost"].endswith("allowed per run: ε = 1 at δ = 0.0001")
    assert "it begins with the first run" in said["ledger"]
    assert "'ward 3' has spent ε = 0 of 3 at δ = 0.0001 over its life" in said["ledger"]
    assert said["ledger"].endswith("the run would be admitted")
    assert said["connection and clock"].endswith("this bundle's authority | clocks agree")


# data and model


def heart_files(folder):
    """One hospital's file with forty patients, made up."""
    folder.mkdir(exist_ok=True)
    rows = [
        f"{40 + n % 30},{n % 2},{1 + n % 4},130,220,0,{n % 3},150,{n % 2},1.0,?,?,?,{n % 2}"
        for n in range(40)
    ]
    (folder / "processed.va.data").write_text("\n".join(rows) + "\n")
    return folder / "processed.va.data"


def test_a_bad_cell_is_shown_with_file_row_column_and_value(made, looked, tmp_path, port):
    path = heart_files(tmp_path / "heart")
    words = ("domain=heart_disease", f"domain.root={path.parent}", "model=linear")
    file = replace(
        file_of(folder=made / "ours" / "sites" / "va"),
        name="va",
        experiment=words,
        server=f"https://localhost:{port}",
        ledger=tmp_path / "ledger",
        limits=replace(LIMITS, most_rounds=None),
    )
    assert looked(file)[0] == ExitCode.DONE
    lines = path.read_text().splitlines()
    lines[6] = lines[6].replace(",130,", ",1300,")
    path.write_text("\n".join(lines))
    code, found = looked(file)
    assert (code, wrong(found)) == (ExitCode.INCOMPLETE, ["data"])
    (said,) = found["data"][1]
    assert said.startswith(f"{path}: row 7, column 'trestbps': value '1300' is not ")


def test_a_cell_that_steers_a_terminal_does_not(made, looked, tmp_path, port):
    path = heart_files(tmp_path / "heart")
    path.write_text(path.read_text().replace(",130,", ",1\x1b[2J30,", 1))
    words = ("domain=heart_disease", f"domain.root={path.parent}", "model=linear")
    file = replace(file_of(folder=made / "ours" / "sites" / "va"), name="va", experiment=words)
    _, found = looked(file)
    assert "row 1, column 'trestbps'" in found["data"][1][0]
    assert "\x1b" not in found["data"][1][0]


def test_a_site_that_the_domain_does_not_have(site, looked):
    _, found = looked(site(name="ward"))
    assert found["data"] == (
        "wrong",
        ["hospitals has no site 'ward': there are county, referral, screening, university"],
    )
    assert found["keys"][1][0].endswith("belongs to 'county', and site.yaml is 'ward''s")
    assert found["model"][0] == "ok"
    assert found["policy and cost"][0] == "wrong"


def test_where_a_person_is_the_unit_persons_are_counted(site, looked, monkeypatch):
    """Hospitals whose patients have two rows each."""
    held = Hospitals().load()["county"]
    train = replace(held.train, persons=torch.arange(len(held.train)) // 2)
    monkeypatch.setattr(Hospitals, "load", lambda domain: {"county": replace(held, train=train)})

    declared = {"county": 30, "referral": 30, "screening": 30, "university": 60}
    monkeypatch.setattr(Hospitals, "declared_persons", declared, raising=False)
    code, found = looked(site("privacy.unit=person"))
    assert (code, wrong(found)) == (ExitCode.DONE, [])
    assert found["data"][1][1] == "they are of 39 persons (declared: 30), each of them a unit"
    monkeypatch.setattr(Hospitals, "declared_persons", declared | {"county": 10**6})
    _, found = looked(site("privacy.unit=person", "privacy.epsilon=0.9"))
    assert "domain.declared_persons.county (1000000)" in found["policy and cost"][1][0]


def test_a_device_that_is_not_there(site, looked):
    _, found = looked(site(device="cuda:99"))
    assert wrong(found) == ["model", "policy and cost", "ledger"]
    assert "engine.device='cuda:99' cannot be used here" in found["model"][1][0]
    assert found["policy and cost"][1] == ["not looked at: something is wrong with the model"]


# policy and cost


def narrower(**limits):
    return {"limits": replace(LIMITS, **limits)}


@pytest.mark.parametrize(
    ("keys", "item", "says"),
    [
        (narrower(most_rounds=9), "policy and cost", "rounds=10 is over 9"),
        (narrower(delta_per_run=1e-5), "policy and cost", "delta=0.0001 is over this site's most"),
        (narrower(lifetime_delta=0.5), "policy and cost", "limits.lifetime_delta=0.5 is larger"),
        (
            narrower(lifetime_delta=1e-9, lifetime_epsilon=1.0),
            "ledger",
            "run 'check' would cost ε = ",
        ),
        (narrower(models=("0" * 64,)), "model", "limits.models does not list "),
        (narrower(strategies=("krum",)), "model", "limits.strategies does not list 'fedavg'"),
        (
            {"secure_aggregation": 4},
            "policy and cost",
            "secure_aggregation=4: the run hides an update among ",
        ),
        ({"gpu_memory_share": 0.5}, "model", "gpu_memory_share=0.5: device=auto is no GPU"),
    ],
)
def test_an_experiment_that_the_site_does_not_allow(site, looked, keys, item, says):
    code, found = looked(site(**keys))
    assert code == ExitCode.INCOMPLETE
    assert wrong(found)[0] == item
    assert any(line.startswith(says) for line in found[item][1])


def test_a_model_by_its_hash_is_allowed_by_what_the_check_shows(site, looked):
    _, found = looked(site())
    shown = found["model"][1][0].removeprefix("model ")
    assert looked(site(**narrower(models=(shown,))))[0] == ExitCode.DONE


def sigma(found):
    return float(re.search(r"σ = ([\d.]+)", found["policy and cost"][1][0])[1])


def test_a_smaller_budget_or_a_least_noise_only_means_more_noise(site, looked):
    _, plain = looked(site())
    code, less = looked(site(**narrower(epsilon_per_run=0.5)))
    assert code == ExitCode.DONE
    assert sigma(less) > 1.5 * sigma(plain)
    assert "the experiment allows ε = 1: here it has more noise" in less["policy and cost"][1]
    code, noisy = looked(site(**narrower(least_noise_multiplier=50.0)))
    assert (code, sigma(noisy)) == (ExitCode.DONE, 50.0)


def test_one_of_three_sites_is_told_what_a_sum_of_them_would_bear(site, looked, tmp_path):
    three = ["county", "referral", "screening"]
    make_folder(tmp_path / "three", three, Hosts.parse(["localhost"], []), utc_now())
    shutil.copytree(tmp_path / "three" / "sites" / "county", tmp_path / "site")

    def told(*words, **keys):
        (_, lines) = looked(site(*words, **keys))[1]["policy and cost"]
        return [line for line in lines if "a secure sum of three sites bears nobody" in line]

    (open_,) = told()
    assert "the coordinator sees each one's part by itself" in open_
    assert not told(secure_aggregation="off")
    assert not told("secure_aggregation=required", secure_aggregation=2)


def test_a_site_without_privacy(site, looked):
    _, found = looked(site("privacy=none"))
    assert found["model"][1] == [
        "experiment: privacy=none: a site releases nothing exact: use privacy=record"
    ]


def test_a_declared_size_that_cannot_be(site, looked):
    _, found = looked(site("domain.declared_sizes.county=0"))
    assert found["policy and cost"][1] == [
        "domain.declared_sizes.county=0: a site declares at least 1 row"
    ]


# the ledger


def spend(file, rounds=5, run="r1", predictable=False, sigma=20.0):
    """Charge a run's rounds to the site's ledger."""
    each = GaussianSteps(sigma, 1.0, 1, 1.0)
    plan = Plan(run, each, rounds, 1.0, 1e-4, predictable)
    policy = Policy(1.0, 3.0, 1e-4, test_data=predictable)
    with ledger_of(file) as ledger:
        ledger.reserve(plan, policy)
        for n in range(rounds):
            charge = ledger.charge(run, f"request {n}", each, policy)
            ledger.store_reply(charge, [b"reply"])


def ledger_of(file):
    return open_ledger(
        file.ledger,
        file.data_set,
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=file.limits.lifetime_delta,
    )


def test_what_is_left_is_said_and_the_ledger_stays_as_it_is(site, looked, tmp_path):
    file = site()
    spend(file)
    before = contents(tmp_path)
    code, found = looked(file)
    assert code == ExitCode.DONE
    spent, admitted = found["ledger"][1]
    numbers = re.fullmatch(
        r"'ward 3' has spent ε = ([\d.]+) of 3 at δ = 0\.0001 over its life; "
        r"about ε = ([\d.]+) is left for one more run",
        spent,
    )
    assert 0.1 < float(numbers[1]) < 1
    assert 1 < float(numbers[2]) < 3
    assert admitted == "the run would be admitted"
    assert contents(tmp_path) == before


def test_a_ledger_that_a_running_site_holds_open_is_read(site, looked):
    file = site()
    spend(file)
    with ledger_of(file) as held:
        count = held.receipt().count
        assert looked(file)[0] == ExitCode.DONE
        assert held.receipt().count == count


def test_a_check_that_spent_would_be_noticed(site, looked, tmp_path, monkeypatch):
    file = site()
    spend(file)
    before = contents(tmp_path)

    class Careless:
        """In place of a copy: the ledger itself."""

        def __enter__(self):
            place = place_of(file.ledger, file.data_set)
            honest = check.Ledger.open
            monkeypatch.setattr(
                check.Ledger,
                "open",
                lambda path, **more: honest(place.ledger, **{**more, "head_path": place.head}),
            )
            return tmp_path / "site"

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(check, "TemporaryDirectory", Careless)
    looked(file)
    assert contents(tmp_path) != before


def test_a_life_that_is_nearly_over(site, looked):
    file = site(**narrower(lifetime_epsilon=1.0))
    spend(file)
    code, found = looked(file)
    assert (code, wrong(found)) == (ExitCode.INCOMPLETE, ["ledger"])
    assert "is left for one more run" in found["ledger"][1][0]
    assert found["ledger"][1][1].startswith("with run 'check' the data set would have spent")


def test_a_ledger_with_another_delta(site, looked):
    spend(site())
    _, found = looked(site(**narrower(lifetime_delta=1e-3)))
    assert wrong(found) == ["ledger"]
    assert (
        "is the ledger of 'ward 3' with δ = 0.0001, not of 'ward 3' with" in found["ledger"][1][0]
    )


def test_a_ledger_that_is_gone(site, looked):
    file = site()
    spend(file)
    shutil.rmtree(file.ledger)
    _, found = looked(file)
    assert wrong(found) == ["ledger"]
    assert "is not there, but" in found["ledger"][1][0]
    assert not file.ledger.exists()


def test_a_damaged_ledger(site, looked):
    file = site()
    spend(file)
    place_of(file.ledger, file.data_set).ledger.write_bytes(b"not SQLite at all, " * 500)
    _, found = looked(file)
    assert wrong(found) == ["ledger"]


def test_an_old_copy_that_was_put_back(site, looked, tmp_path):
    file = site()
    spend(file)
    shutil.copytree(file.ledger, tmp_path / "old")
    spend(file, run="r2")
    shutil.rmtree(file.ledger)
    shutil.copytree(tmp_path / "old", file.ledger)
    _, found = looked(file)
    assert wrong(found) == ["ledger"]
    assert "rows were cut off or an old copy was put back" in found["ledger"][1][0]


def test_test_data_with_seeded_noise(site, looked):
    file = site(test_data=True, noise_seed=7)
    code, found = looked(file)
    assert code == ExitCode.DONE
    assert "test data: no promise is made for anybody in them" in found["ledger"][1]
    spend(file, predictable=True)
    code, found = looked(file)
    assert code == ExitCode.DONE
    assert found["ledger"][1][0].startswith("'ward 3' has spent ε = ∞ of 3")
    _, found = looked(replace(file, test_data=False, noise_seed=None))
    assert "do not go together" in found["ledger"][1][1]


# connection and clock


@pytest.fixture
def outside(looked, monkeypatch):
    """Check a site whose data, model and ledger are right, which takes time to see."""
    for name in ("data", "model", "cost", "ledger"):
        monkeypatch.setattr(check._Check, name, lambda _: iter(()))
    return looked


def only_the_connection(outside, file, *says):
    code, found = outside(file)
    assert (code, wrong(found)) == (ExitCode.INCOMPLETE, ["connection and clock"])
    (said,) = found["connection and clock"][1][-1:]
    for words in says:
        assert words in said, said


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return taken.getsockname()[1]


def test_a_coordinator_that_is_not_there(site, outside):
    file = site(server=f"https://localhost:{free_port()}")
    only_the_connection(outside, file, file.server, "does not answer", "is tacit-server running")


def test_a_name_that_nobody_has(site, outside):
    file = site(server="https://nobody.invalid:9443")
    only_the_connection(outside, file, "https://nobody.invalid:9443: does not answer")


def test_a_coordinator_that_says_nothing(site, outside, monkeypatch):
    monkeypatch.setattr(check, "PATIENCE", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        file = site(server=f"https://localhost:{mute.getsockname()[1]}")
        only_the_connection(outside, file, "does not answer", "timed out")


def test_a_connection_that_is_cut(site, outside):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def cut():
            with suppress(OSError), listener.accept()[0] as connection:
                connection.recv(10)

        thread = threading.Thread(target=cut)
        thread.start()
        file = site(server=f"https://localhost:{listener.getsockname()[1]}")
        only_the_connection(outside, file, file.server)
        thread.join()


@pytest.mark.parametrize("bundle", ["theirs", "elsewhere"])
def test_another_authority(made, site, outside, bundle):
    with coordinator(made / bundle / "server") as port:
        file = site(server=f"https://localhost:{port}")
        only_the_connection(outside, file, "its certificate is not one of this bundle's authority")


def test_another_name_than_the_certificates(site, outside, made):
    with coordinator(made / "elsewhere" / "server") as port:
        bundle = made / "elsewhere" / "sites" / "county"
        file = site(bundle=bundle, server=f"https://localhost:{port}")
        only_the_connection(outside, file, "for this name: Hostname mismatch")


def test_a_certificate_that_begins_next_week(tmp_path, site, outside):
    later = utc_now() + timedelta(days=9)
    make_folder(tmp_path / "new", ["county"], Hosts.parse(["localhost"], []), later)
    with coordinator(tmp_path / "new" / "server") as port:
        bundle = tmp_path / "new" / "sites" / "county"
        _, found = outside(site(bundle=bundle, server=f"https://localhost:{port}"))
    assert wrong(found) == ["keys", "connection and clock"]
    assert "set the clock right" in found["keys"][1][0]
    assert "certificate is not yet valid by this clock" in found["connection and clock"][1][0]


def test_a_check_without_the_authority_would_be_noticed(made, site, outside, monkeypatch):
    def trusting(**_):
        return ssl._create_unverified_context()

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    with coordinator(made / "theirs" / "server") as port:
        assert outside(site(server=f"https://localhost:{port}"))[0] == ExitCode.DONE


def test_plain_http(made, site, outside):
    with coordinator(made, tls=False) as port:
        file = site(server=f"https://localhost:{port}")
        only_the_connection(outside, file, "answers, but not as tacit-server does")


def test_another_service_of_the_same_authority(made, site, outside):
    with coordinator(made / "ours" / "server", status=404) as port:
        file = site(server=f"https://localhost:{port}")
        only_the_connection(outside, file, "answers 404: no tacit-server is there")


@pytest.mark.parametrize(
    ("off", "says"),
    [
        (-HOUR, ("this clock is 3600 s ahead", "3601 s ahead")),
        (-10, ("this clock is 10 s ahead", "this clock is 11 s ahead")),
        (HOUR, ("this clock is 3600 s behind", "this clock is 3599 s behind")),
    ],
)
def test_a_clock_that_is_off(made, site, outside, off, says):
    with coordinator(made / "ours" / "server", date=lambda: time.time() + off) as port:
        _, found = outside(site(server=f"https://localhost:{port}"))
    assert wrong(found) == ["connection and clock"]
    said = found["connection and clock"][1][-1]
    assert any(words in said for words in says), said


@pytest.mark.parametrize("off", [-2, 0, 2, 200])
def test_a_clock_that_flower_takes(made, site, outside, off):
    with coordinator(made / "ours" / "server", date=lambda: time.time() + off) as port:
        assert outside(site(server=f"https://localhost:{port}"))[0] == ExitCode.DONE


def test_flower_still_takes_what_the_check_takes():
    from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

    assert (check.AHEAD, check.BEHIND) == (SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE)


@pytest.mark.parametrize("date", [None, "yesterday", "", "Mon, 99 Foo 2027 99:99:99 GMT"])
def test_a_coordinator_that_does_not_tell_the_time(made, site, outside, date):
    with coordinator(made / "ours" / "server", date=date) as port:
        file = site(server=f"https://localhost:{port}")
        only_the_connection(outside, file, "does not tell the time")


def test_a_date_without_a_zone_is_utc(made, site, outside):
    def date():
        return time.strftime("%a, %d %b %Y %H:%M:%S -0000", time.gmtime())

    with coordinator(made / "ours" / "server", date=date()) as port:
        assert outside(site(server=f"https://localhost:{port}"))[0] == ExitCode.DONE


# keys


def test_keys_that_were_revoked(made, site, outside, tmp_path):
    other = shutil.copytree(made / "ours", tmp_path / "other")
    revoke_site(other, "county", utc_now())
    file = site(bundle=other / "sites" / "county")
    shutil.copy(other / "server" / "roster.json", file.bundle / "roster.json")
    _, found = outside(file)
    assert wrong(found) == ["keys"]
    assert "were revoked" in found["keys"][1][0]


def test_a_key_that_others_can_read(site, outside):
    file = site()
    (file.bundle / "node.key").chmod(0o644)
    _, found = outside(file)
    assert wrong(found) == ["keys"]
    assert "node.key" in found["keys"][1][0]


def test_a_bundle_that_is_not_there(site, outside, tmp_path):
    _, found = outside(site(bundle=tmp_path / "none"))
    assert wrong(found) == ["keys", "connection and clock"]
    assert "none/ca.pem" in found["keys"][1][0]


# all of it


def test_everything_wrong_is_said_at_once(site, looked, tmp_path):
    place = tmp_path / "kept"
    place.write_text("a file where a folder should be")
    file = site(
        "privacy=none",
        name="ward",
        bundle=tmp_path / "none",
        ledger=place,
        server=f"https://localhost:{free_port()}",
    )
    code, found = looked(file)
    assert (code, wrong(found)) == (ExitCode.INCOMPLETE, list(ITEMS))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "x"), OSError("odd")])
def test_a_fault_of_the_disk_is_a_finding(site, looked, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(check, "own_data", fail)
    _, found = looked(site())
    assert wrong(found) == ["data"]
    assert found["data"][1] in (["x: Permission denied"], ["data: odd"])


def test_a_fault_of_ours_is_not_hidden(site, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(check, "own_data", fail)
    with pytest.raises(ZeroDivisionError):
        check_site(site(), settings_of(site()))
