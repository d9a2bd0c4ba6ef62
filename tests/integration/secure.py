"""A Kafka broker that wants TLS and credentials, for tests; its plain listener is for their own use."""

import broker
import trustme
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives import serialization

USER, PASSWORD = "penstock", "correct-horse"  # who may do all
GUEST, GUEST_PASSWORD = "guest", "battery-staple"  # who may do nothing
_JAAS = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}" '
    f'user_{GUEST}="{GUEST_PASSWORD}";'
)
_LISTENER = "listener.name.sasl_ssl"
_SETTINGS = (
    "listeners=PLAINTEXT://{host}:{port},SASL_SSL://{host}:{other_port},CONTROLLER://{host}:{controller_port}",
    "advertised.listeners=PLAINTEXT://{host}:{port},SASL_SSL://{host}:{other_port}",
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
    "inter.broker.listener.name=PLAINTEXT",
    "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
    f"{_LISTENER}.plain.sasl.jaas.config={_JAAS}",
    f"{_LISTENER}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "ssl.keystore.type=PEM",
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    f"super.users=User:ANONYMOUS;User:{USER}",
)


class Secure:
    """The broker, running.

    Attributes
    ----------
    plain : str
        The address of those who need no credentials.
    address : str
        That of the others.
    ca, other_ca : Path
        The certificate of who has signed the broker's, and of somebody else.
    """

    def __init__(self, directory):
        authority = trustme.CA()
        self.ca, self.other_ca = directory / "ca.pem", directory / "other-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        trustme.CA().cert_pem.write_to_path(self.other_ca)
        store = directory / "broker.pem"
        store.write_bytes(_pem(authority.issue_cert(broker.HOST)))
        self._home = directory / "broker"
        self.plain = broker.start(self._home, settings=(*_SETTINGS, f"ssl.keystore.location={store}"))
        self.address = broker.other_address(self._home)
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        admin = AdminClient({"bootstrap.servers": self.plain})
        wanted = [UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())]
        for done in admin.alter_user_scram_credentials(wanted).values():
            done.result()

    def path(self, topic):
        return f"kafka://{self.address}/{topic}"

    def stop(self):
        broker.stop(self._home)


def _pem(issued):
    """Return key and certificates as Kafka takes them."""
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*kinds) + b"".join(one.bytes() for one in issued.cert_chain_pems)
