"""One small curve, and how each format would hold it."""

import io
import zipfile
from pathlib import Path

import numpy as np

N = 40
OMEGA = np.linspace(32.8, 33.4, N)
COUNTS = np.round(20 + 9000 * np.exp(-(((OMEGA - 33.05) / 0.03) ** 2)))
FACTORS = np.where(COUNTS > 1000, 172.0, 1.0)


def text_of(x=OMEGA, y=COUNTS, delimiter=",", heading="", decimal=".") -> str:
    rows = (f"{a:.5f}{delimiter}{b:.0f}".replace(".", decimal) for a, b in zip(x, y, strict=True))
    return heading + "\n".join(rows) + "\n"


def listed(values) -> str:
    return " ".join(f"{v:g}" for v in values)


def xrdml(points: str, version: str = "2.2", scans: int = 1, axis: str = "Omega-2Theta") -> bytes:
    scan = f'<scan scanAxis="{axis}" status="Completed"><dataPoints>{points}</dataPoints></scan>'
    return f"""\ufeff<?xml version="1.0" encoding="UTF-8"?>
<xrdMeasurements xmlns="http://www.xrdml.com/XRDMeasurement/{version}" status="Completed">
 <xrdMeasurement measurementType="Scan"><usedWavelength intended="K-Alpha 1">
  <kAlpha1 unit="Angstrom">1.5405980</kAlpha1><kAlpha2 unit="Angstrom">1.5444260</kAlpha2>
  <kBeta unit="Angstrom">1.3922500</kBeta></usedWavelength>{scan * scans}</xrdMeasurement>
</xrdMeasurements>""".encode()


def between(axis: str, start: float, end: float) -> str:
    return (
        f'<positions axis="{axis}" unit="deg"><startPosition>{start}</startPosition>'
        f"<endPosition>{end}</endPosition></positions>"
    )


def fixed(axis: str, value: float) -> str:
    return f'<positions axis="{axis}" unit="deg"><commonPosition>{value}</commonPosition></positions>'


BOTH = between("2Theta", 65.6, 66.8) + between("Omega", 32.8, 33.4) + fixed("Phi", 0)
TIME = '<commonCountingTime unit="seconds">0.50</commonCountingTime>'
RAW_COUNTS = f'<counts unit="counts">{listed(COUNTS)}</counts>'
ATTENUATORS = f"<beamAttenuationFactors>{listed(FACTORS)}</beamAttenuationFactors>"


def save(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def archive(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def assert_is_the_curve(curve, x=OMEGA, y=COUNTS):
    np.testing.assert_allclose(curve.x.values, x, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(curve.values, y)
    assert curve.dims == ("x",)
    assert curve.x.dtype == curve.dtype == np.float64


def ras(axis: str = "Omega", unit: str = "counts", values=COUNTS, speed: str = "1.2", scans: int = 1) -> str:
    rows = "".join(f"{a:.4f} {v:.4f} {f:.4f}\n" for a, v, f in zip(OMEGA, values, FACTORS, strict=True))
    scan = (
        '*RAS_HEADER_START\n*FILE_COMMENT ""\n*HW_XG_WAVE_LENGTH_ALPHA1 "1.540593"\n'
        f'*MEAS_SCAN_AXIS_X "{axis}"\n*MEAS_SCAN_MODE "CONTINUOUS"\n*MEAS_SCAN_SPEED "{speed}"\n'
        f'*MEAS_SCAN_SPEED_UNIT "deg/min"\n*MEAS_SCAN_STEP "0.0100"\n*MEAS_SCAN_UNIT_X "deg"\n'
        f'*MEAS_SCAN_UNIT_Y "{unit}"\n*RAS_HEADER_END\n*RAS_INT_START\n{rows}*RAS_INT_END\n'
    )
    return f"*RAS_DATA_START\n{scan * scans}*RAS_DATA_END\n"


CONDITIONS = """\ufeff<?xml version="1.0"?><MeasurementConditions>
    <ScanInformation><AxisName>Omega</AxisName><Mode>Continuous</Mode><Step>0.01</Step>
    <Speed>1.2</Speed><SpeedUnit>deg/min</SpeedUnit><PositionUnit>deg</PositionUnit>
    <IntensityUnit>counts</IntensityUnit></ScanInformation>
    <HWConfigurations><XrayGenerator><WavelengthKalpha1>1.540593</WavelengthKalpha1></XrayGenerator>
    </HWConfigurations></MeasurementConditions>"""


def rasx(folders: int = 1) -> bytes:
    rows = "".join(f"{a}\t{v:g}\t{f:g}\r\n" for a, v, f in zip(OMEGA, COUNTS, FACTORS, strict=True))
    members = {"root.xml": "<root/>"}
    for i in range(folders):
        members[f"Data{i}/Profile{i}.txt"] = "\ufeff" + rows
        members[f"Data{i}/MesurementConditions{i}.xml"] = CONDITIONS
    return archive(members)


def brml(axes: str = "TwoTheta Theta", views: str = "", rows: list[str] | None = None) -> bytes:
    listed_axes = "".join(
        f'<ScanAxisInfo AxisId="{a}" AxisName="{a}"><Unit Base="Degree"/></ScanAxisInfo>' for a in axes.split()
    )
    if rows is None:
        rows = [f"0.5,{f:g},{2 * a:.6f},{a:.6f},{v * f:.9g}" for a, v, f in zip(OMEGA, COUNTS, FACTORS, strict=True)]
    datum = "".join(f"<Datum>{row}</Datum>" for row in rows)
    xml = f"""<?xml version="1.0" encoding="utf-8"?><RawData>
        <FixedInformation><PrimaryTrack><WaveLengthAlpha1 Unit="Angstrom" Value="1.5406"/></PrimaryTrack>
        </FixedInformation><DataRoutes><DataRoute RouteFlag="Final">
        <ScanInformation VisibleName="Locked Coupled">
        <ScanAxes>{listed_axes}</ScanAxes></ScanInformation><DataViews>{views}</DataViews>{datum}</DataRoute>
        <DataRoute RouteFlag="Raw">{datum}</DataRoute></DataRoutes></RawData>"""
    return archive({"DataContainer.xml": "<a/>", "Experiment0/RawData0.xml": xml})


def uxd(unit="COUNTS", drive="COUPLED", time=2.0, ranges=1, pairs=True) -> str:
    values, angles = (COUNTS / time if unit == "CPS" else COUNTS), 2 * OMEGA
    mark = f"_{'2THETA' if pairs else ''}{unit}\n"
    if pairs:
        mark += "".join(f"{a:.6f}\t{v:g}\n" for a, v in zip(angles, values, strict=True))
    else:
        mark += "\n".join(" ".join(f"{v:g}" for v in values[i : i + 8]) for i in range(0, N, 8)) + "\n"
    head = (
        f"; (Data for Range number 1)\n_DRIVE='{drive}'\n_STEPTIME={time}\n_STEPSIZE={np.diff(angles)[0]:.9f}\n"
        f"_START={angles[0]}\n_THETA={OMEGA[0]}\n_2THETA={angles[0]}\n"
    )
    return "; made up\n_FILEVERSION=2\n_WL1=1.540600\n" + (head + mark) * ranges


def x00(axis="Omega/2Theta", time=2.0, factor=1.0, n=N) -> str:
    return (
        "HR-XRDScan\nFileName, a.x00\nSample, made up\nReflection,   0  0  4\nWavelength, 1.540560\n"
        f"Omega, 33.05\nTwoTheta, 66.1\nScanType, CONTINUOUS\nScanAxis, {axis}\nFirstAngle, {OMEGA[0]:.5f}\n"
        f"ScanRange, 0.6\nStepWidth, {np.diff(OMEGA)[0]:.9f}\nTimePerStep, {time:.2f}\nNrOfData, {n}\nScanData\n"
        + "".join(f"{v * factor / time:.4f}\n" for v in COUNTS)
    )


def spec(scans=1) -> str:
    rows = "".join(f"{a:.6f} {2 * a:.6f} 2 {v:g}\n" for a, v in zip(OMEGA, COUNTS, strict=True))
    table = f"#D Tue Dec 01 10:00:00 2026\n#N 4\n#L Theta  Two Theta  Seconds  Detector\n{rows}"
    return "#F a.spec\n" + "".join(f"\n#S {i + 1} ascan th 32.8 33.4 {N - 1} 2\n{table}" for i in range(scans))


_COLUMN = {
    "time": '<RawDataView Start="{i}" Length="1" LogicName="MeasuredTime"/>',
    "absorber": '<RawDataView Start="{i}" Length="1" LogicName="AbsorptionFactor"/>',
    "axes": '<RawDataView Start="{i}" Length="2"><Varying LogicName="ScanAxes"><FieldDefinitions AxisId="TwoTheta"/>'
    '<FieldDefinitions AxisId="Theta"/></Varying></RawDataView>',
    "omega": '<RawDataView Start="{i}" Length="1"><Varying LogicName="ScanAxes"><FieldDefinitions AxisId="Theta"/>'
    "</Varying></RawDataView>",
    "drives": '<RawDataView Start="{i}" Length="2"><Varying LogicName="RandomAccess">'
    '<FieldDefinitions AxisId="TwoTheta"/><FieldDefinitions AxisId="Theta"/></Varying></RawDataView>',
    "space": '<RawDataView Start="{i}" Length="3"><Varying LogicName="RecSpace"><FieldDefinitions AxisId="RecSpX"/>'
    '<FieldDefinitions AxisId="RecSpY"/><FieldDefinitions AxisId="RecSpZ"/></Varying></RawDataView>',
    "counter": '<RawDataView Start="{i}" Length="1">'
    '<Recording LogicName="ScanCounter1" Category="Count"/></RawDataView>',
    "kelvin": '<RawDataView Start="{i}" Length="1">'
    '<Recording LogicName="Temperature" Category="Temperature"/></RawDataView>',
    "pixel": '<RawDataView Start="{i}" Length="1"><Recording LogicName="MaxPixel" Category="Technical"/></RawDataView>',
}


def described_brml(order: str, values=COUNTS, factors=FACTORS) -> bytes:
    """Scan whose columns come in an order and are described; values are stored multiplied by the factors."""
    cells = {
        "time": np.full((N, 1), 0.5),
        "absorber": factors[:, None],
        "axes": np.c_[2 * OMEGA, OMEGA],
        "omega": OMEGA[:, None],
        "drives": np.c_[2 * OMEGA + 1e-3, OMEGA + 5e-4],
        "space": np.c_[np.zeros(N), np.zeros(N), OMEGA / 8],
        "counter": (values * factors)[:, None],
        "kelvin": np.full((N, 1), 298.15) + np.arange(N)[:, None] * 1e-3,
        "pixel": np.arange(N)[:, None] + 100.0,
    }
    views, width = "", 0
    for name in order.split():
        views += _COLUMN[name].format(i=width)
        width += cells[name].shape[1]
    table = np.hstack([cells[name] for name in order.split()])
    rows = [",".join(f"{value:.10g}" for value in row) for row in table]
    return brml("Theta" if "omega" in order else "TwoTheta Theta", views=views, rows=rows)


VIEWS = """
<RawDataView Start="0" Length="1" LogicName="MeasuredTime"/>
<RawDataView Start="1" Length="1" LogicName="AbsorptionFactor"/>
<RawDataView Start="2" Length="2"><Varying AxisId="Theta"/><Varying AxisId="TwoTheta"/></RawDataView>
<RawDataView Start="4" Length="1"><Recording LogicName="Counter0D"/></RawDataView>"""
