"""Checkpoints: the weights as safetensors, with everything that says what they mean in the header of the same file.

Parameter space, preprocessing, answers, architecture, data set, version and metrics travel with the weights, so that
training and prediction cannot differ; a file that does not fit is refused with the reason.  Needs no torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hrxrd_ml.errors import HrxrdError, InputFileError, in_short
from hrxrd_ml.guess.network.plan import Plan
from hrxrd_ml.io.files import write_bytes
from hrxrd_ml.reading import unreadable

FORMAT = 1
LARGEST = 2 * 1024**3
"""Bytes; no checkpoint of this package is larger."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what they mean.

    Attributes
    ----------
    plan : Plan
    arrays : dict of ndarray
        By name; what belongs to the network begins with "network.".
    about : dict
        Training settings, version, data set, metrics, state of the training.
    """

    plan: Plan
    arrays: Arrays
    about: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> Arrays:
        """Return the arrays of one part, "network" for instance, without its name."""
        return {key.removeprefix(f"{name}."): a for key, a in self.arrays.items() if key.startswith(f"{name}.")}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the checkpoint, whole or not at all."""
        header = {"format": FORMAT, "plan": self.plan.as_dict(), "about": self.about}
        arrays = {name: array.copy(order="C") for name, array in self.arrays.items()}
        # Not save_file: what that writes is readable by its owner alone.
        write_bytes(path, save(arrays, {"hrxrd_ml": json.dumps(header)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        InputFileError
            If the file is damaged, not a checkpoint of this package, or does not fit this version; says why.
        """
        source = str(path)
        try:
            if reason := unreadable(path, LARGEST):
                raise InputFileError(f"{source}: not a checkpoint of this package: {reason}")
            with safe_open(source, framework="np") as opened:
                header = json.loads((opened.metadata() or {}).get("hrxrd_ml", "null"))
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        except FileNotFoundError:
            raise InputFileError(f"{source}: there is no such checkpoint") from None
        except InputFileError:
            raise
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputFileError(f"{source}: not a safetensors file, or damaged ({in_short(error)})") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            version = header.get("format") if isinstance(header, dict) else None
            raise InputFileError(
                f"{source}: not a checkpoint of hrxrd_ml that this version reads (format {in_short(version)}, expected "
                f"{FORMAT})"
            )
        try:
            plan = Plan.from_dict(dict(header["plan"]), source)
            shapes = plan.shapes()
        except HrxrdError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
            raise InputFileError(f"{source}: its header does not describe a network ({in_short(error)})") from error
        for name, shape in shapes.items():
            found = arrays.get(f"network.{name}")
            if found is None or found.shape != shape:
                got = "is missing" if found is None else f"has shape {found.shape}"
                raise InputFileError(f"{source}: {name} {got}, its settings ask for {shape}")
            if found.dtype.kind != "f":
                raise InputFileError(f"{source}: {name} holds {found.dtype}, expected floating-point numbers")
            if not np.isfinite(found).all():
                raise InputFileError(f"{source}: {name} has values that are not finite")
        about = header.get("about", {})
        return cls(plan, arrays, dict(about) if isinstance(about, dict) else {})
