"""Whether wheels hold what they have to: the extension, types, licences and bill of materials of what they carry."""

import json
import re
import sys
import zipfile

LIBRARIES = ("boost", "nghttp2", "openssl", "protozero", "pybind11", "simdjson", "zlib")
ALLOWED = re.compile(
    r"(crypto|nghttp2|simdjson|ssl|z|gcc_s|stdc\+\+)\b"
)  # that a repair may have put beside the extension


def problems(path: str) -> list[str]:
    """List what is wrong with a wheel."""
    found = []
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if not name.endswith("/")]
        (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        version = info.removeprefix("penstock-").removesuffix(".dist-info")
        needed = [
            "penstock/py.typed",
            "penstock/_core.pyi",
            f"{info}/licenses/LICENSE",
            f"{info}/sboms/penstock.cdx.json",
        ]
        needed += [f"{info}/licenses/licenses/{library}.txt" for library in LIBRARIES]
        found += [f"there is no {name}" for name in needed if name not in names]
        if not any(re.match(r"penstock/_core\..*\.so$", name) for name in names):
            found.append("there is no extension")
        if f"{info}/sboms/penstock.cdx.json" in names:
            sbom = json.loads(wheel.read(f"{info}/sboms/penstock.cdx.json"))
            listed = {component["name"]: component["version"] for component in sbom["components"]}
            found += [f"the bill of materials has no version of {name}" for name in LIBRARIES if not listed.get(name)]
            if sbom["metadata"]["component"]["version"] != version:
                found.append(f"the bill of materials is not of version {version}")
        carried = [name.rpartition("/")[2] for name in names if re.match(r"penstock\.libs/|penstock/\.dylibs/", name)]
        found += [f"{name} is carried, and no licence says so" for name in carried if not ALLOWED.match(name[3:])]
        found += [f"{name} does not belong here" for name in names if "__pycache__" in name or name.endswith(".cpp")]
    return found


if __name__ == "__main__":
    wrong = [f"{path}: {line}" for path in sys.argv[1:] for line in problems(path)]
    print("\n".join(wrong) or f"{len(sys.argv) - 1} wheels hold what they have to")
    sys.exit(1 if wrong or len(sys.argv) == 1 else 0)
