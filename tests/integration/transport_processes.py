"""A server process and site processes that speak over loopback, and certificates for them.

``python transport_processes.py server|site FOLDER PORT OPTIONS``, options as JSON. To measure: see
the keys that `run_server` and `run_site` take.
"""

import datetime
import ipaddress
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
SITES = ["north", "south"]
HEARTBEAT = 2.0
PATIENCE = 30
"""Seconds after which a test gives up: a step takes one or two, more on a busy machine."""


def new_key():
    return ec.generate_private_key(ec.SECP384R1())


def write_key(path, key):
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def read_key(path):
    return serialization.load_pem_private_key(path.read_bytes(), None)


def write_authority(folder, name="ca"):
    """Write a CA's certificate; return what signs with it."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _certificate(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, subject


def write_server_certificate(folder, authority):
    key = new_key()
    signer, issuer = authority
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    addresses = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        _certificate(name, issuer, key.public_key())
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_key(folder / "server.key", key)


def _certificate(subject, issuer, key):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def write_trust(folder, sites):
    """Write a CA, a server's certificate and a key for each site."""
    write_server_certificate(folder, write_authority(folder))
    for site in sites:
        write_key(folder / f"{site}.key", new_key())


def say(**facts):
    """Write a line that the test waits for."""
    print(json.dumps(facts), flush=True)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def left_over(link):
    """How many messages, replies and objects the server still holds."""
    mailbox = link._mailbox
    return len(mailbox.object_store) + mailbox.num_message_ins() + mailbox.num_message_res()


def run_server(folder, port, options):
    from flwr.app import ArrayRecord, Message, RecordDict

    from server.link import superlink

    def requests(weights, nodes):
        record = ArrayRecord(weights)
        for node in nodes:
            yield Message(RecordDict({"arrays": record}), node, "train")

    sites = {name: read_key(folder / f"{name}.key").public_key() for name in options["sites"]}
    with superlink(
        host="127.0.0.1",
        port=port,
        certificate=folder / "server.pem",
        key=folder / "server.key",
        nodes=sites,
        heartbeat=options.get("heartbeat", HEARTBEAT),
        most=options.get("most", 2 << 30),
    ) as link:
        say(port=link.port, names={str(k): v for k, v in link.names.items()})
        least = options.get("least", len(sites))
        random = np.random.default_rng(1)
        weights = [random.random(n, np.float32) for n in options.get("arrays", [1000])]
        weights[0][0] = 0
        for number in range(1, options["rounds"] + 1):
            while len(link.present()) < least:
                time.sleep(0.05)
            begun = time.perf_counter()
            messages = requests(weights, link.grid.get_node_ids())
            replies = link.grid.send_and_receive(messages, timeout=options.get("timeout", 20.0))
            replied = []
            for reply in replies:
                if not reply.has_error():
                    replied.append(link.names[reply.metadata.src_node_id])
                    arrays = reply.content["arrays"].to_numpy_ndarrays(
                        keep_input=not options.get("large")
                    )
                    weights = [np.maximum(a, b) for a, b in zip(weights, arrays, strict=True)]
                    del arrays
            say(
                round=number,
                seconds=time.perf_counter() - begun,
                replied=sorted(replied),
                errors=[reply.error.reason for reply in replies if reply.has_error()],
                value=float(weights[0][0]),
                peak=peak_mb(),
                left=left_over(link),
                cpu=time.process_time(),
                sys=os.times().system,
            )
            del replies
        if options.get("stay"):
            threading.Event().wait()
    say(ended=True)


def run_site(folder, port, options):
    from flwr.app import ArrayRecord, Message, RecordDict

    from client.fleet import serve

    if "clock" in options:
        honest, ahead = time.time, options["clock"]
        time.time = lambda: honest() + ahead
        import flwr.supernode.node_auth_http_interceptor as signing

        signing.now = lambda: (
            datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead)
        )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def add(message, context):
        say(got=context.node_config["site"], peak=peak_mb())
        if options.get("ask"):
            sys.stdin.readline()
        arrays = message.content["arrays"].to_numpy_ndarrays()
        for array in arrays:
            array += np.float32(1)
        if options.get("sizes"):
            arrays = [np.random.default_rng(0).random(options["sizes"].pop(0), np.float32)]
        reply = Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)
        say(peak=peak_mb(), cpu=time.process_time())
        return reply

    serve(
        address=f"{options.get('host', '127.0.0.1')}:{port}",
        ca=folder / options.get("ca", "ca.pem"),
        node_key=read_key(folder / f"{options.get('key', options['name'])}.key"),
        app=add,
        name=options["name"],
        stop=stop,
        on_state=lambda state: say(state=state),
        heartbeat=options.get("heartbeat", HEARTBEAT),
    )
    say(ended=True, peak=peak_mb())


class Running:
    """A process of this file, whose facts and log a test can wait for."""

    def __init__(self, role, folder, port, **options):
        home = folder / "home"
        home.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, __file__, role, str(folder), str(port), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            | dict.fromkeys(("HOME", "TMPDIR", "FLWR_HOME"), str(home)),
            text=True,
        )
        self.lines = []
        self._come = threading.Condition()
        self._taken = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._come:
                self.lines.append(line.rstrip())
                self._come.notify_all()
        with self._come:
            self.lines.append(None)
            self._come.notify_all()

    def line(self, text):
        """Wait for the next line with this text."""
        with self._come:
            while True:
                for number, line in enumerate(self.lines[self._taken :], self._taken + 1):
                    if line is not None and text in line:
                        self._taken = number
                        return line
                assert None not in self.lines, f"ended without {text!r}: {self.lines}"
                assert self._come.wait(PATIENCE), f"no {text!r} in {self.lines}"

    def fact(self, name):
        """Wait for the next fact of this name; return all that was said with it."""
        return json.loads(self.line(f'"{name}":'))

    def tell(self):
        """Let an app that asks go on."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def stop(self):
        """Send SIGTERM; return after how many seconds it ended, and how."""
        begun = time.monotonic()
        self.process.terminate()
        return time.monotonic() - begun, self.process.wait(PATIENCE)


if __name__ == "__main__":
    role, folder, port, options = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    work = {"server": run_server, "site": run_site}[role]
    work(Path(folder), int(port), json.loads(options))
