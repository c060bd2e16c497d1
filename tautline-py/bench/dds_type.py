"""The type of the messages of cyclonedds. In a file of its own, because it needs annotations that are evaluated."""

from dataclasses import dataclass

from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import sequence, uint8


@dataclass
class Bytes(IdlStruct, typename="Bytes"):
    data: sequence[uint8]
