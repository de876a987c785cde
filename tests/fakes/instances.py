"""The instances that a server of a test has unless it says otherwise."""

from reapi.core.digest import BLAKE3
from reapi.core.instances import Instance, Instances

INSTANCES = Instances(
    {"": Instance(), "main": Instance(), "buck2": Instance(digest_function=BLAKE3)}
)
