"""Expected rocking curves of a batch: coherent and diffuse reflectivity, resolution; fast rather than exact.

The model is that of `simulate.RockingCurve`, with three simplifications that make it a few tensor operations in single
precision: lamellae of equal thickness, each with its mean strain and the coupling to first order; as many angles for
every curve; no difference between the tails of pseudo-Voigt and Pearson functions.  What that costs is measured in the
tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hrxrd_ml.specimen.profile.implanted import MINIMUM_STRAIN
from hrxrd_ml.training.catalogue import Optics, Reflections
from hrxrd_ml.units import ARCSEC

Values = dict[str, Tensor]
Step = Callable[..., tuple[Tensor, ...]]

LAMELLAE = 256
CHUNK = 8
_AROUND_PEAK = 192  # nodes that follow the substrate peak
_EVEN = 1088  # nodes evenly over the scan
_CELLS = 4096
_LN2 = math.log(2.0)


@dataclass(frozen=True)
class Simulator:
    """What calculates batches.

    Attributes
    ----------
    diffuse : bool
        Whether there is damage, and with it diffuse scattering.
    coherent_step, diffuse_step : callable
        `coherent_chunk` and `diffuse_chunk`, or what a compiler has made of them.
    """

    diffuse: bool = True
    coherent_step: Step | None = None
    diffuse_step: Step | None = None

    @classmethod
    def on(cls, device: torch.device, diffuse: bool = True) -> Simulator:
        """Return the simulator for a device; on a GPU each step is compiled to one kernel."""
        if device.type != "cuda":
            return cls(diffuse)
        compiled = [torch.compile(step, dynamic=False) for step in (coherent_chunk, diffuse_chunk)]
        return cls(diffuse, *compiled)

    def reflectivity(self, r: Reflections, values: Values, angle: Tensor) -> Tensor:
        """Return the reflectivity at true offsets ``angle`` (B, m) from the Bragg angle [rad]."""
        thickness = values["L1"] / LAMELLAE
        middle = (torch.arange(LAMELLAE, device=angle.device) + 0.5) * thickness
        strain = implanted(values, middle)
        size = strain.amax(dim=1, keepdim=True)
        zero = torch.zeros_like(size)
        exponent = values.get("damage", zero) * strain / size
        substrate_e, optics = torch.exp(-values.get("substrate_damage", zero)), r.at(angle)
        total = self.coherent(r, optics, thickness, strain, torch.exp(-exponent), substrate_e)
        if self.diffuse:
            total = total + self._diffuse(r, optics, values, thickness, strain, exponent, substrate_e)
        return total

    def coherent(
        self, r: Reflections, optics: Optics, thickness: Tensor, strain: Tensor, e: Tensor, substrate_e: Tensor
    ) -> Tensor:
        """Return the coherent reflectivity, shape (B, m).

        Parameters
        ----------
        r : Reflections
        optics : Optics
            At the m angles.
        thickness : Tensor, shape (B, 1)
            Of each lamella [Å].
        strain, e : Tensor, shape (B, n)
            Strain and static Debye-Waller factor of the lamellae, the surface first; n a multiple of `CHUNK`.
        substrate_e : Tensor, shape (B, 1)
        """
        u = optics.deviation[:, None] + 1e-30j
        forth, back = (substrate_e[:, None] * optics.coupling * chi for chi in (r.chih, r.chihbar))
        # Principal root: the wave decays into the substrate.
        amplitude = -2.0 * forth / (u + 1j * torch.sqrt(4.0 * forth * back - u * u))
        half = 0.5 * thickness
        base, decay = half * optics.deviation.real, torch.exp(-half * optics.deviation.imag)[:, None]
        phase = half * r.axes.normal * strain / (1.0 + strain)
        push, pull = 1j * thickness[:, None] * r.chih, 1j * thickness[:, None] * r.chihbar
        fixed = _contiguous(
            base, base.cos(), base.sin(), decay, optics.coupling, push.real, push.imag, pull.real, pull.imag
        )
        step: Step = self.coherent_step or coherent_chunk
        real, imag = amplitude.real.contiguous(), amplitude.imag.contiguous()
        rows = phase, phase.cos(), phase.sin(), e
        for end in range(strain.shape[1], 0, -CHUNK):
            part = slice(end - CHUNK, end)
            # From the bottom up; contiguous, so that a compiled step meets the same layout every time.
            lamellae = (row[:, part].flip(1).contiguous() for row in rows)
            real, imag = step(real, imag, *fixed, *lamellae)
        return ((real**2 + imag**2) * r.weights).sum(dim=1)

    def _diffuse(
        self,
        r: Reflections,
        optics: Optics,
        values: Values,
        thickness: Tensor,
        strain: Tensor,
        exponent: Tensor,
        substrate_e: Tensor,
    ) -> Tensor:
        path = (1.0 / optics.gamma0 + 1.0 / optics.gammah)[:, None]
        length, mix = values["correlation_length"], values["diffuse_mix"]
        shift = r.axes.normal * strain / (1.0 + strain)
        lost = -torch.expm1(-2.0 * exponent) * length
        loss = (r.axes.wavenumber * r.chi0.imag)[:, None]
        fixed = _contiguous(
            optics.mismatch, optics.gammah * length, mix, optics.strength, r.weights * thickness[:, None],
            path * thickness[:, None], loss,
        )  # fmt: skip
        step: Step = self.diffuse_step or diffuse_chunk
        total = torch.zeros_like(optics.mismatch)
        above = torch.ones_like(optics.strength)
        for begin in range(0, strain.shape[1], CHUNK):
            part = slice(begin, begin + CHUNK)
            total, above = step(total, above, *fixed, shift[:, part].contiguous(), lost[:, part].contiguous())
        u = optics.deviation[:, None]
        extinction = torch.sqrt(4.0 * optics.coupling**2 * r.chih * r.chihbar - u * u).real
        far = values["substrate_correlation_length"]
        shape = line(optics.gammah * optics.mismatch * far, values["substrate_diffuse_mix"])
        density = optics.strength * ((1.0 - substrate_e**2) * far * shape)[:, None]
        stopped = 0.5 * (loss + density) * path + extinction + 1e-30
        return (total + (above * density / stopped * r.weights).sum(dim=1)) / optics.gamma0

    def curve(self, r: Reflections, values: Values, low: Tensor, high: Tensor) -> Curve:
        """Return what the detector would see between true offsets ``low`` and ``high`` (B, 1) [rad], at reflectivity 1.

        The range should reach farther than the angles at which it is asked for.
        """
        angle = nodes(low, high, r.shift, r.darwin)
        sums, slope = running_integral(angle, self.reflectivity(r, values, angle))
        step = (high - low) / _CELLS
        edges = low + step * torch.arange(_CELLS + 1, device=low.device)
        cells = torch.diff(hermite(angle, sums, slope, edges)) / step.double()
        spectrum = torch.fft.rfft(cells.float(), n=2 * _CELLS)
        frequency = 2.0 * math.pi * torch.fft.rfftfreq(2 * _CELLS, device=low.device)[None]
        width, eta = values["fwhm"] * ARCSEC / step, values.get("eta", torch.zeros_like(low))
        gauss, lorentz = torch.exp(-((frequency * width) ** 2) / (16.0 * _LN2)), torch.exp(-0.5 * frequency * width)
        shape = (1.0 - eta) * gauss + eta * lorentz
        # Cells are averages, and what is read between them a straight line: both are divided out.
        shape = shape / torch.sinc(frequency / (2.0 * math.pi)) ** 3
        if "curvature" in values:
            spectrum = spectrum * _bent(frequency * values["curvature"] * ARCSEC / step, values["curvature_skew"])
        seen = torch.fft.irfft(spectrum * shape, n=2 * _CELLS)[:, :_CELLS]
        return Curve(low, step, seen.clamp_min(0.0))


@dataclass(frozen=True)
class Curve:
    """Curves on cells of equal width.

    Attributes
    ----------
    low, step : Tensor, shape (B, 1)
        Where the first cell begins, and the width of a cell [rad].
    seen : Tensor, shape (B, cells)
    """

    low: Tensor
    step: Tensor
    seen: Tensor

    def at(self, angle: Tensor) -> Tensor:
        """Return the curves at true offsets (B, m) [rad]."""
        place = ((angle - self.low) / self.step - 0.5).clamp(0.0, self.seen.shape[1] - 1.001)
        left = place.floor()
        index = left.long()
        a, b = self.seen.gather(1, index), self.seen.gather(1, index + 1)
        return a + (place - left) * (b - a)


def implanted(values: Values, depth: Tensor) -> Tensor:
    """Return the strain of the seven-parameter profile at depths (B, n) [Å]; see `profile.ImplantedProfile`."""
    d_max, d_surface, end, peak, d2, end2, centre2 = (
        values[name] for name in ("Dmax1", "D01", "L1", "Rp1", "D02", "L2", "Rp2")
    )
    front = (peak - depth) / peak.clamp_min(1e-6)
    back = (depth - peak) / (end - peak).clamp_min(1e-6)
    first = torch.where(
        depth < peak,
        torch.exp(front**2 * torch.log(d_surface / d_max)),
        torch.exp(back.clamp_min(0.0) ** 2 * torch.log(MINIMUM_STRAIN / d_max)),
    )
    fall = depth * (depth - 2.0 * centre2) / (end2 * (end2 - 2.0 * centre2))
    return d_max * first + d2 * torch.exp(fall * torch.log(MINIMUM_STRAIN / d2))


def coherent_chunk(
    real: Tensor,
    imag: Tensor,
    base: Tensor,
    cosine: Tensor,
    sine: Tensor,
    decay: Tensor,
    coupling: Tensor,
    push_real: Tensor,
    push_imag: Tensor,
    pull_real: Tensor,
    pull_imag: Tensor,
    phase: Tensor,
    turn_cos: Tensor,
    turn_sin: Tensor,
    e: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take the amplitude (B, 2, m) up through some lamellae, the lowest first.

    A lamella turns it by exp(iw) (w = half its thickness times the deviation), couples, and turns it again:
    ``r -> exp(iw) (v + A sinc w)/(1 - B sinc w v)`` with ``v = exp(iw) r``; the error is of the second order in the
    thickness over the extinction length, some 1e-5.
    """
    for j in range(phase.shape[1]):
        a, b = turn_cos[:, j, None], turn_sin[:, j, None]
        c, s = cosine * a - sine * b, sine * a + cosine * b
        w = base + phase[:, j, None]
        near = w.abs() < 0.03
        sinc = torch.where(near, 1.0 - w * w * (1.0 / 6.0), s / torch.where(near, 1.0, w))
        g = coupling * (e[:, j, None] * sinc)[:, None]
        c, s = decay * c[:, None], decay * s[:, None]
        v_real, v_imag = c * real - s * imag, c * imag + s * real
        up_real, up_imag = v_real + g * push_real, v_imag + g * push_imag
        down_real = 1.0 - g * (pull_real * v_real - pull_imag * v_imag)
        down_imag = -g * (pull_real * v_imag + pull_imag * v_real)
        scale = 1.0 / (down_real * down_real + down_imag * down_imag)
        out_real = (up_real * down_real + up_imag * down_imag) * scale
        out_imag = (up_imag * down_real - up_real * down_imag) * scale
        real, imag = c * out_real - s * out_imag, c * out_imag + s * out_real
    return real, imag


def line(u: Tensor, mix: Tensor) -> Tensor:
    """Return the line shape of the diffuse part at ``u = Q ell``."""
    square = u * u
    return mix / (1.0 + square) + (1.0 - mix) * torch.exp(-square * (1.0 / math.pi))


def diffuse_chunk(
    total: Tensor,
    above: Tensor,
    mismatch: Tensor,
    reach: Tensor,
    mix: Tensor,
    strength: Tensor,
    share: Tensor,
    path: Tensor,
    loss: Tensor,
    shift: Tensor,
    lost: Tensor,
) -> tuple[Tensor, Tensor]:
    """Add what some lamellae scatter to ``total`` (B, m), and take what they absorb from ``above`` (B, 2, m)."""
    for j in range(shift.shape[1]):
        density = strength * (lost[:, j, None] * line(reach * (mismatch + shift[:, j, None]), mix))[:, None]
        fade = (loss + density) * path
        total = total + (share * above * density * (1.0 - 0.5 * fade)).sum(dim=1)
        above = above * torch.exp(-fade)
    return total, above


def nodes(low: Tensor, high: Tensor, centre: Tensor, darwin: Tensor) -> Tensor:
    """Return the angles at which the reflectivity is calculated, shape (B, m), ascending [rad].

    Even ones over the range, and others around the substrate peak, there a fraction of the Darwin width apart and
    farther out ever wider, until they are as far apart as the even ones.
    """
    even = low + (high - low) * torch.linspace(0.0, 1.0, _EVEN, device=low.device)
    width = 0.6 * darwin
    farthest = torch.atan(torch.sqrt((high - low) / _EVEN * _AROUND_PEAK / (math.pi * width)).clamp_min(2.0))
    side = torch.linspace(-1.0, 1.0, _AROUND_PEAK, device=low.device)
    peak = (centre + width * torch.tan(farthest * side)).clamp(low, high)
    return torch.cat([even, peak], dim=1).sort(dim=1).values


def running_integral(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integral of y up to each x (B, m), to fourth order, in double precision; and y so too."""
    x, y = x.double(), y.double()
    h = torch.diff(x).clamp_min(1e-15)
    steepness = torch.diff(y) / h
    inner = (h[:, :-1] * steepness[:, 1:] + h[:, 1:] * steepness[:, :-1]) / (h[:, :-1] + h[:, 1:])
    slope = torch.cat([steepness[:, :1], inner, steepness[:, -1:]], dim=1)
    area = 0.5 * h * (y[:, 1:] + y[:, :-1]) - h**2 / 12.0 * torch.diff(slope)
    return torch.cat([torch.zeros_like(area[:, :1]), area.cumsum(dim=1)], dim=1), y


def hermite(x: Tensor, value: Tensor, slope: Tensor, at: Tensor) -> Tensor:
    """Return what a function with these values and slopes at x (B, m) is at other places (B, k), by cubics."""
    at = at.double()
    x = x.double()
    left = (torch.searchsorted(x, at.contiguous(), right=True) - 1).clamp(0, x.shape[1] - 2)
    x0, x1 = x.gather(1, left), x.gather(1, left + 1)
    f0, f1 = value.gather(1, left), value.gather(1, left + 1)
    h = (x1 - x0).clamp_min(1e-15)
    t = ((at - x0) / h).clamp(0.0, 1.0)
    d0, d1 = slope.gather(1, left) * h, slope.gather(1, left + 1) * h
    return f0 + t * (d0 + t * (3.0 * (f1 - f0) - 2.0 * d0 - d1 + t * (2.0 * (f0 - f1) + d0 + d1)))


def _contiguous(*parts: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.contiguous() for part in parts)


def _bent(bow: Tensor, skew: Tensor) -> Tensor:
    """Return the transform of the tilts across a bent crystal; see ``resolution._bent_crystal``."""
    return _sinhc(torch.complex(skew.expand_as(bow), -bow)) / _sinhc(torch.complex(skew, torch.zeros_like(skew)))


def _sinhc(z: Tensor) -> Tensor:
    small = z.abs() < 0.05
    safe = torch.where(small, torch.ones_like(z), z)
    return torch.where(small, 1.0 + z * z / 24.0, 2.0 * torch.sinh(0.5 * safe) / safe)
